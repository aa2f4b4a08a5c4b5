//! Focal loss of one yes-or-no question for each class and place (Lin et al. 2017, 1708.02002).
//!
//! `L = sum -a_t (1 - p_t)^2 log p_t / positives`, where `p_t` is the probability given to what is true and `a_t` is `a` for what is there and `1 - a` for what
//! is not. Places that do not count are left out of the sum.

use dfdx::prelude::*;

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, constant};

/// The weight of what is there (`a`).
const ALPHA: f32 = 0.25;

/// Loss of `logits`, `(places, classes)`, with targets of 0 or 1 for each, and whether a place counts, 0 or 1.
///
/// # Errors
/// If the sizes do not fit.
pub fn focal(logits: Traced, targets: &[f32], counted: &[f32], positives: f32) -> Result<TracedScalar, LossError> {
    let shape = *logits.shape();
    check_constant("focal loss", "the targets", targets.len(), shape)?;
    check_constant("focal loss", "what counts", counted.len(), (shape.0, 1))?;
    // With x of what is true and -x of what is not, `p_t` is its logistic function.
    let signs: Vec<f32> = targets.iter().map(|target| 2.0 * target - 1.0).collect();
    let weight = |(place, target): (usize, &f32)| {
        let alpha = if *target > 0.0 { ALPHA } else { 1.0 - ALPHA };
        alpha * counted[place / shape.1] / positives.max(1.0)
    };
    let weights: Vec<f32> = targets.iter().enumerate().map(weight).collect();
    let x = logits.try_mul(constant(signs, shape)?)?;
    // -log p = max(-x, 0) + log(1 + e^-|x|), and 1 - p = s(-x).
    let tail = (x.with_empty_tape().try_abs()?.try_negate()?.try_exp()? + 1.0).try_ln()?;
    let entropy = x.with_empty_tape().try_negate()?.try_relu()?.try_add(tail)?;
    let doubt = x.try_negate()?.try_sigmoid()?.try_square()?;
    Ok(doubt
        .try_mul(entropy)?
        .try_mul(constant(weights, shape)?)?
        .try_sum::<Rank0, _>()?)
}
