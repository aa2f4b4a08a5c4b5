//! Paired hierarchical bootstrap over seeds and test images (Efron & Tibshirani 1993; Agarwal et al. 2021, 2108.13264).
//!
//! A replicate draws seeds with replacement and test images with replacement, the same ones for every arm, so that what all
//! arms share (hard images, lucky label splits) cancels in their differences. With three seeds the spread over seeds is
//! estimated from three numbers and comes out too small by some 20 %; so a difference counts as detected only if its
//! Holm-corrected p-value is below 5 % *and* it has the same sign for every seed.

use rayon::prelude::*;

use super::holm;
use crate::rng::Stream;

/// What an arm got right: `[seed][image]`, the same seeds and images for all arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Outcomes of each seed.
    pub seeds: Vec<Vec<bool>>,
}

/// A mean with its 95 % percentile interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the data.
    pub mean: f64,
    /// 2.5 % of the replicates lie below.
    pub low: f64,
    /// 2.5 % of the replicates lie above.
    pub high: f64,
}

/// Arms against a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Accuracy of each arm.
    pub accuracy: Vec<Interval>,
    /// Accuracy minus the baseline's, for each arm.
    pub difference: Vec<Interval>,
    /// Share of replicates in which the arm is better than the baseline; a tie counts half.
    pub better: Vec<f64>,
    /// Two-sided p-value of the difference, Holm-corrected over the arms; 1 for the baseline.
    pub p: Vec<f64>,
    /// Whether the difference to the baseline is detected.
    pub detected: Vec<bool>,
}

/// Compares arms with `arms[baseline]`.
///
/// # Panics
/// With `BUG:` if there are no seeds or images, or not the same for every arm.
pub fn compare(arms: &[Arm], baseline: usize, replicates: usize, stream: &Stream) -> Comparison {
    let seeds = arms[baseline].seeds.len();
    let images = arms[baseline].seeds.first().map_or(0, Vec::len);
    let alike = arms
        .iter()
        .all(|a| a.seeds.len() == seeds && a.seeds.iter().all(|s| s.len() == images));
    assert!(
        seeds > 0 && images > 0 && alike,
        "BUG: arms must have the same seeds and images, at least one of each"
    );
    let means: Vec<Vec<f64>> = (0..replicates)
        .into_par_iter()
        .map(|replicate| {
            let mut stream = stream.index(replicate as u64);
            let drawn: Vec<usize> = (0..seeds).map(|_| stream.below(seeds)).collect();
            let mut weights = vec![0u32; images];
            (0..images).for_each(|_| weights[stream.below(images)] += 1);
            let right =
                |outcomes: &[bool]| -> u32 { outcomes.iter().zip(&weights).map(|(o, w)| u32::from(*o) * w).sum() };
            let share = |arm: &Arm| drawn.iter().map(|s| f64::from(right(&arm.seeds[*s]))).sum::<f64>();
            arms.iter().map(|arm| share(arm) / (seeds * images) as f64).collect()
        })
        .collect();

    let of_seed = |arm: &Arm, s: usize| arm.seeds[s].iter().filter(|o| **o).count() as f64 / images as f64;
    let mean = |arm: &Arm| (0..seeds).map(|s| of_seed(arm, s)).sum::<f64>() / seeds as f64;
    let interval = |mean: f64, value: &dyn Fn(&[f64]) -> f64| {
        let mut values: Vec<f64> = means.iter().map(|m| value(m)).collect();
        values.sort_by(f64::total_cmp);
        Interval {
            mean,
            low: quantile(&values, 0.025),
            high: quantile(&values, 0.975),
        }
    };
    let base = mean(&arms[baseline]);
    let accuracy = arms
        .iter()
        .enumerate()
        .map(|(i, arm)| interval(mean(arm), &|m| m[i]))
        .collect();
    let difference = (0..arms.len())
        .map(|i| interval(mean(&arms[i]) - base, &|m| m[i] - m[baseline]))
        .collect();
    let count =
        |i: usize, wanted: &dyn Fn(f64) -> bool| means.iter().filter(|m| wanted(m[i] - m[baseline])).count() as f64;
    let n = replicates as f64;
    let better = (0..arms.len())
        .map(|i| (count(i, &|d| d > 0.0) + 0.5 * count(i, &|d| d == 0.0)) / n)
        .collect();
    // One is added to numerator and denominator: a finite number of replicates cannot show a p-value of zero.
    let p_of = |i: usize| {
        let tail = count(i, &|d| d <= 0.0).min(count(i, &|d| d >= 0.0));
        (2.0 * (tail + 1.0) / (n + 1.0)).min(1.0)
    };
    let others: Vec<usize> = (0..arms.len()).filter(|i| *i != baseline).collect();
    let corrected = holm(&others.iter().map(|i| p_of(*i)).collect::<Vec<_>>());
    let mut p = vec![1.0; arms.len()];
    others.iter().zip(corrected).for_each(|(i, value)| p[*i] = value);
    let detected = (0..arms.len())
        .map(|i| {
            let signs: Vec<f64> = (0..seeds)
                .map(|s| of_seed(&arms[i], s) - of_seed(&arms[baseline], s))
                .collect();
            let agree = signs.iter().all(|d| *d > 0.0) || signs.iter().all(|d| *d < 0.0);
            agree && p[i] < 0.05
        })
        .collect();
    Comparison {
        accuracy,
        difference,
        better,
        p,
        detected,
    }
}

/// Linear interpolation between sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, share) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] * (1.0 - share) + sorted[above] * share
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arm that is right with probability `p`, image by image.
    fn arm(p: f32, name: &str) -> Arm {
        let stream = Stream::new(1, name);
        let seed = |s: u64| {
            let mut stream = stream.index(s);
            (0..1000).map(|_| stream.bernoulli(p)).collect()
        };
        Arm {
            seeds: (0..3).map(seed).collect(),
        }
    }

    #[test]
    fn a_clear_difference_is_detected_and_none_is_made_up() {
        let arms = [arm(0.7, "a"), arm(0.8, "b"), arm(0.7, "c")];
        let found = compare(&arms, 0, 1000, &Stream::new(2, "bootstrap"));
        assert_eq!(found.detected, [false, true, false], "{found:?}");
        let Interval { mean, low, high } = found.difference[1];
        assert!(
            low > 0.05 && high < 0.15 && low < mean && mean < high,
            "{low} {mean} {high}"
        );
        assert!(found.better[1] > 0.99 && found.p[0] == 1.0);
    }

    #[test]
    fn pairing_narrows_the_difference_of_arms_that_fail_on_the_same_images() {
        let base = arm(0.7, "a");
        let mut other = base.clone();
        // Right on ten more images of each seed, otherwise the same.
        for seed in &mut other.seeds {
            seed.iter_mut().filter(|o| !**o).take(10).for_each(|o| *o = true);
        }
        let found = compare(&[base, other], 0, 1000, &Stream::new(2, "bootstrap"));
        let width = |i: &Interval| i.high - i.low;
        assert!(found.detected[1], "{found:?}");
        assert!(width(&found.difference[1]) < width(&found.accuracy[1]) / 3.0);
    }

    #[test]
    fn a_seed_that_disagrees_prevents_detection() {
        let (base, mut other) = (arm(0.7, "a"), arm(0.9, "b"));
        other.seeds[0].iter_mut().for_each(|o| *o = false);
        assert!(!compare(&[base, other], 0, 500, &Stream::new(2, "bootstrap")).detected[1]);
    }
}
