//! Images in memory, labelled or not, as bytes, channel-last.

use super::label::{Label, from_file, to_file};

/// `n` images of `[height][width][channels]` bytes, each of a class or without a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Channels, 1 or 3 as a rule.
    pub channels: usize,
    /// All pixels, image after image.
    pub pixels: Vec<u8>,
    /// A label for each image, where it has one.
    pub labels: Vec<Label>,
}

/// Why images do not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// The number of pixels or labels does not fit.
    #[error("{pixels} pixel values and {labels} labels do not make whole images of {height}x{width}x{channels}")]
    Sizes {
        /// Values found.
        pixels: usize,
        /// Labels found.
        labels: usize,
        /// Height.
        height: usize,
        /// Width.
        width: usize,
        /// Channels.
        channels: usize,
    },
    /// The number of tokens or labels does not fit.
    #[error("{tokens} tokens and {labels} labels do not make whole texts of {length} tokens")]
    Texts {
        /// Tokens found.
        tokens: usize,
        /// Labels found.
        labels: usize,
        /// Tokens of a text.
        length: usize,
    },
    /// A token is none of the vocabulary.
    #[error("token {id} found, but the vocabulary has {vocabulary}")]
    Token {
        /// The token.
        id: u16,
        /// Tokens that there are.
        vocabulary: usize,
    },
    /// The bytes are not an encoding of images or texts.
    #[error("not a flow image file: {0}")]
    Format(&'static str),
}

/// Where things are in images: boxes and masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotations {
    /// One channel of the same size: class plus one where something is, else 0.
    pub masks: Images,
    /// Left, top, right and bottom in pixels, right and bottom exclusive, of each image.
    pub bounds: Vec<[f32; 4]>,
}

impl Annotations {
    /// Only those of the images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let bounds = indices.iter().map(|i| self.bounds[*i as usize]).collect();
        Self {
            masks: self.masks.select(indices),
            bounds,
        }
    }
}

const MAGIC: &[u8; 8] = b"flowimg1";
const HEADER: usize = 8 + 4 * 4;

impl Images {
    /// Labelled images from their parts.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<u16>,
    ) -> Result<Self, ImagesError> {
        let labels = labels.into_iter().map(Some).collect();
        Self::partly_labelled(height, width, channels, pixels, labels)
    }

    /// Images of which some have no label.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn partly_labelled(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<Label>,
    ) -> Result<Self, ImagesError> {
        let n = labels.len();
        let values = [height, width, channels]
            .iter()
            .try_fold(n, |all, size| all.checked_mul(*size));
        if [height, width, channels].contains(&0) || values != Some(pixels.len()) {
            return Err(ImagesError::Sizes {
                pixels: pixels.len(),
                labels: n,
                height,
                width,
                channels,
            });
        }
        Ok(Self {
            n,
            height,
            width,
            channels,
            pixels,
            labels,
        })
    }

    /// The pixels of one image.
    pub fn pixels_of(&self, index: usize) -> &[u8] {
        let len = self.height * self.width * self.channels;
        &self.pixels[index * len..(index + 1) * len]
    }

    /// Only the images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let pixels = indices
            .iter()
            .flat_map(|i| self.pixels_of(*i as usize))
            .copied()
            .collect();
        let labels = indices.iter().map(|i| self.labels[*i as usize]).collect();
        Self {
            n: indices.len(),
            pixels,
            labels,
            ..*self
        }
    }

    /// Mean and standard deviation of each channel, of values in [0, 1].
    pub fn channel_statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let (mut sum, mut squares) = (vec![0u64; self.channels], vec![0u64; self.channels]);
        for (i, value) in self.pixels.iter().enumerate() {
            sum[i % self.channels] += u64::from(*value);
            squares[i % self.channels] += u64::from(*value).pow(2);
        }
        let count = (self.pixels.len() / self.channels).max(1) as f64;
        let mean = |c: usize| sum[c] as f64 / count / 255.0;
        let std = |c: usize| {
            (squares[c] as f64 / count / 255.0 / 255.0 - mean(c).powi(2))
                .max(0.0)
                .sqrt()
        };
        (0..self.channels).map(|c| (mean(c) as f32, std(c) as f32)).unzip()
    }

    /// A file: header, labels, pixels. The same images give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_parts(
            [self.n, self.height, self.width, self.channels],
            &self.labels,
            &self.pixels,
        )
    }

    /// Reads [`Images::encode`]'s bytes.
    ///
    /// # Errors
    /// If they are not such a file, or truncated.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImagesError> {
        let ([_, height, width, channels], labels, pixels) = decode_parts(bytes)?;
        Self::partly_labelled(height, width, channels, pixels.to_vec(), labels)
    }
}

/// A file of examples: a mark, four sizes, labels, values.
pub(super) fn encode_parts(sizes: [usize; 4], labels: &[Label], values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 2 * labels.len() + values.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend(sizes.iter().flat_map(|size| (*size as u32).to_le_bytes()));
    bytes.extend(labels.iter().flat_map(|l| to_file(*l).to_le_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

/// Four sizes, labels and values of a file of examples.
type Parts<'a> = ([usize; 4], Vec<Label>, &'a [u8]);

/// The parts of [`encode_parts`]'s bytes. Nothing is allocated for sizes that the bytes do not have.
pub(super) fn decode_parts(bytes: &[u8]) -> Result<Parts<'_>, ImagesError> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or(ImagesError::Format("it does not begin with its mark"))?;
    let (header, rest) = rest
        .split_at_checked(HEADER - MAGIC.len())
        .ok_or(ImagesError::Format("its header is truncated"))?;
    let words = header.as_chunks::<4>().0;
    let sizes: [usize; 4] = std::array::from_fn(|i| u32::from_le_bytes(words[i]) as usize);
    let values = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    let length = values.and_then(|values| values.checked_add(2 * sizes[0]));
    if length != Some(rest.len()) {
        return Err(ImagesError::Format("its length does not fit its header"));
    }
    let (labels, values) = rest.split_at(2 * sizes[0]);
    let labels = labels
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| from_file(u16::from_le_bytes(*b)));
    Ok((sizes, labels.collect(), values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoding_survives_the_round_trip(n in 0usize..5, h in 1usize..5, w in 1usize..5, c in 1usize..4, seed in any::<u8>()) {
            let pixels = (0..n * h * w * c).map(|i| (i as u8).wrapping_mul(37).wrapping_add(seed)).collect();
            let images = Images::new(h, w, c, pixels, (0..n as u16).collect()).expect("sizes fit");
            prop_assert_eq!(Images::decode(&images.encode()), Ok(images.clone()));
            let labels = (0..n as u16).map(|i| (i % 2 == 0).then_some(i)).collect();
            let pool = Images { labels, ..images };
            prop_assert_eq!(Images::decode(&pool.encode()), Ok(pool));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), marked in any::<bool>()) {
            if marked {
                bytes.splice(0..0, *MAGIC);
            }
            let _ = Images::decode(&bytes);
        }
    }

    #[test]
    fn statistics_are_those_of_the_values() {
        let images = Images::new(1, 2, 2, vec![0, 255, 255, 255], vec![0]).expect("sizes fit");
        assert_eq!(images.channel_statistics(), (vec![0.5, 1.0], vec![0.5, 0.0]));
    }
}
