//! Labelled texts in memory, as numbers of words.

use super::images::{decode_parts, encode_parts};
use super::{ImagesError, Label};

/// Bytes of a token in a file.
const BYTES: usize = 2;

/// `n` texts of `length` tokens with a label each. A token is a number below `vocabulary`: see [`crate::text`].
///
/// What is for images does not take them:
/// ```compile_fail
/// use flow_learn::data::{Images, Tokens};
/// let texts = Tokens::new(1, 5, vec![4], vec![0u16]).expect("one text");
/// Images::channel_statistics(&texts);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Number of texts.
    pub n: usize,
    /// Tokens of each text, padding included.
    pub length: usize,
    /// Number of tokens that there are.
    pub vocabulary: usize,
    /// All tokens, text after text, each below `vocabulary`.
    pub ids: Vec<u16>,
    /// A label for each text, where it has one.
    pub labels: Vec<Label>,
}

impl Tokens {
    /// Texts from their parts.
    ///
    /// # Errors
    /// If sizes do not fit each other, or a token is none of the vocabulary.
    pub fn new(
        length: usize,
        vocabulary: usize,
        ids: Vec<u16>,
        labels: Vec<impl Into<Label>>,
    ) -> Result<Self, ImagesError> {
        let n = labels.len();
        if length == 0 || n.checked_mul(length) != Some(ids.len()) {
            let tokens = ids.len();
            return Err(ImagesError::Texts {
                tokens,
                labels: n,
                length,
            });
        }
        if let Some(id) = ids.iter().find(|id| usize::from(**id) >= vocabulary) {
            return Err(ImagesError::Token { id: *id, vocabulary });
        }
        Ok(Self {
            n,
            length,
            vocabulary,
            ids,
            labels: labels.into_iter().map(Into::into).collect(),
        })
    }

    /// The tokens of one text.
    pub fn ids_of(&self, index: usize) -> &[u16] {
        &self.ids[index * self.length..][..self.length]
    }

    /// Only the texts at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let ids = indices.iter().flat_map(|i| self.ids_of(*i as usize)).copied().collect();
        Self {
            n: indices.len(),
            ids,
            labels: indices.iter().map(|i| self.labels[*i as usize]).collect(),
            ..*self
        }
    }

    /// A file: header, labels, tokens of two bytes. The same texts give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let ids: Vec<u8> = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        encode_parts([self.n, self.length, 1, BYTES], &self.labels, &ids)
    }

    /// Reads [`Tokens::encode`]'s bytes.
    ///
    /// # Errors
    /// If they are not such a file, cut short, or a token is none of the vocabulary.
    pub fn decode(bytes: &[u8], vocabulary: usize) -> Result<Self, ImagesError> {
        let ([_, length, width, channels], labels, values) = decode_parts(bytes)?;
        if (width, channels) != (1, BYTES) {
            return Err(ImagesError::Format("it holds images, not texts"));
        }
        let ids = values.as_chunks::<BYTES>().0.iter().map(|b| u16::from_le_bytes(*b));
        Self::new(length, vocabulary, ids.collect(), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_the_round_trip_and_no_foreign_token_is_let_in() {
        let texts = Tokens::new(3, 300, vec![2, 299, 0, 2, 7, 8], vec![1u16, 0]).expect("fits");
        assert_eq!(Tokens::decode(&texts.encode(), 300), Ok(texts.clone()));
        assert_eq!(texts.select(&[1]).ids, [2, 7, 8]);
        let foreign = ImagesError::Token {
            id: 299,
            vocabulary: 299,
        };
        assert_eq!(Tokens::decode(&texts.encode(), 299), Err(foreign));
        assert!(Tokens::new(4, 300, vec![0; 6], vec![0u16, 0]).is_err());
    }
}
