//! Masked-token prediction (Devlin et al. 2018, 1810.04805): which word stood where a mask stands now.
//!
//! `L = -1/m sum_i log softmax(h_i E^T + b)_{w_i}` over the m selected tokens and no others: `h_i` is what the network made of token i, `E`
//! the embedding of the vocabulary, which is the network's own (Press & Wolf 2017, 1608.05859), `b` a bias for each word.

use dfdx::prelude::*;

use super::{LossError, Traced, TracedScalar, cross_entropy, invalid};

/// Mean cross-entropy of the words `labels` that belong at the selected tokens; the rest as in [`word_scores`].
///
/// # Errors
/// If the sizes do not fit, nothing is selected, or a label is not in the vocabulary.
pub fn masked_token(
    hidden: Traced,
    embedding: Traced,
    bias: Traced,
    labels: &[usize],
) -> Result<TracedScalar, LossError> {
    cross_entropy(word_scores(hidden, embedding, bias)?, labels, 0.0)
}

/// `h E^T + b`, `(selected, vocabulary)`: `hidden` is `(selected, dim)`, `embedding` `(vocabulary, dim)`, `bias` `(1, vocabulary)`.
///
/// # Errors
/// If the sizes do not fit, or nothing is selected.
pub fn word_scores(hidden: Traced, embedding: Traced, bias: Traced) -> Result<Traced, LossError> {
    let ((selected, dim), (vocabulary, width), biases) = (*hidden.shape(), *embedding.shape(), *bias.shape());
    if dim != width || biases != (1, vocabulary) || selected == 0 {
        return invalid(
            "masked-token prediction",
            format!("{selected} x {dim} values found for {vocabulary} words of {width} values and {biases:?} biases"),
        );
    }
    let scores = hidden.try_matmul(embedding.try_permute::<(usize, usize), Axes2<1, 0>>()?)?;
    let bias = bias.try_reshape_like(&(vocabulary,))?;
    let bias = bias.try_broadcast_like::<_, Axis<0>>(&(selected, vocabulary))?;
    Ok(scores.try_add(bias)?)
}
