//! The numbers of words: four special tokens, then the most frequent words of the training texts.

use std::collections::HashMap;

use super::words;
use crate::data::{ImagesError, Modality, Tokens};

/// Fills a text up to its length.
pub const PAD: usize = 0;
/// Stands for a word that the vocabulary lacks.
pub const UNKNOWN: usize = 1;
/// Begins every text.
pub const CLASS: usize = 2;
/// Stands for a word that is to be predicted.
pub const MASK: usize = 3;
/// Tokens below this are none of the words.
pub const SPECIAL: usize = 4;
/// The most tokens that a vocabulary can have: a token is two bytes.
pub const LARGEST: usize = 1 << 16;

/// Words by number and numbers by word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Vocabulary {
    /// The most frequent words of these texts, so many that with the special tokens there are at most `size`. Words that are
    /// equally frequent go by the alphabet.
    pub fn learn<'a>(texts: impl Iterator<Item = &'a str>, size: usize) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for word in texts.flat_map(words) {
            *counts.entry(word).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(size.min(LARGEST).saturating_sub(SPECIAL));
        Self::from_words(counts.into_iter().map(|(word, _)| word).collect())
    }

    /// A vocabulary of these words, the first of which has the number [`SPECIAL`].
    pub fn from_words(words: Vec<String>) -> Self {
        let numbered = words.iter().enumerate();
        let numbers = numbered.map(|(i, word)| (word.clone(), i + SPECIAL)).collect();
        Self { words, numbers }
    }

    /// The words in the order of their numbers.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Number of tokens, special ones included.
    pub fn size(&self) -> usize {
        self.words.len() + SPECIAL
    }

    /// What a network must know of it. Two vocabularies are the same if this is.
    pub fn modality(&self) -> Modality {
        let digest = blake3::hash(self.words.join("\n").as_bytes());
        let fingerprint = digest
            .as_bytes()
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first));
        Modality::Texts {
            vocabulary: self.size(),
            fingerprint,
        }
    }

    /// Texts of `length` tokens each: [`CLASS`], then their words until the length is reached, then [`PAD`].
    ///
    /// # Errors
    /// If there is not one label for each text, or the length is 0.
    pub fn encode(&self, texts: &[&str], length: usize, labels: Vec<u16>) -> Result<Tokens, ImagesError> {
        let mut ids = Vec::with_capacity(texts.len() * length);
        for text in texts {
            let number = |word: String| self.numbers.get(&word).copied().unwrap_or(UNKNOWN);
            let tokens = std::iter::once(CLASS).chain(words(text).into_iter().map(number));
            let filled = tokens.chain(std::iter::repeat(PAD)).take(length);
            ids.extend(filled.map(|token| token as u16));
        }
        Tokens::new(length, self.size(), ids, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 2] = ["the sea, the sea", "a sea of gold"];

    #[test]
    fn words_are_numbered_by_frequency_and_then_by_the_alphabet() {
        let vocabulary = Vocabulary::learn(TEXTS.into_iter(), 100);
        assert_eq!(vocabulary.words(), ["sea", "the", ",", "a", "gold", "of"]);
        assert_eq!(Vocabulary::learn(TEXTS.into_iter(), 6).words(), ["sea", "the"]);
        assert_eq!(vocabulary.size(), 10);
    }

    #[test]
    fn texts_are_cut_and_padded_to_their_length() {
        let vocabulary = Vocabulary::learn(TEXTS.into_iter(), 6);
        let texts = vocabulary
            .encode(&["The red sea", "the sea the sea the"], 5, vec![0, 1])
            .expect("two texts");
        assert_eq!((texts.n, texts.length, texts.vocabulary), (2, 5, 6));
        let tokens = |i| texts.ids_of(i).iter().map(|id| usize::from(*id)).collect::<Vec<_>>();
        assert_eq!(tokens(0), [CLASS, SPECIAL + 1, UNKNOWN, SPECIAL, PAD]);
        assert_eq!(tokens(1), [CLASS, SPECIAL + 1, SPECIAL, SPECIAL + 1, SPECIAL]);
    }

    #[test]
    fn another_vocabulary_is_another_modality() {
        let [a, b] = [["x", "y"], ["y", "x"]].map(|words| Vocabulary::from_words(words.map(str::to_owned).to_vec()));
        assert_ne!(a.modality(), b.modality());
        assert_eq!(a.modality(), Vocabulary::from_words(a.words().to_vec()).modality());
    }
}
