//! SCAN's clustering loss (Van Gansbeke et al. 2020, 2005.12320, eq. 2): an image and its neighbour are in the same cluster, and all
//! clusters are used.
//!
//! With `p = softmax(logits)`: `L = -1/n sum_i log <p(x_i), p(neighbour_i)> - w H(mean_i p(x_i))`.

use dfdx::prelude::*;

use super::rows::check_pair;
use super::{LossError, Traced, TracedScalar};

/// Far below any probability that counts; a mean of zero has a finite logarithm.
const LEAST: f32 = 1e-20;

/// Loss of the logits of images and of one neighbour each, `(n, clusters)` both; `entropy_weight` is 5 in the paper.
///
/// # Errors
/// If the sizes do not fit.
pub fn scan(anchors: Traced, neighbours: Traced, entropy_weight: f32) -> Result<TracedScalar, LossError> {
    check_pair("SCAN", *neighbours.shape(), *anchors.shape())?;
    let log_a = anchors.with_empty_tape().try_log_softmax::<Axis<1>>()?;
    let log_b = neighbours.try_log_softmax::<Axis<1>>()?;
    // log <p, q> = logsumexp(log p + log q): the product of two confident, different guesses does not underflow.
    let agreement = log_a.try_add(log_b)?.try_logsumexp::<(usize,), Axis<1>>()?;
    let mean = anchors.try_softmax::<Axis<1>>()?.try_mean::<(usize,), Axis<0>>()?;
    let log_mean = (mean.with_empty_tape() + LEAST).try_ln()?;
    let negative_entropy = mean.try_mul(log_mean)?.try_sum::<Rank0, _>()?;
    Ok((negative_entropy * entropy_weight).try_sub(agreement.try_mean::<Rank0, _>()?)?)
}
