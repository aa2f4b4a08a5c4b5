//! SwAV's swapped prediction (Caron et al. 2020, 2006.09882, eq. 2): each view predicts the other's soft assignment to prototypes.
//!
//! With scores `s` (cosines to the prototypes) and assignments `q` of [`crate::clustering::sinkhorn`], which take no gradient:
//! `L = 1/2 [CE(q_b, softmax(s_a / t)) + CE(q_a, softmax(s_b / t))]`.

use super::rows::{check_constant, check_pair, check_temperature};
use super::{LossError, Traced, TracedScalar, constant, cross, log_probabilities};
use dfdx::prelude::*;

/// Loss of two views' scores `(n, prototypes)` given both views' assignments, `[n][prototypes]`.
///
/// # Errors
/// If the sizes do not fit or the temperature is not above zero.
pub fn swav(
    [scores_a, scores_b]: [Traced; 2],
    [assigned_a, assigned_b]: [&[f32]; 2],
    temperature: f32,
) -> Result<TracedScalar, LossError> {
    check_pair("SwAV", *scores_b.shape(), *scores_a.shape())?;
    let a = swapped(scores_a, assigned_b, temperature)?;
    let b = swapped(scores_b, assigned_a, temperature)?;
    Ok(a.try_add(b)? / 2.0)
}

/// One view's scores against the assignment that another view got.
///
/// # Errors
/// If the sizes do not fit or the temperature is not above zero.
pub fn swapped(scores: Traced, assigned: &[f32], temperature: f32) -> Result<TracedScalar, LossError> {
    let shape = *scores.shape();
    check_temperature("SwAV", temperature)?;
    check_constant("SwAV", "the assignments", assigned.len(), shape)?;
    cross(
        log_probabilities(scores, temperature)?,
        constant(assigned.to_vec(), shape)?,
    )
}
