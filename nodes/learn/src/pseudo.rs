//! Pseudo-labels: which of a teacher's guesses are kept, and as what targets (Lee 2013; Xie et al. 2020, 1911.04252).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::argmax;

/// How the classes of the kept guesses are balanced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// All confident guesses.
    #[default]
    None,
    /// The most confident of each class, no more than of the class with the fewest (classes without any do not count).
    Equal,
    /// The most confident of each class, no more than the median class has: evens out without starving the student.
    Median,
}

/// Which guesses are kept, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Probability of the likeliest class from which on a guess is kept.
    pub threshold: f32,
    /// How classes are balanced.
    pub balance: Balance,
    /// At most so many of each class, the most confident.
    pub per_class: Option<usize>,
    /// Whether the targets are the teacher's distributions and not only the likeliest class.
    pub soft: bool,
    /// Temperature of soft targets: `p^(1/T)`, below 1 sharper.
    pub temperature: f32,
}

/// The guesses that are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Rows of the guesses, ascending.
    pub kept: Vec<u32>,
    /// `[kept][classes]`, rows sum to one.
    pub targets: Vec<f32>,
}

/// Guesses, `[n][classes]`, scaled so that their mean is `expected`, `[classes]` (distribution alignment, Berthelot et al. 2020, 1911.09785):
/// `norm(p expected / mean p)`.
pub fn align(probabilities: &mut [f32], expected: &[f32]) {
    let classes = expected.len();
    let mut mean = vec![0.0f64; classes];
    for row in probabilities.chunks_exact(classes) {
        mean.iter_mut().zip(row).for_each(|(m, p)| *m += f64::from(*p));
    }
    let n = (probabilities.len() / classes).max(1) as f64;
    let factors: Vec<f32> = mean
        .iter()
        .zip(expected)
        .map(|(m, e)| (f64::from(*e) / (m / n).max(1e-6)) as f32)
        .collect();
    for row in probabilities.chunks_exact_mut(classes) {
        row.iter_mut().zip(&factors).for_each(|(p, factor)| *p *= factor);
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum.max(f32::MIN_POSITIVE));
    }
}

/// Keeps guesses from `probabilities`, `[n][classes]`. Equal probabilities are decided by place.
pub fn select(probabilities: &[f32], classes: usize, selector: &Selector) -> Selection {
    let mut by_class: Vec<Vec<(f32, u32)>> = vec![Vec::new(); classes];
    for (i, row) in probabilities.chunks_exact(classes).enumerate() {
        let class = argmax(row);
        if row[class] >= selector.threshold {
            by_class[class].push((row[class], i as u32));
        }
    }
    let mut counts: Vec<usize> = by_class.iter().map(Vec::len).filter(|n| *n > 0).collect();
    counts.sort_unstable();
    let cap = match selector.balance {
        Balance::None => usize::MAX,
        Balance::Equal => counts.first().copied().unwrap_or(0),
        Balance::Median => counts.get(counts.len() / 2).copied().unwrap_or(0),
    };
    let cap = cap.min(selector.per_class.unwrap_or(usize::MAX));
    let mut kept: Vec<u32> = Vec::new();
    for guesses in &mut by_class {
        guesses.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        kept.extend(guesses.iter().take(cap).map(|(_, i)| *i));
    }
    kept.sort_unstable();
    let rows = kept.iter().map(|i| &probabilities[*i as usize * classes..][..classes]);
    let targets = rows.flat_map(|row| target(row, selector)).collect();
    Selection { kept, targets }
}

/// What a student learns of a guess.
fn target(row: &[f32], selector: &Selector) -> Vec<f32> {
    let class = argmax(row);
    if !selector.soft {
        return (0..row.len()).map(|c| if c == class { 1.0 } else { 0.0 }).collect();
    }
    if selector.temperature == 1.0 {
        return row.to_vec();
    }
    let mut target = row.to_vec();
    sharpen(&mut target, selector.temperature);
    target
}

/// A distribution to the power of `1 / temperature`, scaled to sum to one: below 1 sharper, above 1 softer.
pub fn sharpen(row: &mut [f32], temperature: f32) {
    let power = 1.0 / temperature;
    // The likeliest is 1 before the power, so that no row becomes zeros.
    let most = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    row.iter_mut().for_each(|p| *p = (*p / most).powf(power));
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four confident guesses of class 0, one of class 1, none of class 2, one doubtful.
    const GUESSES: [f32; 18] = [
        0.90, 0.05, 0.05, 0.95, 0.05, 0.0, 0.1, 0.85, 0.05, 0.99, 0.01, 0.0, 0.4, 0.3, 0.3, 0.8, 0.1, 0.1,
    ];

    fn selected(threshold: f32, change: impl FnOnce(&mut Selector)) -> Selection {
        let mut selector = Selector {
            threshold,
            balance: Balance::None,
            per_class: None,
            soft: false,
            temperature: 1.0,
        };
        change(&mut selector);
        select(&GUESSES, 3, &selector)
    }

    #[test]
    fn only_confident_guesses_are_kept() {
        let all = selected(0.8, |_| {});
        assert_eq!(all.kept, [0, 1, 2, 3, 5]);
        assert_eq!(&all.targets[6..9], [0.0, 1.0, 0.0]);
        assert!(selected(0.999, |_| {}).kept.is_empty());
    }

    #[test]
    fn soft_targets_are_the_teachers_distribution_and_may_be_sharpened() {
        let soft = selected(0.8, |s| s.soft = true);
        assert_eq!(&soft.targets[..3], &GUESSES[..3]);
        let sharp = selected(0.8, |s| (s.soft, s.temperature) = (true, 0.5));
        assert!(
            (sharp.targets[0] - 0.81 / (0.81 + 2.0 * 0.0025)).abs() < 1e-5,
            "{:?}",
            sharp.targets
        );
    }

    #[test]
    fn balance_keeps_the_most_confident_of_each_class() {
        let equal = selected(0.8, |s| s.balance = Balance::Equal);
        assert_eq!(equal.kept, [2, 3], "one each of the classes that have any");
        let median = selected(0.8, |s| s.balance = Balance::Median);
        assert_eq!(median.kept, [0, 1, 2, 3, 5], "of two classes the upper is the median");
        let two = selected(0.8, |s| s.per_class = Some(2));
        assert_eq!(two.kept, [1, 2, 3]);
    }

    #[test]
    fn alignment_takes_from_the_teachers_favourites() {
        let mut guesses = GUESSES;
        align(&mut guesses, &[1.0 / 3.0; 3]);
        assert!(
            guesses
                .chunks_exact(3)
                .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5)
        );
        assert!(guesses[0] < GUESSES[0] && guesses[2] > GUESSES[2]);
    }
}
