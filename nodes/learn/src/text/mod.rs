//! Texts: cut into words, numbered by a vocabulary that was learnt from training texts, and laid out as examples of equal length.
//!
//! Encoded texts are [`Tokens`]; splits, label budgets, pseudo-labels and training loops take [`crate::data::Samples`], which are images or
//! texts. A network is given a text as a feature map: height is the number of tokens, width 1, and the two channels are the token's bytes,
//! low one first.

mod vocabulary;
mod words;

pub use vocabulary::{CLASS, LARGEST, MASK, PAD, SPECIAL, UNKNOWN, Vocabulary};
pub use words::words;

use crate::data::Tokens;

/// Channels of an encoded text.
pub const BYTES: usize = 2;

/// The token whose two bytes these are, as a network is given them.
pub fn token(bytes: &[f32]) -> usize {
    bytes[0] as usize | (bytes[1] as usize) << 8
}

/// Writes a token's bytes as [`token`] reads them.
pub fn set_token(bytes: &mut [f32], token: usize) {
    (bytes[0], bytes[1]) = ((token & 0xff) as f32, (token >> 8) as f32);
}

/// How often each word of the vocabulary occurs in the texts at `indices`, as `ln(1 + count)`: `[indices][vocabulary - SPECIAL]`. The
/// control that knows no order and was not trained.
pub fn bag_of_words(texts: &Tokens, indices: &[u32]) -> Vec<f32> {
    let dim = texts.vocabulary.saturating_sub(SPECIAL).max(1);
    let mut bags = vec![0.0f32; indices.len() * dim];
    for (bag, index) in bags.chunks_exact_mut(dim).zip(indices) {
        let ids = texts.ids_of(*index as usize).iter().map(|id| usize::from(*id));
        let known = ids.filter(|token| *token >= SPECIAL);
        known.for_each(|token| bag[token - SPECIAL] += 1.0);
        bag.iter_mut().for_each(|count| *count = count.ln_1p());
    }
    bags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_its_bytes() {
        for id in [0, 3, 255, 256, 4711, LARGEST - 1] {
            let mut bytes = [0.0; BYTES];
            set_token(&mut bytes, id);
            assert_eq!(token(&bytes), id);
        }
    }

    #[test]
    fn a_bag_counts_known_words_and_nothing_else() {
        let vocabulary = Vocabulary::learn(["b a b"].into_iter(), 100);
        let texts = vocabulary
            .encode(&["a b b zebra", "zebra"], 8, vec![0, 0])
            .expect("two texts");
        let bags = bag_of_words(&texts, &[1, 0]);
        assert_eq!(
            bags,
            [0.0, 0.0, 3f32.ln(), 2f32.ln()],
            "b is the more frequent, so it comes first"
        );
    }
}
