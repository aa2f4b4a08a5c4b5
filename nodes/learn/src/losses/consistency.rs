//! Consistency of probabilities: mean squared difference (Laine & Aila 2017, 1610.02242; Tarvainen & Valpola 2017, 1703.01780).

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, constant};
use dfdx::prelude::*;

/// `mean((softmax(logits) - targets)^2)` over rows and classes of `(n, classes)`; the targets, `[n][classes]`, are probabilities and take no
/// gradient.
///
/// # Errors
/// If the sizes do not fit.
pub fn consistency(logits: Traced, targets: &[f32]) -> Result<TracedScalar, LossError> {
    let shape = *logits.shape();
    check_constant("consistency", "the targets", targets.len(), shape)?;
    let difference = logits
        .try_softmax::<Axis<1>>()?
        .try_sub(constant(targets.to_vec(), shape)?)?;
    Ok(difference.try_square()?.try_mean::<Rank0, _>()?)
}
