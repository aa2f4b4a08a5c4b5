//! Barlow Twins (Zbontar et al. 2021, 2103.03230, eq. 1): two views' dimensions agree with themselves and with no other.
//!
//! With `C = 1/n A' B` of the batch-standardised projections `A` and `B`: `L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2`.

use dfdx::prelude::*;

use super::rows::{centred_columns, check_batch_pair, transposed_copy};
use super::{LossError, Traced, TracedScalar, constant};

/// As in a batch norm, which the paper's code standardises with.
pub(crate) const EPS: f32 = 1e-5;

/// Loss of the projections of two views, `(n, dim)` each; `lambda` weighs the redundancy, .005 in the paper.
///
/// # Errors
/// If the sizes do not fit or there is only one image.
pub fn barlow_twins(a: Traced, b: Traced, lambda: f32) -> Result<TracedScalar, LossError> {
    let (n, dim) = *a.shape();
    check_barlow_twins(*b.shape(), (n, dim))?;
    let (a, b) = (standardised(a)?, standardised(b)?);
    let correlation = transposed_copy(a)?.try_matmul(b)? / n as f32;
    let (mut identity, mut weight) = (vec![0.0; dim * dim], vec![lambda; dim * dim]);
    for i in 0..dim {
        identity[i * dim + i] = 1.0;
        weight[i * dim + i] = 1.0;
    }
    let off = correlation.try_sub(constant(identity, (dim, dim))?)?.try_square()?;
    Ok(off.try_mul(constant(weight, (dim, dim))?)?.try_sum::<Rank0, _>()?)
}

/// Whether there are Barlow Twins of views of such shapes.
///
/// # Errors
/// As [`barlow_twins`].
pub(crate) fn check_barlow_twins(a: (usize, usize), b: (usize, usize)) -> Result<(), LossError> {
    check_batch_pair("Barlow Twins", a, b, "to correlate over")
}

/// Columns of mean 0 and (biased) variance 1.
fn standardised(z: Traced) -> Result<Traced, LossError> {
    let shape = *z.shape();
    let centred = centred_columns(z)?;
    let variance = centred
        .with_empty_tape()
        .try_square()?
        .try_mean::<(usize,), Axis<0>>()?;
    let deviation = (variance + EPS).try_sqrt()?;
    Ok(centred.try_div(deviation.try_broadcast_like::<_, Axis<0>>(&shape)?)?)
}
