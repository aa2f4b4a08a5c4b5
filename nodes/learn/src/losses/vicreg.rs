//! VICReg (Bardes et al. 2022, 2105.04906, eq. 6): views agree, dimensions vary, and do not repeat each other.
//!
//! `L = lambda mean((a - b)^2) + mu [v(a) + v(b)] / 2 + nu [c(a) + c(b)]` with the hinge `v(z) = mean_j max(0, 1 - sqrt(var z_j + 1e-4))`
//! and `c(z) = sum_{i != j} Cov(z)_ij^2 / dim`; variances and covariances are unbiased. The halves are the authors' code's.

use dfdx::prelude::*;

use super::rows::{centred_columns, check_batch_pair, transposed_copy};
use super::{LossError, Traced, TracedScalar, constant};

/// Added to variances before their roots are taken.
pub(crate) const EPS: f32 = 1e-4;

/// Weights of the three terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VicregWeights {
    /// `lambda`, of the distance between views; 25 in the paper.
    pub invariance: f32,
    /// `mu`, of the deviations' hinge; 25 in the paper.
    pub variance: f32,
    /// `nu`, of the covariances; 1 in the paper.
    pub covariance: f32,
}

/// Loss of the projections of two views, `(n, dim)` each.
///
/// # Errors
/// If the sizes do not fit or there is only one image.
pub fn vicreg(a: Traced, b: Traced, weights: VicregWeights) -> Result<TracedScalar, LossError> {
    check_vicreg(*b.shape(), *a.shape())?;
    let distance = a
        .with_empty_tape()
        .try_sub(b.with_empty_tape())?
        .try_square()?
        .try_mean::<Rank0, _>()?;
    let (variance_a, covariance_a) = spread(a)?;
    let (variance_b, covariance_b) = spread(b)?;
    let variance = variance_a.try_add(variance_b)? * (weights.variance / 2.0);
    let covariance = covariance_a.try_add(covariance_b)? * weights.covariance;
    Ok((distance * weights.invariance).try_add(variance)?.try_add(covariance)?)
}

/// Whether there is a VICReg of views of such shapes.
///
/// # Errors
/// As [`vicreg`].
pub(crate) fn check_vicreg(a: (usize, usize), b: (usize, usize)) -> Result<(), LossError> {
    check_batch_pair("VICReg", a, b, "to have a variance")
}

/// `v(z)` and `c(z)`.
fn spread(z: Traced) -> Result<(TracedScalar, TracedScalar), LossError> {
    let (n, dim) = *z.shape();
    let degrees = (n - 1) as f32;
    let centred = centred_columns(z)?;
    let variance = centred.with_empty_tape().try_square()?.try_sum::<(usize,), Axis<0>>()? / degrees;
    let lack = ((variance + EPS).try_sqrt()?.try_negate()? + 1.0).try_relu()?;
    let other = transposed_copy(centred.with_empty_tape())?;
    let covariance = other.try_matmul(centred)? / degrees;
    let mut off_diagonal = vec![1.0; dim * dim];
    off_diagonal.iter_mut().step_by(dim + 1).for_each(|v| *v = 0.0);
    let repeated = covariance
        .try_square()?
        .try_mul(constant(off_diagonal, (dim, dim))?)?
        .try_sum::<Rank0, _>()?;
    Ok((lack.try_mean::<Rank0, _>()?, repeated / dim as f32))
}
