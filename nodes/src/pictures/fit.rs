//! Images of any size as squares of one size.

use flow_learn::image::{Crop, Resizer, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Picture;

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
    /// The picture as `[side][side][channels]` bytes, of three channels or in gray of one. Bilinear with antialiasing.
    pub fn apply(self, picture: &Picture, side: usize, channels: usize, matte: [u8; 3]) -> Vec<u8> {
        let (w, h) = (picture.header.width as usize, picture.header.height as usize);
        let (to_w, to_h) = self.scaled(w, h, side);
        let scaled = resized(&picture.rgb, (h, w), (to_h, to_w));
        let mut square = Vec::with_capacity(side * side * channels);
        // How far the square's first row or column lies inside the scaled image, negative for bars; halves are rounded to even, as
        // torchvision and Pillow do.
        let offset = |length: usize| {
            let spare = length as isize - side as isize;
            spare.signum() * (spare.abs() / 2 + isize::from(spare.abs() % 4 == 3))
        };
        let (top, left) = (offset(to_h), offset(to_w));
        for y in 0..side as isize {
            for x in 0..side as isize {
                let (y, x) = (y + top, x + left);
                let inside = (0..to_h as isize).contains(&y) && (0..to_w as isize).contains(&x);
                let pixel = if inside {
                    let at = 3 * (y as usize * to_w + x as usize);
                    [scaled[at], scaled[at + 1], scaled[at + 2]]
                } else {
                    matte
                };
                match channels {
                    1 => square.push(luma(pixel)),
                    _ => square.extend(pixel),
                }
            }
        }
        square
    }

    /// Width and height before cropping or padding.
    fn scaled(self, w: usize, h: usize, side: usize) -> (usize, usize) {
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

/// RGB of another size.
pub(super) fn resized(rgb: &[u8], (h, w): (usize, usize), (to_h, to_w): (usize, usize)) -> Vec<u8> {
    if (h, w) == (to_h, to_w) {
        return rgb.to_vec();
    }
    let size = Size { h, w, c: 3 };
    let values: Vec<f32> = rgb.iter().map(|v| f32::from(*v)).collect();
    let mut out = vec![0.0; to_h * to_w * 3];
    Resizer::default().crop(&values, size, Crop::whole(size), false, &mut out, (to_h, to_w));
    out.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect()
}

/// BT.601's luma, as Pillow's mode `L` has it.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}
