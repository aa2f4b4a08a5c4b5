//! Cross-entropy and Dice of pixels, each of a class or of none that counts (Milletari et al. 2016, 1606.04797; the sum as in nnU-Net, Isensee et al.
//! 2021).
//!
//! `L = CE + (1 - mean_c (2 sum_i p_ic t_ic + 1) / (sum_i p_ic + sum_i t_ic + 1))`, both over the pixels that count; the mean is over the classes that
//! these pixels have. Without any such pixel it is 0.

use dfdx::prelude::*;

use super::{LossError, Traced, TracedScalar, again, constant, invalid, log_probabilities};
use crate::data::IGNORE;

/// Added to both sides of the fraction, so that a class of a few pixels is no cliff.
const SMOOTH: f32 = 1.0;

/// Loss of `logits`, `(pixels, classes)`, with a class for each pixel; [`IGNORE`] where none counts. `dice` is what the second part weighs.
///
/// # Errors
/// If there is not one class below `classes`, or [`IGNORE`], for each pixel.
pub fn segmentation(logits: Traced, labels: &[u8], dice: f32) -> Result<TracedScalar, LossError> {
    let (n, classes) = *logits.shape();
    let known = |label: &u8| usize::from(*label) < classes || *label == IGNORE;
    if labels.len() != n || !labels.iter().all(known) {
        let message = format!(
            "{} classes found for {n} pixels, expected one below {classes} for each",
            labels.len()
        );
        return invalid("segmentation", message);
    }
    let (mut targets, mut counts) = (vec![0.0; n * classes], vec![0.0f32; classes]);
    let mut counted = vec![0.0; n * classes];
    for (pixel, label) in labels.iter().enumerate().filter(|(_, label)| **label != IGNORE) {
        let class = usize::from(*label);
        targets[pixel * classes + class] = 1.0;
        counted[pixel * classes..][..classes].fill(1.0);
        counts[class] += 1.0;
    }
    let pixels: f32 = counts.iter().sum();
    let log = log_probabilities(logits, 1.0)?;
    let targets = constant(targets, (n, classes))?;
    let entropy = |log: Traced| -> Result<TracedScalar, LossError> {
        Ok(log.try_mul(targets.clone())?.try_sum::<Rank0, _>()? / -pixels.max(1.0))
    };
    let present = counts.iter().filter(|count| **count > 0.0).count();
    if dice == 0.0 || present == 0 {
        return entropy(log);
    }
    let entropy = entropy(again(&log))?;
    let device = Cpu::default();
    let row = |values: Vec<f32>| device.try_tensor_from_vec(values, (classes,));
    let shares: Vec<f32> = counts
        .iter()
        .map(|count| f32::from(u8::from(*count > 0.0)) / present as f32)
        .collect();
    let probabilities = log.try_exp()?;
    let both = again(&probabilities)
        .try_mul(targets.clone())?
        .try_sum::<(usize,), Axis<0>>()?
        * 2.0
        + SMOOTH;
    let guessed = probabilities
        .try_mul(constant(counted, (n, classes))?)?
        .try_sum::<(usize,), Axis<0>>()?;
    let all = guessed.try_add(row(counts)?)? + SMOOTH;
    let overlap = both.try_div(all)?.try_mul(row(shares)?)?.try_sum::<Rank0, _>()?;
    Ok(entropy.try_add((overlap.try_negate()? + 1.0) * dice)?)
}
