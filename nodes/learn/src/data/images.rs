//! Images in memory, labelled or not, as bytes, channel-last.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use rayon::prelude::*;

use super::label::{Label, from_file, to_file};
use super::pixels::Pixels;

/// `n` images of `[height][width][channels]` bytes, each of a class or without a label.
#[derive(Clone, Debug)]
pub struct Images {
    /// Number of images.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Channels, 1 or 3 as a rule.
    pub channels: usize,
    /// Bits of a value.
    pub depth: Depth,
    /// A label for each image, where it has one.
    pub labels: Vec<Label>,
    /// Image after image; of 16 bits each value is two bytes, the low one first.
    pixels: Pixels,
    /// Where in `pixels` each image is, if these are not all of them in their order: a selection copies no pixel.
    places: Option<Arc<[u32]>>,
}

impl PartialEq for Images {
    fn eq(&self, other: &Self) -> bool {
        self.is_shaped_and_labelled_as(other) && (0..self.n).all(|i| self.pixels_of(i) == other.pixels_of(i))
    }
}

impl Eq for Images {}

/// Bits of a channel's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// From 0 to 255.
    #[default]
    Eight,
    /// From 0 to 65535.
    Sixteen,
}

impl Depth {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
        }
    }
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

const MAGIC: &[u8; 8] = b"flowimg1";
/// Of images of 16 bits.
const DEEP_MAGIC: &[u8; 8] = b"flowimg2";
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
        pixels: impl Into<Pixels>,
        labels: Vec<Label>,
    ) -> Result<Self, ImagesError> {
        Self::of_depth([height, width, channels], Depth::Eight, pixels.into(), labels)
    }

    /// Images of a height, width and channels, with values of so many bits.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn of_depth(
        [height, width, channels]: [usize; 3],
        depth: Depth,
        pixels: Pixels,
        labels: Vec<Label>,
    ) -> Result<Self, ImagesError> {
        let n = labels.len();
        let bytes = [height, width, channels, depth.bytes()]
            .iter()
            .try_fold(n, |all, size| all.checked_mul(*size));
        if [height, width, channels].contains(&0) || bytes != Some(pixels.len()) {
            return Err(ImagesError::Sizes {
                pixels: pixels.len() / depth.bytes(),
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
            depth,
            labels,
            pixels,
            places: None,
        })
    }

    /// Images of a depth that are at `places` of some that lie one after the other.
    ///
    /// # Errors
    /// If sizes do not fit each other, or a place has no image.
    pub fn at_places(
        [height, width, channels]: [usize; 3],
        depth: Depth,
        pixels: Pixels,
        places: Vec<u32>,
        labels: Vec<Label>,
    ) -> Result<Self, ImagesError> {
        let length = height * width * channels * depth.bytes();
        let most = pixels.len().checked_div(length).unwrap_or(0);
        if places.len() != labels.len() || places.iter().any(|place| *place as usize >= most) {
            return Err(ImagesError::Sizes {
                pixels: pixels.len() / depth.bytes(),
                labels: labels.len(),
                height,
                width,
                channels,
            });
        }
        Ok(Self {
            n: labels.len(),
            height,
            width,
            channels,
            depth,
            labels,
            pixels,
            places: Some(places.into()),
        })
    }

    /// The same images with other pixels, `[n][height][width][channels]` values of 8 bits.
    ///
    /// # Panics
    /// With `BUG:` if they are not as many.
    #[must_use]
    pub fn with_pixels(&self, channels: usize, pixels: Vec<u8>) -> Self {
        let size = [self.height, self.width, channels];
        Self::of_depth(size, Depth::Eight, pixels.into(), self.labels.clone()).expect("BUG: pixels of as many images")
    }

    fn is_shaped_and_labelled_as(&self, other: &Self) -> bool {
        let sizes = |images: &Self| (images.n, images.height, images.width, images.channels, images.depth);
        sizes(self) == sizes(other) && self.labels == other.labels
    }

    /// Whether these are images that others are, without a look at their pixels: the very same bytes with the same labels. Equal images may not be.
    pub fn is(&self, other: &Self) -> bool {
        self.is_shaped_and_labelled_as(other) && self.pixels.is(&other.pixels) && self.places == other.places
    }

    /// The bytes of one image.
    pub fn pixels_of(&self, index: usize) -> &[u8] {
        let len = self.pixels_len();
        let place = self.place(index) as usize;
        self.pixels.part(place * len..(place + 1) * len)
    }

    /// The bytes of all images, one after the other: a copy if these are a selection.
    pub fn pixels(&self) -> Cow<'_, [u8]> {
        match &self.places {
            None => Cow::Borrowed(&self.pixels),
            Some(_) => (0..self.n).flat_map(|i| self.pixels_of(i)).copied().collect(),
        }
    }

    fn place(&self, index: usize) -> u32 {
        self.places.as_ref().map_or(index as u32, |places| places[index])
    }

    /// The values of one image, in [0, 1], channel-last.
    pub fn values_of(&self, index: usize) -> impl Iterator<Item = f32> + '_ {
        let bytes = self.pixels_of(index);
        let (eight, sixteen) = match self.depth {
            Depth::Eight => (bytes, &bytes[..0]),
            Depth::Sixteen => (&bytes[..0], bytes),
        };
        let sixteen = sixteen.as_chunks::<2>().0.iter();
        let eight = eight.iter().map(|v| f32::from(*v) / 255.0);
        eight.chain(sixteen.map(|v| f32::from(u16::from_le_bytes(*v)) / 65_535.0))
    }

    /// Only the images at `indices`, in that order. No pixel is copied.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        Self {
            n: indices.len(),
            labels: indices.iter().map(|i| self.labels[*i as usize]).collect(),
            places: Some(indices.iter().map(|i| self.place(*i as usize)).collect()),
            pixels: self.pixels.clone(),
            ..*self
        }
    }

    /// Bytes of one image.
    fn pixels_len(&self) -> usize {
        self.height * self.width * self.channels * self.depth.bytes()
    }

    /// Mean and standard deviation of each channel, of values in [0, 1].
    pub fn channel_statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let none = || vec![(0u64, 0u128); self.channels];
        // Whole numbers: in whatever order they are added, the sums are the same.
        let add = |mut all: Vec<(u64, u128)>, more: Vec<(u64, u128)>| {
            all.iter_mut().zip(more).for_each(|(all, more)| {
                all.0 += more.0;
                all.1 += more.1;
            });
            all
        };
        let of_image = |all, i| add(all, self.sums_of(i));
        let sums = (0..self.n).into_par_iter().fold(none, of_image).reduce(none, add);
        let most = match self.depth {
            Depth::Eight => 255.0,
            Depth::Sixteen => 65_535.0,
        };
        let count = (self.n * self.height * self.width).max(1) as f64;
        let statistics = |(sum, squares): (u64, u128)| {
            let mean = sum as f64 / count / most;
            let variance = squares as f64 / count / most / most - mean.powi(2);
            (mean as f32, variance.max(0.0).sqrt() as f32)
        };
        sums.into_iter().map(statistics).unzip()
    }

    /// The sum of each channel's values of one image, and of their squares.
    fn sums_of(&self, index: usize) -> Vec<(u64, u128)> {
        let bytes = self.pixels_of(index);
        let sums = |values: &mut dyn Iterator<Item = u64>| {
            let (sum, squares) = values.fold((0, 0), |(sum, squares): (u64, u64), v| (sum + v, squares + v * v));
            (sum, u128::from(squares))
        };
        let of_channel = |c: usize| match self.depth {
            Depth::Eight => sums(&mut bytes.iter().skip(c).step_by(self.channels).map(|v| u64::from(*v))),
            Depth::Sixteen => {
                let values = bytes.as_chunks::<2>().0.iter().skip(c).step_by(self.channels);
                sums(&mut values.map(|v| u64::from(u16::from_le_bytes(*v))))
            }
        };
        (0..self.channels).map(of_channel).collect()
    }

    /// A file: header, labels, pixels. The same images give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.write(&mut bytes).expect("BUG: memory can be written to");
        bytes
    }

    /// Bytes of [`Images::encode`]'s file.
    pub fn encoded_len(&self) -> usize {
        HEADER + (2 + self.pixels_len()) * self.n
    }

    /// Writes [`Images::encode`]'s bytes, an image at a time.
    ///
    /// # Errors
    /// What `to` says.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let magic = match self.depth {
            Depth::Eight => MAGIC,
            Depth::Sixteen => DEEP_MAGIC,
        };
        to.write_all(&head(
            *magic,
            [self.n, self.height, self.width, self.channels],
            &self.labels,
        ))?;
        (0..self.n).try_for_each(|i| to.write_all(self.pixels_of(i)))
    }

    /// Reads [`Images::encode`]'s bytes; pixels stay where they are.
    ///
    /// # Errors
    /// If they are not such a file, or truncated.
    pub fn decode(file: impl Into<Pixels>) -> Result<Self, ImagesError> {
        let file = file.into();
        let depth = match file.starts_with(DEEP_MAGIC) {
            true => Depth::Sixteen,
            false => Depth::Eight,
        };
        let ([_, height, width, channels], labels, pixels) = parts_of(&file, depth.bytes())?;
        let pixels = file.slice(file.len() - pixels.len());
        Self::of_depth([height, width, channels], depth, pixels, labels)
    }
}

/// A file of examples: a mark, four sizes, labels, values.
pub(super) fn encode_parts(sizes: [usize; 4], labels: &[Label], values: &[u8]) -> Vec<u8> {
    let mut bytes = head(*MAGIC, sizes, labels);
    bytes.extend_from_slice(values);
    bytes
}

/// What comes before the values.
fn head(magic: [u8; 8], sizes: [usize; 4], labels: &[Label]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 2 * labels.len());
    bytes.extend_from_slice(&magic);
    bytes.extend(sizes.iter().flat_map(|size| (*size as u32).to_le_bytes()));
    bytes.extend(labels.iter().flat_map(|l| to_file(*l).to_le_bytes()));
    bytes
}

/// Four sizes, labels and values of a file of examples.
type Parts<'a> = ([usize; 4], Vec<Label>, &'a [u8]);

/// The parts of [`encode_parts`]'s bytes. Nothing is allocated for sizes that the bytes do not have.
pub(super) fn decode_parts(bytes: &[u8]) -> Result<Parts<'_>, ImagesError> {
    parts_of(bytes, 1)
}

/// The same, where a value of an image has `width` bytes.
fn parts_of(bytes: &[u8], width: usize) -> Result<Parts<'_>, ImagesError> {
    let magic = if width == 1 { MAGIC } else { DEEP_MAGIC };
    let rest = bytes
        .strip_prefix(magic)
        .ok_or(ImagesError::Format("it does not begin with its mark"))?;
    let (header, rest) = rest
        .split_at_checked(HEADER - MAGIC.len())
        .ok_or(ImagesError::Format("its header is truncated"))?;
    let words = header.as_chunks::<4>().0;
    let sizes: [usize; 4] = std::array::from_fn(|i| u32::from_le_bytes(words[i]) as usize);
    let values = sizes.iter().try_fold(width, |all, size| all.checked_mul(*size));
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
            prop_assert_eq!(Images::decode(images.encode()), Ok(images.clone()));
            let labels = (0..n as u16).map(|i| (i % 2 == 0).then_some(i)).collect();
            let pool = Images { labels, ..images };
            prop_assert_eq!(Images::decode(pool.encode()), Ok(pool));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), marked in any::<bool>()) {
            if marked {
                bytes.splice(0..0, *MAGIC);
            }
            let _ = Images::decode(bytes);
        }
    }

    #[test]
    fn values_of_sixteen_bits_stay_what_they_are() {
        let values = [0u16, 256, 65_535, 1];
        let pixels: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let images = Images::of_depth([1, 1, 2], Depth::Sixteen, pixels.into(), vec![None, Some(1)]).expect("fits");
        assert_eq!(Images::decode(images.encode()), Ok(images.clone()));
        let second: Vec<f32> = images.values_of(1).collect();
        assert_eq!(second, [1.0, 1.0 / 65_535.0]);
        assert_eq!(images.select(&[1]).values_of(0).collect::<Vec<_>>(), second);
        let (mean, std) = images.channel_statistics();
        assert_eq!((mean[0], std[0]), (0.5, 0.5));
    }

    #[test]
    fn a_selection_is_the_same_pixels_in_the_same_place_and_encodes_like_a_copy() {
        let images = Images::new(1, 1, 2, vec![1, 2, 3, 4, 5, 6], vec![0, 1, 2]).expect("sizes fit");
        let some = images.select(&[2, 0, 1]).select(&[1, 0]);
        assert_eq!(some.pixels_of(0).as_ptr(), images.pixels_of(0).as_ptr());
        let copy = Images::new(1, 1, 2, vec![1, 2, 5, 6], vec![0, 2]).expect("sizes fit");
        assert_eq!(some, copy);
        assert!(some.is(&images.select(&[0, 2])) && !some.is(&images.select(&[2, 0])) && !some.is(&copy));
        assert_eq!((some.encode(), some.pixels()), (copy.encode(), copy.pixels()));
        assert_eq!(some.encode().len(), some.encoded_len());
        assert_eq!(some.channel_statistics(), copy.channel_statistics());
        assert!(Images::at_places([1, 1, 2], Depth::Eight, vec![0; 4].into(), vec![2], vec![None]).is_err());
    }

    #[test]
    fn statistics_are_those_of_the_values() {
        let images = Images::new(1, 2, 2, vec![0, 255, 255, 255], vec![0]).expect("sizes fit");
        assert_eq!(images.channel_statistics(), (vec![0.5, 1.0], vec![0.5, 0.0]));
    }
}
