//! RandAugment (Cubuk et al. 2020, 1909.13719): operations drawn from a list, each with a strength between nothing and its most; list and ranges are
//! torchvision's. Geometry is bilinear, and what comes from outside is black.

use super::moves::Move;
use crate::image::{self, Size};
use crate::rng::Stream;

/// An operation of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandOp {
    /// Nothing.
    Identity,
    /// Along x, by up to 0.3 pixels a pixel.
    ShearX,
    /// Along y.
    ShearY,
    /// By up to 150/331 of the width.
    TranslateX,
    /// By up to 150/331 of the height.
    TranslateY,
    /// By up to 30 degrees.
    Rotate,
    /// By a factor of up to 1.9, or down to 0.1.
    Brightness,
    /// Saturation, likewise; nothing on gray images.
    Color,
    /// Likewise.
    Contrast,
    /// Likewise.
    Sharpness,
    /// Down to 4 bits.
    Posterize,
    /// Down from 1.
    Solarize,
    /// Whatever the strength.
    AutoContrast,
    /// Whatever the strength.
    Equalize,
}

impl RandOp {
    /// The list.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// What it does to places with such a strength, if anything.
    pub fn moves(self, size: Size, strength: f32) -> Option<Move> {
        let share = 150.0 / 331.0 * strength;
        match self {
            Self::ShearX => Some(Move::shear(size, 0.3 * strength, 0.0)),
            Self::ShearY => Some(Move::shear(size, 0.0, 0.3 * strength)),
            Self::TranslateX => Some(Move::translation(share * size.w as f32, 0.0)),
            Self::TranslateY => Some(Move::translation(0.0, share * size.h as f32)),
            Self::Rotate => Some(Move::rotation(30.0 * strength)),
            _ => None,
        }
    }

    /// Applies it with a strength from -1 to 1; where a direction means nothing, its size counts.
    pub fn apply(self, image: &mut Vec<f32>, size: Size, strength: f32) {
        let (c, factor) = (size.c, 1.0 + 0.9 * strength);
        match self {
            Self::Identity => {}
            Self::ShearX => *image = image::shear(image, size, 0.3 * strength, 0.0),
            Self::ShearY => *image = image::shear(image, size, 0.0, 0.3 * strength),
            Self::TranslateX => *image = image::translate(image, size, 150.0 / 331.0 * size.w as f32 * strength, 0.0),
            Self::TranslateY => *image = image::translate(image, size, 0.0, 150.0 / 331.0 * size.h as f32 * strength),
            Self::Rotate => *image = image::rotate(image, size, 30.0 * strength, 0.0),
            Self::Brightness => image::brightness(image, factor),
            Self::Color => image::saturation(image, c, factor),
            Self::Contrast => image::contrast(image, c, factor),
            Self::Sharpness => *image = image::sharpness(image, size, factor),
            Self::Posterize => image::posterize(image, 8 - (4.0 * strength.abs()).round() as u32),
            Self::Solarize => image::solarize(image, 1.0 - strength.abs()),
            Self::AutoContrast => image::autocontrast(image, c),
            Self::Equalize => image::equalize(image, c),
        }
    }
}

/// `count` operations one after the other, each with a strength of a size from `magnitude` and a random direction; what they do to places is added
/// to `moves`.
pub fn rand_augment(
    image: &mut Vec<f32>,
    moves: &mut Vec<Move>,
    size: Size,
    count: usize,
    magnitude: [f32; 2],
    stream: &mut Stream,
) {
    for _ in 0..count {
        let op = RandOp::ALL[stream.below(RandOp::ALL.len())];
        let strength = stream.range(magnitude[0], magnitude[1]);
        let direction = if stream.bernoulli(0.5) { -1.0 } else { 1.0 };
        op.apply(image, size, direction * strength);
        moves.extend(op.moves(size, direction * strength));
    }
}
