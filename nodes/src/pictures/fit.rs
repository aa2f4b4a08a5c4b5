//! Images of any size as squares of one size.

use std::borrow::Cow;

use flow_learn::image::{Crop, Size, resize_part};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Picture, Values};

/// How an image that is not square becomes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The shorter side to the size asked for, then the middle of the longer one, as torchvision's `Resize` and `CenterCrop` do.
    #[default]
    Crop,
    /// Both sides to the size asked for, whatever the proportions.
    Squash,
    /// The longer side to the size asked for, and bars of the matte colour beside it.
    Pad,
}

impl Fit {
    /// The picture as `[side][side][channels]` values of its own depth and channels, but 1 for 3 and the other way round where that is
    /// asked for. Bilinear with antialiasing.
    ///
    /// # Errors
    /// In words: if it has another number of channels.
    pub fn apply(self, picture: &Picture, side: usize, channels: usize, matte: [u8; 3]) -> Result<Values, String> {
        let picture = in_channels(picture, channels)?;
        let matte: Vec<u8> = match channels {
            1 => vec![luma(matte.map(u32::from)) as u8],
            3 => matte.to_vec(),
            // The colour of bars of what is no colour image.
            _ => vec![0; channels],
        };
        let (w, h) = (picture.header.width as usize, picture.header.height as usize);
        let (to_w, to_h) = self.scaled(w, h, side);
        let size = Size { h, w, c: channels };
        let seen = |length: usize| (Self::offset(length, side).max(0) as usize, length.min(side));
        let ((top, height), (left, width)) = (seen(to_h), seen(to_w));
        let part = Crop {
            top,
            left,
            height,
            width,
        };
        let (values, from) = match (h, w) == (to_h, to_w) {
            true => (picture.values.clone(), (h, w)),
            false => (resized(&picture.values, size, (to_h, to_w), part), (height, width)),
        };
        if from == (side, side) {
            return Ok(values);
        }
        let frame = Frame { from, side, channels };
        Ok(match values {
            Values::Eight(values) => Values::Eight(frame.cut(&values, &matte)),
            Values::Sixteen(values) => {
                let matte: Vec<u16> = matte.iter().map(|v| u16::from(*v) * 257).collect();
                Values::Sixteen(frame.cut(&values, &matte))
            }
        })
    }

    /// How far a square's first row or column lies inside an image of such a length, negative for bars; halves are rounded to even, as torchvision and
    /// Pillow do.
    pub(crate) fn offset(length: usize, side: usize) -> isize {
        let spare = length as isize - side as isize;
        spare.signum() * (spare.abs() / 2 + isize::from(spare.abs() % 4 == 3))
    }

    /// Width and height before cropping or padding.
    pub(crate) fn scaled(self, w: usize, h: usize, side: usize) -> (usize, usize) {
        let (short, long) = (w.min(h).max(1), w.max(h).max(1));
        // Rounded down, as torchvision does; to the nearest, as Pillow pads.
        let longer = |short: usize, long: usize| (side * long / short).max(1);
        let shorter = |short: usize, long: usize| ((side * short + long / 2) / long).max(1);
        match self {
            Self::Squash => (side, side),
            Self::Crop if w <= h => (side, longer(short, long)),
            Self::Crop => (longer(short, long), side),
            Self::Pad if w <= h => (shorter(short, long), side),
            Self::Pad => (side, shorter(short, long)),
        }
    }
}

/// A square in the middle of an image, or around it.
struct Frame {
    /// Height and width of the image.
    from: (usize, usize),
    side: usize,
    channels: usize,
}

impl Frame {
    fn cut<V: Copy>(&self, values: &[V], matte: &[V]) -> Vec<V> {
        let (side, (h, w)) = (self.side as isize, self.from);
        let (top, left) = (Fit::offset(h, self.side), Fit::offset(w, self.side));
        // Columns of the image that are in the square, and bars left and right of them.
        let (from, to) = (left.clamp(0, w as isize), (left + side).clamp(0, w as isize));
        let bars = [from - left, left + side - to].map(|columns| matte.repeat(columns as usize));
        let mut square = Vec::with_capacity(self.side * self.side * self.channels);
        for y in top..top + side {
            if !(0..h as isize).contains(&y) {
                square.extend(matte.repeat(self.side));
                continue;
            }
            let row = &values[y as usize * w * self.channels..][..w * self.channels];
            square.extend_from_slice(&bars[0]);
            square.extend_from_slice(&row[from as usize * self.channels..to as usize * self.channels]);
            square.extend_from_slice(&bars[1]);
        }
        square
    }
}

/// Gray for colour, and colour for gray; anything else stays.
pub(super) fn in_channels(picture: &Picture, channels: usize) -> Result<Cow<'_, Picture>, String> {
    let values = match (picture.channels, channels) {
        (from, to) if from == to => return Ok(Cow::Borrowed(picture)),
        (3, 1) => match &picture.values {
            Values::Eight(values) => Values::Eight(gray(values)),
            Values::Sixteen(values) => Values::Sixteen(gray(values)),
        },
        (1, 3) => match &picture.values {
            Values::Eight(values) => Values::Eight(values.iter().flat_map(|v| [*v; 3]).collect()),
            Values::Sixteen(values) => Values::Sixteen(values.iter().flat_map(|v| [*v; 3]).collect()),
        },
        (from, to) => return Err(format!("it has {from} channels, expected {to}")),
    };
    Ok(Cow::Owned(Picture {
        header: picture.header,
        channels,
        values,
    }))
}

/// Lightness of RGB values.
pub(super) fn gray<V: Copy + Into<u32> + TryFrom<u32> + Default>(rgb: &[V]) -> Vec<V> {
    let of_pixel = |pixel: &[V; 3]| V::try_from(luma(pixel.map(Into::into))).unwrap_or_default();
    rgb.as_chunks::<3>().0.iter().map(of_pixel).collect()
}

/// A part of values that have another size.
pub(super) fn resized(values: &Values, size: Size, to: (usize, usize), part: Crop) -> Values {
    match values {
        Values::Eight(values) => Values::Eight(resize_part(values, size, to, part)),
        Values::Sixteen(values) => Values::Sixteen(resize_part(values, size, to, part)),
    }
}

/// BT.601's luma, as Pillow's mode `L` has it. Never more than the largest of the three.
fn luma([r, g, b]: [u32; 3]) -> u32 {
    // In 64 bits: 16-bit values times weights of 16 bits are more than 32 can hold.
    ((u64::from(r) * 19_595 + u64::from(g) * 38_470 + u64::from(b) * 7_471 + 0x8000) >> 16) as u32
}
