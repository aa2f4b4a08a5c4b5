//! What the examples of a data set are, and what a network takes.

use serde::{Deserialize, Serialize};

use crate::layers::MapShape;

/// What the bytes of an example mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Modality {
    /// Values of pixels.
    #[default]
    Images,
    /// Numbers of words: see [`crate::text`].
    Texts {
        /// Number of tokens in the vocabulary.
        vocabulary: usize,
        /// Tells vocabularies of the same size apart; 0 where the words are not known yet.
        fingerprint: u64,
    },
}

impl Modality {
    /// Whether examples are texts.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Texts { .. })
    }

    /// `images` or `texts`, for messages.
    pub fn noun(self) -> &'static str {
        if self.is_text() { "texts" } else { "images" }
    }
}

/// One example as a network takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkInput {
    /// Its shape.
    pub shape: MapShape,
    /// What its values mean.
    pub modality: Modality,
}

impl From<MapShape> for NetworkInput {
    /// An image.
    fn from(shape: MapShape) -> Self {
        let modality = Modality::Images;
        Self { shape, modality }
    }
}
