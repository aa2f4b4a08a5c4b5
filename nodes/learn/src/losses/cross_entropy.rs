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
    if targets.len() != shape.0 * shape.1 {
        return invalid(
            "cross-entropy",
            format!("{} target values for {} x {} logits", targets.len(), shape.0, shape.1),
        );
    }
    cross(log_probabilities(logits, 1.0)?, constant(targets.to_vec(), shape)?)
}
