//! A small decoder: a feature vector back to an image, in two steps of twice the size.

use super::outcome::MethodError;
use crate::layers::{
    BatchNorm, Conv2d, ConvNorm, ConvSettings, Linear, MapShape, NormSettings, Sequential, Unflatten, Upsample,
};
use crate::rng::Stream;

/// How much smaller than the image the decoder begins.
const SHRUNK: usize = 4;

/// From vectors of `dim` to maps of `out` (sizes multiples of 4): linear, then twice an enlargement and a 3x3 convolution with batch norm and
/// ReLU, then a 3x3 convolution. `width` is the channels of the last hidden map; the first has twice as many.
pub(super) fn decoder(dim: usize, width: usize, out: MapShape, stream: &mut Stream) -> Sequential {
    let first = MapShape {
        h: out.h / SHRUNK,
        w: out.w / SHRUNK,
        c: 2 * width,
    };
    let enlarged = |from: usize, to: usize, stream: &mut Stream| {
        ConvNorm::new(ConvSettings::three(from, to, 1), true, ("conv", "bn"), stream)
    };
    Sequential::default()
        .with("0", Linear::new(dim, first.len(), false, stream))
        .with("", Unflatten { shape: first })
        .with("1", BatchNorm::new(first.c, true, NormSettings::default()))
        .with("", Upsample { factor: 2 })
        .with("2", enlarged(2 * width, width, stream))
        .with("", Upsample { factor: 2 })
        .with("3", enlarged(width, width, stream))
        .with("4", Conv2d::new(ConvSettings::three(width, out.c, 1), true, stream))
}

/// Whether the decoder can make images of this size.
pub(super) fn check_decodable(image: MapShape) -> Result<(), MethodError> {
    let MapShape { h, w, .. } = image;
    if h.is_multiple_of(SHRUNK) && w.is_multiple_of(SHRUNK) && h > 0 && w > 0 {
        return Ok(());
    }
    let message = format!("the decoder makes images whose sides are multiples of {SHRUNK}, these have {h}x{w}");
    Err(MethodError::setting("method", message))
}
