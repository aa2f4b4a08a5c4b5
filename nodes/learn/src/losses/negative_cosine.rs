//! Negative cosine similarity with a stopped gradient: SimSiam (Chen & He 2021, 2011.10566, eq. 1) and BYOL (Grill et al. 2020,
//! 2006.07733, eq. 2, where `2 - 2 cos` is twice this and a constant).
//!
//! `L = -1/n sum_i cos(p_i, z_i)`; `z` takes no gradient.

use dfdx::prelude::*;

use super::rows::{check_constant, unit_rows};
use super::{LossError, Traced, TracedScalar, constant, mean_of};
use crate::metrics::normalised;

/// Loss of predictions `(n, dim)` with their targets, `[n][dim]`. Rows need not be normalised.
///
/// # Errors
/// If the sizes do not fit.
pub fn negative_cosine(predictions: Traced, targets: &[f32]) -> Result<TracedScalar, LossError> {
    let (n, dim) = *predictions.shape();
    check_constant("negative cosine", "the targets", targets.len(), (n, dim))?;
    let agreement = unit_rows(predictions)?
        .try_mul(constant(normalised(targets, dim), (n, dim))?)?
        .try_sum::<Rank0, _>()?;
    Ok((agreement / n.max(1) as f32).try_negate()?)
}

/// SimSiam: predictions of two views, each against the other view's projection: `1/2 [L(p_1, z_2) + L(p_2, z_1)]`.
///
/// # Errors
/// If the sizes do not fit.
pub fn simsiam([p1, p2]: [Traced; 2], [z1, z2]: [&[f32]; 2]) -> Result<TracedScalar, LossError> {
    mean_of(negative_cosine(p1, z2)?, negative_cosine(p2, z1)?)
}

/// BYOL: `2 - 2 cos(p, z')`, averaged over both directions.
///
/// # Errors
/// If the sizes do not fit.
pub fn byol(predictions: [Traced; 2], targets: [&[f32]; 2]) -> Result<TracedScalar, LossError> {
    Ok(simsiam(predictions, targets)? * 2.0 + 2.0)
}
