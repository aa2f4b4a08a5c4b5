//! FreeMatch's fairness (Wang et al. 2023, 2205.07246, eq. 11): `sum_c norm(p / h)_c log norm(mean p_i / h')_c` over the rows that count, where `p` and
//! `h` are the mean and the histogram of guesses so far, `h'` the histogram of these rows' likeliest classes; a class that is nobody's likeliest is left out.

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, constant};
use crate::metrics::argmax;
use dfdx::prelude::*;

/// Fairness of the logits `(n, classes)` of the rows whose weight is above zero; 0 if there are none.
///
/// # Errors
/// If the sizes do not fit.
pub fn class_fairness(
    logits: Traced,
    weights: &[f32],
    shares: &[f32],
    histogram: &[f32],
) -> Result<TracedScalar, LossError> {
    let (n, classes) = *logits.shape();
    check_constant("fairness", "the weights", weights.len(), (n, 1))?;
    check_constant("fairness", "the shares", shares.len(), (1, classes))?;
    check_constant("fairness", "the histogram", histogram.len(), (1, classes))?;
    let counted: Vec<bool> = weights.iter().map(|weight| *weight > 0.0).collect();
    let count = counted.iter().filter(|counted| **counted).count();
    let mut guessed = vec![0.0f32; classes];
    let values = logits.as_vec();
    for row in values
        .chunks_exact(classes)
        .zip(&counted)
        .filter(|(_, counted)| **counted)
        .map(|(row, _)| row)
    {
        guessed[argmax(row)] += 1.0 / count as f32;
    }
    let inverse = |share: &f32| if *share > 0.0 { 1.0 / share } else { 0.0 };
    let mut expected: Vec<f32> = shares.iter().zip(histogram).map(|(p, h)| p * inverse(h)).collect();
    let sum: f32 = expected.iter().sum();
    expected
        .iter_mut()
        .for_each(|p| *p *= inverse(&sum) * if count > 0 { 1.0 } else { 0.0 });

    // Each row's weight in the mean and each column's scale are one constant.
    let scale = guessed.iter().map(inverse).collect::<Vec<f32>>();
    let factor = counted.iter().flat_map(|counted| {
        let share = if *counted { 1.0 / count as f32 } else { 0.0 };
        scale.iter().map(move |scale| share * scale)
    });
    let scaled = logits
        .try_softmax::<Axis<1>>()?
        .try_mul(constant(factor.collect(), (n, classes))?)?;
    let means = scaled.try_sum::<(usize,), Axis<0>>()?;
    let total =
        (means.with_empty_tape().try_sum::<Rank0, Axis<0>>()? + 1e-30).try_broadcast_like::<_, Axis<0>>(&(classes,))?;
    let log = (means.try_div(total)? + 1e-12).try_ln()?;
    let expected = Cpu::default().try_tensor_from_vec(expected, (classes,))?;
    Ok(log.try_mul(expected)?.try_sum::<Rank0, Axis<0>>()?)
}
