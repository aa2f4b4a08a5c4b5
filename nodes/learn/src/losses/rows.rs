//! What several losses do with the rows and columns of a matrix, on the tape and off it.

use dfdx::prelude::*;

use super::{LossError, Traced, invalid};

/// The rows of `z` scaled to length one, differentiably.
pub(super) fn unit_rows(z: Traced) -> Result<Traced, LossError> {
    let shape = *z.shape();
    // 1e-12 under the root as in PyTorch's normalize, so that a zero row has a finite gradient.
    let norm = (z.with_empty_tape().try_square()?.try_sum::<(usize,), Axis<1>>()? + 1e-24).try_sqrt()?;
    Ok(z.try_div(norm.try_broadcast_like::<_, Axis<1>>(&shape)?)?)
}

/// The columns of `z` with their means taken away, differentiably.
pub(super) fn centred_columns(z: Traced) -> Result<Traced, LossError> {
    let shape = *z.shape();
    let mean = z.with_empty_tape().try_mean::<(usize,), Axis<0>>()?;
    Ok(z.try_sub(mean.try_broadcast_like::<_, Axis<0>>(&shape)?)?)
}

/// `z` with rows and columns changed, differentiably, with a gradient of its own: dfdx's permuted tensor shares its gradient
/// with the original, which a product of the two cannot have.
pub(super) fn transposed_copy(z: Traced) -> Result<Traced, LossError> {
    Ok((z * 1.0).try_permute::<(usize, usize), Axes2<1, 0>>()?)
}

/// `[rows][columns]` as `[columns][rows]`.
pub(super) fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|c| matrix.iter().skip(c).step_by(columns).copied())
        .collect()
}

/// A temperature is a positive number.
pub(super) fn check_temperature(loss: &'static str, temperature: f32) -> Result<(), LossError> {
    if temperature > 0.0 && temperature.is_finite() {
        return Ok(());
    }
    invalid(
        loss,
        format!("temperature {temperature} found, expected a number above 0"),
    )
}

/// Two matrices that stand for the two views of the same images.
pub(super) fn check_pair(loss: &'static str, a: (usize, usize), b: (usize, usize)) -> Result<(), LossError> {
    if a == b {
        return Ok(());
    }
    invalid(
        loss,
        format!("{} x {} values found for {} x {} of the other view", a.0, a.1, b.0, b.1),
    )
}

/// The two views of a batch whose columns have statistics; `what` they are for.
pub(super) fn check_batch_pair(
    loss: &'static str,
    a: (usize, usize),
    b: (usize, usize),
    what: &str,
) -> Result<(), LossError> {
    check_pair(loss, a, b)?;
    if a.0 < 2 {
        return invalid(loss, format!("{} images found, expected at least 2 {what}", a.0));
    }
    Ok(())
}

/// A constant with as many values as `shape` has.
pub(super) fn check_constant(
    loss: &'static str,
    what: &str,
    found: usize,
    shape: (usize, usize),
) -> Result<(), LossError> {
    if found == shape.0 * shape.1 {
        return Ok(());
    }
    invalid(
        loss,
        format!("{found} values of {what} found, expected {} x {}", shape.0, shape.1),
    )
}
