//! Generalised intersection over union of boxes (Rezatofighi et al. 2019, 1902.09630), given by how far they reach from a common point.
//!
//! `L = sum_i w_i (1 - (I/U - (C - U)/C)) / sum_i w_i`, with intersection `I`, union `U` and the smallest box around both, `C`.

use dfdx::prelude::*;

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, again, constant};

/// Keeps boxes without area finite.
const EPS: f32 = 1e-7;

/// Loss of boxes by their reach to the left, up, right and down, `(boxes, 1)` each and above 0, at as many true ones, `[boxes][4]`, which weigh `weights`.
///
/// # Errors
/// If the sizes do not fit.
pub fn giou(found: [Traced; 4], truth: &[f32], weights: &[f32]) -> Result<TracedScalar, LossError> {
    let shape = *found[0].shape();
    check_constant("GIoU", "the true boxes", truth.len(), (shape.0, 4))?;
    check_constant("GIoU", "the weights", weights.len(), shape)?;
    let side = |at: usize| -> Vec<f32> { truth.iter().skip(at).step_by(4).copied().collect() };
    let total: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights
        .iter()
        .map(|weight| weight / total.max(f32::MIN_POSITIVE))
        .collect();
    let truths: Vec<f32> = truth.chunks_exact(4).map(|t| (t[0] + t[2]) * (t[1] + t[3])).collect();
    let [left, up, right, down] = found;
    let area = |[left, right, up, down]: [Traced; 4]| left.try_add(right)?.try_mul(up.try_add(down)?);
    let own = area([&left, &right, &up, &down].map(again))?;
    let least = |one: &Traced, at: usize| -> Result<Traced, LossError> {
        Ok(again(one).try_minimum(constant(side(at), shape)?)?)
    };
    let both = area([least(&left, 0)?, least(&right, 2)?, least(&up, 1)?, least(&down, 3)?])?;
    let most =
        |one: Traced, at: usize| -> Result<Traced, LossError> { Ok(one.try_maximum(constant(side(at), shape)?)?) };
    let around = area([most(left, 0)?, most(right, 2)?, most(up, 1)?, most(down, 3)?])? + EPS;
    let union = own.try_add(constant(truths, shape)?)?.try_sub(again(&both))? + EPS;
    let overlap = both.try_div(again(&union))?;
    let waste = union.try_div(around)?;
    // 1 - (I/U - 1 + U/C)
    let loss = (overlap.try_add(waste)?.try_negate()? + 2.0).try_mul(constant(weights, shape)?)?;
    Ok(loss.try_sum::<Rank0, _>()?)
}
