//! Image operations on float images in [0, 1], channel-last `[h][w][c]`, each family in a file of its own.
//!
//! They follow torchvision's tensor operations; the golden values are its.

mod blur;
mod colour;
mod enhance;
mod erase;
mod geometry;
mod lab;
mod part;
mod resize;
mod tone;
mod window;

pub use blur::gaussian_blur;
pub use colour::{brightness, contrast, grayscale, hue, of_hue, saturation};
pub use enhance::{autocontrast, equalize, sharpness};
pub use erase::erase;
pub use geometry::{affine_shear_x, horizontal_flip, rotate, rotate_90_ccw, shear, shift_reflect, translate};
pub use lab::{lab_to_rgb, rgb_to_lab};
pub use part::{Value, resize_part};
pub use resize::{Crop, Resizer, resize};
pub use tone::{normalize, posterize, solarize};
pub use window::window;

pub(crate) use blur::reflect;

/// Height, width and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Size {
    /// Values of one image.
    pub fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
