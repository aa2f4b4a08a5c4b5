//! Squared error of reconstructed values, on all of them or on those that were hidden: autoencoders (Vincent et al. 2008) and context encoders
//! (Pathak et al. 2016, 1604.07379, eq. 1).
//!
//! `L = sum_i w_i (y_i - x_i)^2 / sum_i w_i`.

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, constant, invalid};
use dfdx::prelude::*;

/// Loss of reconstructions `(n, values)` of `targets`, `[n][values]`; `weights` of the same shape say what counts, and all counts alike without
/// them.
///
/// # Errors
/// If the sizes do not fit, or no value counts.
pub fn reconstruction(found: Traced, targets: &[f32], weights: Option<&[f32]>) -> Result<TracedScalar, LossError> {
    let shape = *found.shape();
    check_constant("reconstruction", "the targets", targets.len(), shape)?;
    let error = found.try_sub(constant(targets.to_vec(), shape)?)?.try_square()?;
    let Some(weights) = weights else {
        return Ok(error.try_mean::<Rank0, _>()?);
    };
    check_constant("reconstruction", "the weights", weights.len(), shape)?;
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    if total <= 0.0 {
        return invalid("reconstruction", "every weight is 0: nothing was hidden");
    }
    let error = error.try_mul(constant(weights.to_vec(), shape)?)?;
    Ok(error.try_sum::<Rank0, _>()? / total as f32)
}
