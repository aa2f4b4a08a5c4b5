//! InfoNCE against a queue or a memory: MoCo (He et al. 2020, 1911.05722, eq. 1) and PIRL (Misra & van der Maaten 2020, 1912.01991).
//!
//! For queries `q_i`, positive keys `k_i` and negatives `m_j`, all scaled to length one:
//! `L = -1/n sum_i log exp(q_i k_i / t) / (exp(q_i k_i / t) + sum_j exp(q_i m_j / t))`. Keys and negatives take no gradient.

use dfdx::prelude::*;

use super::log_sum_exp::log_sum_exp_rows;
use super::rows::{check_constant, check_temperature, transposed, unit_rows};
use super::{LossError, Traced, TracedScalar, constant, invalid};
use crate::metrics::normalised;

/// Loss of queries `(n, dim)` with their positive keys, `[n][dim]`, and negatives shared by all queries, `[negatives][dim]`. No
/// row need be normalised.
///
/// # Errors
/// If there are no negatives, the sizes do not fit or the temperature is not above 0.
pub fn info_nce(queries: Traced, keys: &[f32], negatives: &[f32], temperature: f32) -> Result<TracedScalar, LossError> {
    let (n, dim) = *queries.shape();
    check_info_nce((n, dim), [keys, negatives], temperature)?;
    let count = negatives.len() / dim;
    let queries = unit_rows(queries)?;
    let attraction = queries
        .with_empty_tape()
        .try_mul(constant(normalised(keys, dim), (n, dim))?)?
        .try_sum::<(usize,), Axis<1>>()?
        / temperature;
    let negatives = constant(transposed(&normalised(negatives, dim), dim), (dim, count))?;
    let repulsion = log_sum_exp_rows(queries.try_matmul(negatives)? / temperature, false)?;
    // log(e^a + e^r) - a = softplus(r - a) = max(r - a, 0) + log(1 + e^-|r - a|), which neither over- nor underflows.
    let margin = repulsion.try_sub(attraction)?;
    let tail = (margin.with_empty_tape().try_abs()?.try_negate()?.try_exp()? + 1.0).try_ln()?;
    Ok(margin.try_relu()?.try_add(tail)?.try_mean::<Rank0, _>()?)
}

/// Whether there is an InfoNCE of queries of such a shape.
///
/// # Errors
/// As [`info_nce`].
pub(crate) fn check_info_nce(
    (n, dim): (usize, usize),
    [keys, negatives]: [&[f32]; 2],
    temperature: f32,
) -> Result<(), LossError> {
    check_temperature("InfoNCE", temperature)?;
    check_constant("InfoNCE", "the positive keys", keys.len(), (n, dim))?;
    if negatives.is_empty() || !negatives.len().is_multiple_of(dim) {
        return invalid(
            "InfoNCE",
            format!("{} values of negatives found, expected rows of {dim}", negatives.len()),
        );
    }
    Ok(())
}

/// PIRL's loss: `(1 - weight) InfoNCE(image) + weight InfoNCE(patches)`, both against the memory's entry of the same image, as
/// positive, and entries of other images, as negatives (eq. 5; the paper's `weight` is .5).
///
/// # Errors
/// Those of [`info_nce`].
pub fn pirl(
    image: Traced,
    patches: Traced,
    positives: &[f32],
    negatives: &[f32],
    temperature: f32,
    weight: f32,
) -> Result<TracedScalar, LossError> {
    let image = info_nce(image, positives, negatives, temperature)?;
    let patches = info_nce(patches, positives, negatives, temperature)?;
    Ok((image * (1.0 - weight)).try_add(patches * weight)?)
}
