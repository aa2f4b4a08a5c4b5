//! An image as a thumbnail.

use base64::Engine;
use flow_engine::figure::Picture;
use flow_learn::data::{Depth, Images};
use flow_learn::layers::MapShape;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

use crate::pictures::Overlay;

/// Pixels of a thumbnail's longer side, at most.
const LONGEST: u32 = 64;
/// The same of what has lines drawn over it.
const LARGE: u32 = 192;

/// Values in `[0, 1]`, `[h][w][c]`; what lies outside is cut off.
pub(crate) fn of_values(values: &[f32], shape: MapShape, caption: String, alt: String) -> Option<Picture> {
    let bytes = values
        .iter()
        .map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
        .collect();
    of_bytes(bytes, shape, caption, alt)
}

/// One of the images, made smaller where it is large.
pub(crate) fn picture(images: &Images, index: usize, caption: String, alt: String) -> Option<Picture> {
    let size = (images.width as u32, images.height as u32);
    encoded(eight_bits(images, index), size, images.channels, caption, alt)
}

fn eight_bits(images: &Images, index: usize) -> Vec<u8> {
    let step = images.depth.bytes();
    // Of 16 bits the high byte, which is the second.
    let high = usize::from(images.depth == Depth::Sixteen);
    let pixels = images.pixels_of(index).iter();
    pixels.skip(high).step_by(step).copied().collect()
}

/// One of the images with something drawn over it, made larger where it is small.
pub(crate) fn over(
    images: &Images,
    index: usize,
    overlay: &Overlay<'_>,
    caption: String,
    alt: String,
) -> Option<Picture> {
    let size = (images.width as u32, images.height as u32);
    let whole = image_of(eight_bits(images, index), size, images.channels)?.into_rgb8();
    let times = (LARGE / size.0.max(size.1).max(1)).max(1);
    written(DynamicImage::from(overlay.over(&whole, times)), LARGE, caption, alt)
}

/// Values of 8 bits, `[h][w][c]`.
pub(crate) fn of_bytes(bytes: Vec<u8>, shape: MapShape, caption: String, alt: String) -> Option<Picture> {
    encoded(bytes, (shape.w as u32, shape.h as u32), shape.c, caption, alt)
}

fn encoded(bytes: Vec<u8>, size: (u32, u32), channels: usize, caption: String, alt: String) -> Option<Picture> {
    written(image_of(bytes, size, channels)?, LONGEST, caption, alt)
}

/// Pixels of three channels, or the first of any other number as gray.
fn image_of(bytes: Vec<u8>, (width, height): (u32, u32), channels: usize) -> Option<DynamicImage> {
    Some(match channels {
        3 => DynamicImage::from(RgbImage::from_raw(width, height, bytes)?),
        channels => {
            let first = bytes.iter().step_by(channels).copied().collect();
            DynamicImage::from(GrayImage::from_raw(width, height, first)?)
        }
    })
}

fn written(shown: DynamicImage, longest: u32, caption: String, alt: String) -> Option<Picture> {
    let shown = match shown.width().max(shown.height()) > longest {
        true => shown.thumbnail(longest, longest),
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
