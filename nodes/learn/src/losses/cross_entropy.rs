//! Cross-entropy with class labels or with target distributions.
//!
//! `L = -1/n sum_i sum_c q_ic log softmax(logits_i)_c`; label smoothing `e` takes `q = (1 - e) onehot + e / classes` (Szegedy
//! et al. 2016, 1512.00567), as PyTorch.

use super::{LossError, Traced, TracedScalar, constant, cross, invalid, log_probabilities};
use dfdx::prelude::*;

/// Mean cross-entropy of `logits`, `(n, classes)`, with a class for each row.
///
/// # Errors
/// If there is not one label below `classes` for each row, or the smoothing is not in `[0, 1)`.
pub fn cross_entropy(logits: Traced, labels: &[usize], label_smoothing: f32) -> Result<TracedScalar, LossError> {
    let (n, classes) = *logits.shape();
    if labels.len() != n {
        return invalid(
            "cross-entropy",
            format!("{} labels for {n} rows of logits", labels.len()),
        );
    }
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        return invalid(
            "cross-entropy",
            format!("label {label} found, expected one below {classes}"),
        );
    }
    if !(0.0..1.0).contains(&label_smoothing) {
        return invalid(
            "cross-entropy",
            format!("label smoothing {label_smoothing} found, expected at least 0 and below 1"),
        );
    }
    let mut targets = vec![label_smoothing / classes as f32; n * classes];
    for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[*label] += 1.0 - label_smoothing;
    }
    soft_cross_entropy(logits, &targets)
}

/// Mean cross-entropy of `logits`, `(n, classes)`, with a target distribution for each row, `[n][classes]`.
///
/// # Errors
/// If the sizes do not fit.
pub fn soft_cross_entropy(logits: Traced, targets: &[f32]) -> Result<TracedScalar, LossError> {
    let shape = *logits.shape();
    check_targets(targets, shape)?;
    cross(log_probabilities(logits, 1.0)?, constant(targets.to_vec(), shape)?)
}

/// Whether there is a target for each of so many rows and classes.
///
/// # Errors
/// As [`soft_cross_entropy`].
pub(crate) fn check_targets(targets: &[f32], (n, classes): (usize, usize)) -> Result<(), LossError> {
    if targets.len() == n * classes {
        return Ok(());
    }
    let message = format!("{} target values for {n} x {classes} logits", targets.len());
    invalid("cross-entropy", message)
}

/// Cross-entropy of `logits`, `(n, classes)`, with a class and a weight for each row: `sum_i w_i CE_i / sum_i w_i`, as PyTorch's with class
/// weights; 0 if all weights are.
///
/// # Errors
/// If there is not one label below `classes` and one weight of at least zero for each row.
pub fn weighted_cross_entropy(logits: Traced, labels: &[usize], weights: &[f32]) -> Result<TracedScalar, LossError> {
    let (n, classes) = *logits.shape();
    if labels.len() != n || weights.len() != n || labels.iter().any(|label| *label >= classes) {
        return invalid(
            "cross-entropy",
            format!(
                "{} labels and {} weights found for {n} rows of {classes} logits",
                labels.len(),
                weights.len()
            ),
        );
    }
    let total: f32 = weights.iter().sum();
    if !(total >= 0.0 && weights.iter().all(|w| *w >= 0.0)) {
        return invalid("cross-entropy", "a weight is negative or not a number");
    }
    let share = if total > 0.0 { n as f32 / total } else { 0.0 };
    let mut targets = vec![0.0; n * classes];
    for ((row, label), weight) in targets.chunks_exact_mut(classes).zip(labels).zip(weights) {
        row[*label] = weight * share;
    }
    soft_cross_entropy(logits, &targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::value_and_grads;

    #[test]
    fn weights_count_rows_as_often_as_they_say() {
        let rows = vec![0.3, -1.0, 2.0, 0.5, 0.1, 0.0];
        let value = |rows: &[f32], f: &dyn Fn(Traced) -> Result<TracedScalar, LossError>| {
            let shape = (rows.len() / 2, 2);
            value_and_grads([(rows.to_vec(), shape)], |[x]| f(x))
                .expect("sizes fit")
                .0
        };
        let weighted = value(&rows, &|x| weighted_cross_entropy(x, &[0, 1, 1], &[2.0, 0.0, 1.0]));
        let repeated = [&rows[..2], &rows[..2], &rows[4..]].concat();
        let counted = value(&repeated, &|x| cross_entropy(x, &[0, 0, 1], 0.0));
        assert!((weighted - counted).abs() < 1e-6, "{weighted} {counted}");
        assert_eq!(value(&rows, &|x| weighted_cross_entropy(x, &[0, 1, 1], &[0.0; 3])), 0.0);
    }
}
