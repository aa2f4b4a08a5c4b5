//! How many labels training from scratch would need to be as good (the *utility* of Newell & Deng 2020, 2003.14323).

use super::mean;
use crate::rng::Stream;

/// A number of labels, as far as the grid tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelsNeeded {
    /// By the mean over draws.
    pub labels: f64,
    /// The grid ends before: so many, or more (`Greater`); so many, or fewer (`Less`).
    pub censored: std::cmp::Ordering,
    /// 95 % percentile interval over bootstrap draws, of which those beyond the grid stand at its ends.
    pub interval: (f64, f64),
}

const REPLICATES: u64 = 1000;

/// The labels at which the reference reaches what an arm has: `reference[budget]` and `arm` are figures by draw, paired at each budget, `labels` the
/// budgets in rising order. The reference's curve is made monotone (pool adjacent violators) and is a line in the logarithm of the labels between
/// budgets. `None` with fewer than three budgets or without draws.
pub fn labels_needed(labels: &[f64], reference: &[Vec<f64>], arm: &[f64]) -> Option<LabelsNeeded> {
    let is_grid = labels.len() >= 3
        && labels.len() == reference.len()
        && labels.windows(2).all(|w| w[0] < w[1])
        && labels[0] > 0.0;
    if !is_grid || arm.is_empty() || reference.iter().any(Vec::is_empty) {
        return None;
    }
    let place = |of_reference: Vec<f64>, figure: f64| inverse(labels, &monotone(&of_reference), figure);
    let (found, censored) = place(reference.iter().map(|draws| mean(draws)).collect(), mean(arm));
    let mut replicates: Vec<f64> = (0..REPLICATES)
        .map(|replicate| {
            let stream = Stream::new(0, "labels saved").index(replicate);
            // Draws of the same place are paired over budgets and arms.
            let resampled = |draws: &[f64]| {
                let mut stream = stream.child("draws");
                mean(
                    &draws
                        .iter()
                        .map(|_| draws[stream.below(draws.len())])
                        .collect::<Vec<_>>(),
                )
            };
            place(reference.iter().map(|draws| resampled(draws)).collect(), resampled(arm)).0
        })
        .collect();
    replicates.sort_by(f64::total_cmp);
    let at = |q: f64| replicates[(q * (replicates.len() - 1) as f64).round() as usize];
    Some(LabelsNeeded {
        labels: found,
        censored,
        interval: (at(0.025), at(0.975)),
    })
}

/// The nearest rising curve, by pooling what falls.
fn monotone(values: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for value in values {
        pools.push((*value, 1));
        while let [.., (a, m), (b, n)] = pools[..]
            && a > b
        {
            pools.truncate(pools.len() - 2);
            pools.push(((a * m as f64 + b * n as f64) / (m + n) as f64, m + n));
        }
    }
    pools
        .into_iter()
        .flat_map(|(value, n)| std::iter::repeat_n(value, n))
        .collect()
}

/// The labels at which a rising curve reaches `figure`, and on which side of the grid it is.
fn inverse(labels: &[f64], curve: &[f64], figure: f64) -> (f64, std::cmp::Ordering) {
    use std::cmp::Ordering;
    let last = labels.len() - 1;
    if figure < curve[0] {
        return (labels[0], Ordering::Less);
    }
    if figure > curve[last] {
        return (labels[last], Ordering::Greater);
    }
    let above = (1..=last).find(|i| figure <= curve[*i]).unwrap_or(last);
    let (low, high) = (curve[above - 1], curve[above]);
    let share = if high > low { (figure - low) / (high - low) } else { 0.0 };
    let log = labels[above - 1].ln() * (1.0 - share) + labels[above].ln() * share;
    (log.exp(), Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn labels_lie_on_the_monotone_curve_and_beyond_the_grid_only_a_bound_is_told() {
        let labels = [10.0, 100.0, 1000.0];
        let reference = [vec![0.4, 0.5], vec![0.65, 0.55], vec![0.8, 0.8]];
        let halfway = labels_needed(&labels, &reference, &[0.7, 0.7]).expect("a grid");
        assert!(
            (halfway.labels - 10f64.powf(2.5)).abs() < 1e-6 && halfway.censored == Ordering::Equal,
            "{halfway:?}"
        );
        assert!(halfway.interval.0 <= halfway.labels && halfway.labels <= halfway.interval.1);
        let beyond = labels_needed(&labels, &reference, &[0.9, 0.9]).expect("a grid");
        assert_eq!((beyond.labels, beyond.censored), (1000.0, Ordering::Greater));
        let below = labels_needed(&labels, &reference, &[0.1]).expect("a grid");
        assert_eq!((below.labels, below.censored), (10.0, Ordering::Less));
        assert_eq!(monotone(&[0.5, 0.75, 0.5, 0.9]), [0.5, 0.625, 0.625, 0.9]);
        assert!(
            labels_needed(&labels[..2], &reference[..2], &[0.5]).is_none(),
            "two points are no curve"
        );
    }
}
