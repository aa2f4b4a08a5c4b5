//! Examples of either kind, for what takes both: splits, labels, training loops. What looks at pixels or words must say which it takes.

use super::{Images, Label, Tokens};
use crate::layers::MapShape;
use crate::text;

/// Images, or texts, labelled or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Images.
    Images(Images),
    /// Texts.
    Texts(Tokens),
}

/// What one example is, without its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sample<'a> {
    /// Values of pixels.
    Image(&'a [u8]),
    /// Numbers of words.
    Text(&'a [u16]),
}

impl From<Images> for Samples {
    fn from(images: Images) -> Self {
        Self::Images(images)
    }
}

impl From<Tokens> for Samples {
    fn from(texts: Tokens) -> Self {
        Self::Texts(texts)
    }
}

impl Samples {
    /// Number of examples.
    pub fn n(&self) -> usize {
        self.labels().len()
    }

    /// The label of each, where it has one.
    pub fn labels(&self) -> &[Label] {
        match self {
            Self::Images(images) => &images.labels,
            Self::Texts(texts) => &texts.labels,
        }
    }

    /// The same examples with other labels, one for each.
    #[must_use]
    pub fn with_labels(mut self, new: Vec<Label>) -> Self {
        match &mut self {
            Self::Images(images) => images.labels = new,
            Self::Texts(texts) => texts.labels = new,
        }
        self
    }

    /// One example.
    pub fn get(&self, index: usize) -> Sample<'_> {
        match self {
            Self::Images(images) => Sample::Image(images.pixels_of(index)),
            Self::Texts(texts) => Sample::Text(texts.ids_of(index)),
        }
    }

    /// Only the examples at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        match self {
            Self::Images(images) => Self::Images(images.select(indices)),
            Self::Texts(texts) => Self::Texts(texts.select(indices)),
        }
    }

    /// The images, if they are images.
    pub fn images(&self) -> Option<&Images> {
        match self {
            Self::Images(images) => Some(images),
            Self::Texts(_) => None,
        }
    }

    /// The texts, if they are texts.
    pub fn texts(&self) -> Option<&Tokens> {
        match self {
            Self::Texts(texts) => Some(texts),
            Self::Images(_) => None,
        }
    }

    /// Shape of an example as a network is given it.
    pub fn shape(&self) -> MapShape {
        let (h, w, c) = match self {
            Self::Images(images) => (images.height, images.width, images.channels),
            Self::Texts(texts) => (texts.length, 1, text::BYTES),
        };
        MapShape { h, w, c }
    }

    /// A file; see [`Images::encode`] and [`Tokens::encode`].
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Images(images) => images.encode(),
            Self::Texts(texts) => texts.encode(),
        }
    }
}
