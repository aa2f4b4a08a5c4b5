//! Accuracy, F1, confusion.

/// Share of predictions that are right; 0 for none.
pub fn accuracy(truth: &[usize], predicted: &[usize]) -> f64 {
    let right = truth.iter().zip(predicted).filter(|(t, p)| t == p).count();
    right as f64 / truth.len().max(1) as f64
}

/// `[truth][predicted]` counts, row-major.
///
/// # Panics
/// If a class is not below `classes`.
pub fn confusion(truth: &[usize], predicted: &[usize], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes * classes];
    for (t, p) in truth.iter().zip(predicted) {
        assert!(
            *t < classes && *p < classes,
            "BUG: a class outside the {classes} classes"
        );
        counts[t * classes + p] += 1;
    }
    counts
}

/// Truth, predictions and hits of each class.
fn tallies(truth: &[usize], predicted: &[usize], classes: usize) -> Vec<(u64, u64, u64)> {
    let counts = confusion(truth, predicted, classes);
    let row = |c: usize| counts[c * classes..(c + 1) * classes].iter().sum();
    let column = |c: usize| counts.iter().skip(c).step_by(classes).sum();
    (0..classes)
        .map(|c| (row(c), column(c), counts[c * classes + c]))
        .collect()
}

/// Unweighted mean of the classes' F1, over the classes that occur in truth or predictions.
pub fn macro_f1(truth: &[usize], predicted: &[usize], classes: usize) -> f64 {
    let all = tallies(truth, predicted, classes);
    let scores: Vec<f64> = all
        .iter()
        .filter(|(t, p, _)| t + p > 0)
        .map(|(t, p, hits)| 2.0 * *hits as f64 / (t + p) as f64)
        .collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

/// Mean of the classes' recall, over the classes that occur in truth.
pub fn balanced_accuracy(truth: &[usize], predicted: &[usize], classes: usize) -> f64 {
    let all = tallies(truth, predicted, classes);
    let recalls: Vec<f64> = all
        .iter()
        .filter(|(t, _, _)| *t > 0)
        .map(|(t, _, hits)| *hits as f64 / *t as f64)
        .collect();
    recalls.iter().sum::<f64>() / recalls.len().max(1) as f64
}
