//! Masked autoencoders' loss (He et al. 2021, 2111.06377, section 3): squared error on hidden patches, against patches that are
//! normalised each by itself.
//!
//! `L = sum_{hidden p} mean_i (y_pi - (x_pi - mean x_p) / sqrt(var x_p + 1e-6))^2 / hidden`, with the unbiased variance, as published.

use dfdx::prelude::HasShape;

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, reconstruction};

/// Keeps patches of one colour finite: they become zero.
const EPS: f32 = 1e-6;

/// Each row of `patches`, `[rows][len]`, less its mean and over its deviation.
pub fn normalised_patches(patches: &[f32], len: usize) -> Vec<f32> {
    let rows = patches.chunks_exact(len).flat_map(|patch| {
        let (mean, spread) = moments(patch);
        let scale = 1.0 / spread;
        patch.iter().map(move |v| (v - mean) * scale)
    });
    rows.collect()
}

/// A patch's mean, and the deviation by which it is divided.
pub(crate) fn moments(patch: &[f32]) -> (f32, f32) {
    let mean = patch.iter().sum::<f32>() / patch.len() as f32;
    let squares: f32 = patch.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (patch.len() - 1).max(1) as f32 + EPS).sqrt())
}

/// Loss of guesses `(patches, len)` at `targets`, `[patches][len]`; only patches that are `hidden` count.
///
/// # Errors
/// If the sizes do not fit, or nothing is hidden.
pub fn masked_patches(found: Traced, targets: &[f32], hidden: &[bool]) -> Result<TracedScalar, LossError> {
    let (rows, len) = *found.shape();
    check_constant("masked_patches", "the patches that are hidden", hidden.len(), (rows, 1))?;
    let weights: Vec<f32> = hidden.iter().flat_map(|h| vec![f32::from(u8::from(*h)); len]).collect();
    reconstruction(found, targets, Some(&weights))
}
