//! Binary cross-entropy of logits, the loss of both players of a GAN (Goodfellow et al. 2014, 1406.2661; the generator's is the one that does
//! not saturate).
//!
//! `L = -1/n sum_i [t log s(x_i) + (1 - t) log (1 - s(x_i))]` with the logistic function `s`: `max(x, 0) - t x + log(1 + e^-|x|)`.

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, constant, mean_of};
use dfdx::prelude::*;

/// Loss of logits `(n, 1)`, or of any shape, with a target in `[0, 1]` for each.
///
/// # Errors
/// If the sizes do not fit.
pub fn binary_cross_entropy(logits: Traced, targets: &[f32]) -> Result<TracedScalar, LossError> {
    let shape = *logits.shape();
    check_constant("binary cross-entropy", "the targets", targets.len(), shape)?;
    let tail = (logits.with_empty_tape().try_abs()?.try_negate()?.try_exp()? + 1.0).try_ln()?;
    let linear = logits.with_empty_tape().try_mul(constant(targets.to_vec(), shape)?)?;
    let loss = logits.try_relu()?.try_sub(linear)?.try_add(tail)?;
    Ok(loss.try_mean::<Rank0, _>()?)
}

/// A discriminator's loss of logits of real and of generated images, each `(n, 1)`: real ones have the target `1 - smoothing` (Salimans et al.
/// 2016, 1606.03498), generated ones 0; the mean of both.
///
/// # Errors
/// If there is no memory for it.
pub fn gan_discriminator([real, fake]: [Traced; 2], smoothing: f32) -> Result<TracedScalar, LossError> {
    let targets = |of: &Traced, value: f32| vec![value; of.shape().0 * of.shape().1];
    let (ones, zeros) = (targets(&real, 1.0 - smoothing), targets(&fake, 0.0));
    mean_of(binary_cross_entropy(real, &ones)?, binary_cross_entropy(fake, &zeros)?)
}
