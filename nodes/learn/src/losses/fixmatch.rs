//! FixMatch's unlabelled loss (Sohn et al. 2020, 2001.07685, eq. 4): mean over *all* rows of
//! `1[max softmax(weak) >= threshold] CE(argmax weak, strong)`.

use super::{LossError, Traced, TracedScalar, constant, cross, invalid, log_probabilities, probabilities};
use crate::metrics::argmax;
use dfdx::prelude::*;

/// Loss of the logits of strongly augmented images `(n, classes)` given those of the same images weakly augmented,
/// `[n][classes]`, which take no gradient.
///
/// # Errors
/// If the sizes do not fit.
pub fn fixmatch_unlabelled(strong: Traced, weak: &[f32], threshold: f32) -> Result<TracedScalar, LossError> {
    let shape = *strong.shape();
    if weak.len() != shape.0 * shape.1 {
        return invalid(
            "FixMatch",
            format!("{} weak logits for {} x {} strong ones", weak.len(), shape.0, shape.1),
        );
    }
    let mut targets = probabilities(weak, shape.1, 1.0);
    for row in targets.chunks_exact_mut(shape.1) {
        let class = argmax(row);
        let kept = if row[class] >= threshold { 1.0 } else { 0.0 };
        row.fill(0.0);
        row[class] = kept;
    }
    cross(log_probabilities(strong, 1.0)?, constant(targets, shape)?)
}
