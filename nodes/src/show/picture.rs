//! An image as a thumbnail.

use base64::Engine;
use flow_engine::figure::Picture;
use flow_learn::data::{Depth, Images};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

/// Pixels of a thumbnail's longer side, at most.
const LONGEST: u32 = 64;

/// One of the images, made smaller where it is large.
pub(super) fn picture(images: &Images, index: usize, caption: String, alt: String) -> Option<Picture> {
    let step = images.depth.bytes();
    // Of 16 bits the high byte, which is the second.
    let high = usize::from(images.depth == Depth::Sixteen);
    let bytes: Vec<u8> = images
        .pixels_of(index)
        .iter()
        .skip(high)
        .step_by(step)
        .copied()
        .collect();
    let (width, height) = (images.width as u32, images.height as u32);
    let shown = match images.channels {
        3 => DynamicImage::from(RgbImage::from_raw(width, height, bytes)?),
        channels => {
            let first = bytes.iter().step_by(channels).copied().collect();
            DynamicImage::from(GrayImage::from_raw(width, height, first)?)
        }
    };
    let shown = match width.max(height) > LONGEST {
        true => shown.thumbnail(LONGEST, LONGEST),
        false => shown,
    };
    let mut png = std::io::Cursor::new(Vec::new());
    shown.write_to(&mut png, ImageFormat::Png).ok()?;
    Some(Picture {
        caption,
        alt,
        size: (shown.width(), shown.height()),
        png: base64::engine::general_purpose::STANDARD.encode(png.into_inner()),
    })
}
