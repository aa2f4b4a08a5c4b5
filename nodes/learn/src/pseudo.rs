//! Pseudo-labels: which of a teacher's guesses are kept, and as what targets (Lee 2013; Xie et al. 2020, 1911.04252).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The guesses that are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Rows of the guesses, ascending.
    pub kept: Vec<u32>,
    /// `[kept][classes]`, rows sum to one.
    pub targets: Vec<f32>,
}

/// Keeps guesses from `probabilities`, `[n][classes]`, whose largest value is at least `threshold`; with `soft` the targets are
/// the probabilities themselves, else the likeliest class. Equal probabilities are decided by place.
pub fn select(probabilities: &[f32], classes: usize, threshold: f32, balance: Balance, soft: bool) -> Selection {
    let mut by_class: Vec<Vec<(f32, u32)>> = vec![Vec::new(); classes];
    for (i, row) in probabilities.chunks_exact(classes).enumerate() {
        let class = crate::metrics::argmax(row);
        if row[class] >= threshold {
            by_class[class].push((row[class], i as u32));
        }
    }
    let mut counts: Vec<usize> = by_class.iter().map(Vec::len).filter(|n| *n > 0).collect();
    counts.sort_unstable();
    let cap = match balance {
        Balance::None => usize::MAX,
        Balance::Equal => counts.first().copied().unwrap_or(0),
        Balance::Median => counts.get(counts.len() / 2).copied().unwrap_or(0),
    };
    let mut kept: Vec<u32> = Vec::new();
    for guesses in &mut by_class {
        guesses.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        kept.extend(guesses.iter().take(cap).map(|(_, i)| *i));
    }
    kept.sort_unstable();
    let mut targets = Vec::with_capacity(kept.len() * classes);
    for i in &kept {
        let row = &probabilities[*i as usize * classes..][..classes];
        if soft {
            targets.extend_from_slice(row);
        } else {
            let class = crate::metrics::argmax(row);
            targets.extend((0..classes).map(|c| if c == class { 1.0 } else { 0.0 }));
        }
    }
    Selection { kept, targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four confident guesses of class 0, one of class 1, none of class 2, one doubtful.
    const GUESSES: [f32; 18] = [
        0.90, 0.05, 0.05, 0.95, 0.05, 0.0, 0.1, 0.85, 0.05, 0.99, 0.01, 0.0, 0.4, 0.3, 0.3, 0.8, 0.1, 0.1,
    ];

    #[test]
    fn only_confident_guesses_are_kept() {
        let all = select(&GUESSES, 3, 0.8, Balance::None, false);
        assert_eq!(all.kept, [0, 1, 2, 3, 5]);
        assert_eq!(&all.targets[6..9], [0.0, 1.0, 0.0]);
        assert!(select(&GUESSES, 3, 0.999, Balance::None, false).kept.is_empty());
    }

    #[test]
    fn soft_targets_are_the_teachers_distribution() {
        let soft = select(&GUESSES, 3, 0.8, Balance::None, true);
        assert_eq!(&soft.targets[..3], &GUESSES[..3]);
    }

    #[test]
    fn balance_keeps_the_most_confident_of_each_class() {
        let equal = select(&GUESSES, 3, 0.8, Balance::Equal, false);
        assert_eq!(equal.kept, [2, 3], "one each of the classes that have any");
        let median = select(&GUESSES, 3, 0.8, Balance::Median, false);
        assert_eq!(median.kept, [0, 1, 2, 3, 5], "of two classes the upper is the median");
    }
}
