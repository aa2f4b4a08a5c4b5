//! NT-Xent, SimCLR's loss (Chen et al. 2020, 2002.05709, eq. 1).
//!
//! For 2N projections with `s_ij = cos(z_i, z_j)`: `L = 1/2N sum_i [ log sum_{k != i} exp(s_ik / t) - s_ip(i) / t ]`, where `p(i)` is
//! the other view of the same image. The self-similarity is masked before the (stable) log-sum-exp.

use super::{LossError, Traced, TracedScalar, constant, invalid};
use dfdx::prelude::*;

/// Far below any similarity divided by a sensible temperature, and its exponential is exactly zero.
const MASKED: f32 = -1e9;

/// Loss of projections `z`, `(2N, dim)`: the first N rows are one view of each image, the last N the other. Rows need not
/// be normalised.
///
/// # Errors
/// If the number of rows is odd or below four (one image has nothing to contrast with), or the temperature is not above 0.
pub fn nt_xent(z: Traced, temperature: f32) -> Result<TracedScalar, LossError> {
    let (rows, dim) = *z.shape();
    if rows < 4 || !rows.is_multiple_of(2) {
        return invalid(
            "NT-Xent",
            format!("{rows} projections found, expected two views of at least two images"),
        );
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return invalid(
            "NT-Xent",
            format!("temperature {temperature} found, expected a number above 0"),
        );
    }
    let mut mask = vec![0.0f32; rows * rows];
    let mut positive = vec![0.0f32; rows * rows];
    for i in 0..rows {
        mask[i * rows + i] = MASKED;
        positive[i * rows + (i + rows / 2) % rows] = 1.0;
    }
    // 1e-12 under the root as in PyTorch's normalize, so that a zero projection has a finite gradient.
    let norm = (z.with_empty_tape().try_square()?.try_sum::<(usize,), Axis<1>>()? + 1e-24).try_sqrt()?;
    let (z, tape) = z.split_tape();
    let unit = z
        .put_tape(tape)
        .try_div(norm.try_broadcast_like::<_, Axis<1>>(&(rows, dim))?)?;
    // dfdx's permuted tensor shares its gradient with the original, which a product of the two cannot have: scale to copy.
    let transposed = (unit.with_empty_tape() * 1.0).try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let similarity = unit.try_matmul(transposed)? / temperature;
    let attraction = similarity
        .with_empty_tape()
        .try_mul(constant(positive, (rows, rows))?)?
        .try_sum::<Rank0, _>()?;
    let repulsion = similarity
        .try_add(constant(mask, (rows, rows))?)?
        .try_logsumexp::<(usize,), Axis<1>>()?;
    Ok(repulsion.try_sum::<Rank0, _>()?.try_sub(attraction)? / rows as f32)
}
