//! An image as a thumbnail.

use base64::Engine;
use flow_engine::figure::Picture;
use flow_learn::data::{Depth, Images};
use flow_learn::layers::MapShape;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

/// Pixels of a thumbnail's longer side, at most.
const LONGEST: u32 = 64;

/// Values in `[0, 1]`, `[h][w][c]`; what lies outside is cut off.
pub(crate) fn of_values(values: &[f32], shape: MapShape, caption: String, alt: String) -> Option<Picture> {
    let bytes = values
        .iter()
        .map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
        .collect();
    encoded(bytes, (shape.w as u32, shape.h as u32), shape.c, caption, alt)
}

/// One of the images, made smaller where it is large.
pub(crate) fn picture(images: &Images, index: usize, caption: String, alt: String) -> Option<Picture> {
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
    encoded(
        bytes,
        (images.width as u32, images.height as u32),
        images.channels,
        caption,
        alt,
    )
}

fn encoded(
    bytes: Vec<u8>,
    (width, height): (u32, u32),
    channels: usize,
    caption: String,
    alt: String,
) -> Option<Picture> {
    let shown = match channels {
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
