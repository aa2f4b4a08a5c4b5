//! NT-Xent, SimCLR's loss (Chen et al. 2020, 2002.05709, eq. 1).
//!
//! For 2N projections with `s_ij = cos(z_i, z_j)`: `L = 1/2N sum_i [ log sum_{k != i} exp(s_ik / t) - s_ip(i) / t ]`, where `p(i)` is
//! the other view of the same image. The self-similarity is left out of the (stable) log-sum-exp.

use super::log_sum_exp::log_sum_exp_rows;
use super::rows::{check_temperature, transposed_copy, unit_rows};
use super::{LossError, Traced, TracedScalar, invalid};
use dfdx::prelude::*;

/// Loss of projections `z`, `(2N, dim)`: the first N rows are one view of each image, the last N the other. Rows need not
/// be normalised.
///
/// # Errors
/// If the number of rows is odd or below four (one image has nothing to contrast with), or the temperature is not above 0.
pub fn nt_xent(z: Traced, temperature: f32) -> Result<TracedScalar, LossError> {
    let (rows, _) = *z.shape();
    check_nt_xent(rows, temperature)?;
    let unit = unit_rows(z)?;
    // The positive pairs from the rows themselves: a mask over all pairs would be two more passes over the large matrix.
    let partner: Vec<usize> = (0..rows).map(|i| (i + rows / 2) % rows).collect();
    let partner = Cpu::default().try_tensor_from_vec(partner, (rows,))?;
    let attraction = unit
        .with_empty_tape()
        .try_mul(unit.with_empty_tape().try_gather(partner)?)?
        .try_sum::<Rank0, _>()?
        / temperature;
    let transposed = transposed_copy(unit.with_empty_tape())?;
    let repulsion = log_sum_exp_rows((unit / temperature).try_matmul(transposed)?, true)?;
    Ok(repulsion.try_sum::<Rank0, _>()?.try_sub(attraction)? / rows as f32)
}

/// Whether there is an NT-Xent of so many projections.
///
/// # Errors
/// As [`nt_xent`].
pub(crate) fn check_nt_xent(rows: usize, temperature: f32) -> Result<(), LossError> {
    if rows < 4 || !rows.is_multiple_of(2) {
        return invalid(
            "NT-Xent",
            format!("{rows} projections found, expected two views of at least two images"),
        );
    }
    check_temperature("NT-Xent", temperature)
}
