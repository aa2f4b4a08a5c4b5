//! Recipes: which operations in which order, with which probabilities and ranges.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::MapShape;

/// One operation with the ranges that its parameters are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A random part of the image, at full size (Szegedy et al. 2015): `scale` is its share of the area, `ratio` its aspect.
    RandomResizedCrop {
        /// Share of the area, from and to, in (0, 1].
        #[serde(default = "crop_scale")]
        scale: [f32; 2],
        /// Width over height, from and to.
        #[serde(default = "crop_ratio")]
        ratio: [f32; 2],
    },
    /// The image at another size, in a window of its own: a random part of what is larger, a random place on black for what is smaller (Ghiasi et
    /// al. 2021, 2012.07177; Zoph et al.'s strongest policy takes 0.1 to 2).
    ScaleJitter {
        /// Factor of height and width, from and to, at most 4.
        #[serde(default = "jitter_scale")]
        scale: [f32; 2],
    },
    /// Mirrors from left to right.
    HorizontalFlip {
        /// Probability.
        #[serde(default = "half")]
        p: f32,
    },
    /// Brightness, contrast, saturation and hue by random factors, in this order.
    ColorJitter {
        /// Probability.
        #[serde(default = "one")]
        p: f32,
        /// Factor from `1 - b` to `1 + b`.
        #[serde(default)]
        brightness: f32,
        /// Factor from `1 - c` to `1 + c`.
        #[serde(default)]
        contrast: f32,
        /// Factor from `1 - s` to `1 + s`; colour only.
        #[serde(default)]
        saturation: f32,
        /// Turn from `-h` to `h` of the circle, at most 0.5; colour only.
        #[serde(default)]
        hue: f32,
    },
    /// Drops the colour; colour only.
    Grayscale {
        /// Probability.
        #[serde(default = "fifth")]
        p: f32,
    },
    /// Gaussian blur with a kernel of `2 ceil(2 sigma) + 1` pixels.
    GaussianBlur {
        /// Probability.
        #[serde(default = "half")]
        p: f32,
        /// Deviation in pixels, from and to.
        #[serde(default = "blur_sigma")]
        sigma: [f32; 2],
    },
    /// Inverts bright values.
    Solarize {
        /// Probability.
        #[serde(default = "fifth")]
        p: f32,
        /// From which value on, 0 to 1.
        #[serde(default = "half")]
        threshold: f32,
    },
    /// Keeps the highest bits of each value.
    Posterize {
        /// Probability.
        #[serde(default = "fifth")]
        p: f32,
        /// Bits kept, 1 to 8.
        bits: u32,
    },
    /// Rotation by up to `degrees` either way; corners that come in are black.
    Rotate {
        /// Probability.
        #[serde(default = "one")]
        p: f32,
        /// The largest angle.
        degrees: f32,
    },
    /// Shift by up to `pixels` in each direction; the border is mirrored.
    Shift {
        /// The largest shift.
        pixels: usize,
    },
    /// Blackens a random rectangle (Zhong et al. 2017, 1708.04896).
    Erase {
        /// Probability.
        #[serde(default = "half")]
        p: f32,
        /// Share of the area, from and to.
        #[serde(default = "erase_scale")]
        scale: [f32; 2],
    },
    /// Some of fourteen operations, drawn for each image (Cubuk et al. 2020, 1909.13719; torchvision's list).
    RandAugment {
        /// How many, one after the other; an operation may come twice.
        #[serde(default = "two")]
        count: usize,
        /// Strength as a share of each operation's range, from and to: 0.3 to 0.3 is torchvision's 9 of 30, 0 to 1 FixMatch's.
        #[serde(default = "whole_range")]
        magnitude: [f32; 2],
    },
    /// Grays a random square, which may reach over the border (DeVries & Taylor 2017, 1708.04552).
    Cutout {
        /// Probability.
        #[serde(default = "one")]
        p: f32,
        /// Its side as a share of the image's, from and to.
        #[serde(default = "cutout_size")]
        size: [f32; 2],
    },
    /// Mixes the images of a batch, and their targets, in pairs (Zhang et al. 2018, 1710.09412). Of `finetune` only.
    Mixup {
        /// Shares are from Beta(alpha, alpha); 0.2 in the paper.
        #[serde(default = "fifth")]
        alpha: f32,
    },
    /// Puts a rectangle of another image of the batch into each, and its share into the targets (Yun et al. 2019, 1905.04899). Of `finetune`
    /// only.
    Cutmix {
        /// Shares are from Beta(alpha, alpha); 1 in the paper.
        #[serde(default = "one")]
        alpha: f32,
    },
    /// Besides the two whole views, small ones of small parts of the image, which only have to agree with the whole ones (multi-crop, Caron et al.
    /// 2020, 2006.09882). They are cut first, instead of by `random_resized_crop`; the other operations follow at their size. Of `pretrain` with `dino`
    /// or `swav` only.
    MultiCrop {
        /// How many local views of each image; 6 in SwAV, 8 in DINO.
        #[serde(default = "six")]
        count: usize,
        /// Their side as a share of the image's: 96 of 224 pixels in the papers. A vision transformer takes only 1.
        #[serde(default = "half")]
        size: f32,
        /// Share of the area, from and to, in (0, 1]; whole views had better see more, by `scale` of `random_resized_crop`.
        #[serde(default = "local_scale")]
        scale: [f32; 2],
    },
}

fn six() -> usize {
    6
}
fn local_scale() -> [f32; 2] {
    [0.05, 0.3]
}
fn jitter_scale() -> [f32; 2] {
    [0.1, 2.0]
}
fn two() -> usize {
    2
}
fn whole_range() -> [f32; 2] {
    [0.0, 1.0]
}
fn cutout_size() -> [f32; 2] {
    [0.0, 0.5]
}

fn one() -> f32 {
    1.0
}
fn half() -> f32 {
    0.5
}
fn fifth() -> f32 {
    0.2
}
fn crop_scale() -> [f32; 2] {
    [0.2, 1.0]
}
fn crop_ratio() -> [f32; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}
fn blur_sigma() -> [f32; 2] {
    [0.1, 2.0]
}
fn erase_scale() -> [f32; 2] {
    [0.02, 0.33]
}

/// Operations in order; none leaves images as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The operations.
    pub ops: Vec<Op>,
}

/// What [`Op::MultiCrop`] asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalViews {
    /// Of each image.
    pub count: usize,
    /// Their side as a share of the image's.
    pub size: f32,
    /// Share of the image's area that they show, from and to.
    pub(super) scale: [f32; 2],
    /// Width over height of what they show, from and to.
    pub(super) ratio: [f32; 2],
}

impl LocalViews {
    /// Their shape, of images of this one.
    pub fn shape(self, image: MapShape) -> MapShape {
        let side = |length: usize| ((length as f32 * self.size).round() as usize).max(1);
        MapShape {
            h: side(image.h),
            w: side(image.w),
            c: image.c,
        }
    }

    /// What those of an image cost, as a share of what a whole view does.
    pub fn cost(self) -> f64 {
        self.count as f64 * f64::from(self.size).powi(2)
    }
}

/// Why a recipe makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// Colour operations on gray images.
    #[error(
        "operation {place} (`{op}`) changes colours, but the images have {channels} channel(s): it would do nothing; leave it out, or take the recipe `simclr-gray`"
    )]
    NoColour {
        /// Place in the recipe, from 1.
        place: usize,
        /// The operation.
        op: &'static str,
        /// The images' channels.
        channels: usize,
    },
    /// An operation that a recipe has once comes again.
    #[error("operation {place} (`{op}`) is there a second time: leave one of them out")]
    Twice {
        /// Place in the recipe, from 1.
        place: usize,
        /// The operation.
        op: &'static str,
    },
    /// A parameter is out of range.
    #[error("operation {place}: `{key}` {message}")]
    Range {
        /// Place in the recipe, from 1.
        place: usize,
        /// The parameter.
        key: &'static str,
        /// What was found and expected.
        message: String,
    },
}

impl Recipe {
    /// Names of the shipped recipes.
    pub fn names() -> &'static [&'static str] {
        &[
            "none",
            "weak",
            "simclr",
            "simclr-gray",
            "strong",
            "strong-gray",
            "randaugment",
        ]
    }

    /// A shipped recipe. `simclr` has the settings usual for colour images of some 32 pixels (no blur), `simclr-gray` what is left
    /// of them without colour, `strong` is for classifiers and students, `randaugment` for strong views of FixMatch and its like.
    pub fn named(name: &str) -> Option<Self> {
        let crop = |from| Op::RandomResizedCrop {
            scale: [from, 1.0],
            ratio: crop_ratio(),
        };
        let flip = Op::HorizontalFlip { p: 0.5 };
        let colour = |p, s, hue| Op::ColorJitter {
            p,
            brightness: s,
            contrast: s,
            saturation: s,
            hue,
        };
        let gray = |p, s| Op::ColorJitter {
            p,
            brightness: s,
            contrast: s,
            saturation: 0.0,
            hue: 0.0,
        };
        let ops = match name {
            "none" => vec![],
            "weak" => vec![flip, Op::Shift { pixels: 3 }],
            "simclr" => vec![crop(0.2), flip, colour(0.8, 0.4, 0.1), Op::Grayscale { p: 0.2 }],
            "simclr-gray" => vec![crop(0.3), flip, gray(0.8, 0.4)],
            "strong" => vec![
                crop(0.5),
                flip,
                colour(0.8, 0.4, 0.1),
                Op::Erase {
                    p: 0.25,
                    scale: erase_scale(),
                },
            ],
            "strong-gray" => vec![
                crop(0.5),
                flip,
                gray(0.8, 0.4),
                Op::Erase {
                    p: 0.25,
                    scale: erase_scale(),
                },
            ],
            "randaugment" => vec![
                flip,
                Op::Shift { pixels: 3 },
                Op::RandAugment {
                    count: 2,
                    magnitude: whole_range(),
                },
                Op::Cutout {
                    p: 1.0,
                    size: cutout_size(),
                },
            ],
            _ => return None,
        };
        Some(Self { ops })
    }

    /// An operation that mixes the images of a batch with their targets, if there is one.
    pub fn mixes(&self) -> Option<&'static str> {
        self.ops.iter().find_map(|op| match op {
            Op::Mixup { .. } => Some("mixup"),
            Op::Cutmix { .. } => Some("cutmix"),
            _ => None,
        })
    }

    /// The local views that it makes besides whole ones, if it does.
    pub fn local_views(&self) -> Option<LocalViews> {
        let ratio = self.ops.iter().find_map(|op| match op {
            Op::RandomResizedCrop { ratio, .. } => Some(*ratio),
            _ => None,
        });
        self.ops.iter().find_map(|op| match *op {
            Op::MultiCrop { count, size, scale } => Some(LocalViews {
                count,
                size,
                scale,
                ratio: ratio.unwrap_or_else(crop_ratio),
            }),
            _ => None,
        })
    }

    /// Whether the recipe makes sense for images with so many channels.
    ///
    /// # Errors
    /// Names the operation and its parameter.
    pub fn validate(&self, channels: usize) -> Result<(), RecipeError> {
        for (i, op) in self.ops.iter().enumerate() {
            op.validate(i + 1, channels)?;
        }
        let is_multi_crop = |op: &Op| matches!(op, Op::MultiCrop { .. });
        let mut places = self.ops.iter().enumerate().filter(|(_, op)| is_multi_crop(op));
        if let Some((i, _)) = places.nth(1) {
            return Err(RecipeError::Twice {
                place: i + 1,
                op: "multi_crop",
            });
        }
        Ok(())
    }
}

impl Op {
    fn validate(&self, place: usize, channels: usize) -> Result<(), RecipeError> {
        let check = Check { place, channels };
        match self {
            Self::RandomResizedCrop { scale, ratio } => {
                check.rising("scale", *scale, 1.0)?;
                check.rising("ratio", *ratio, f32::MAX)
            }
            Self::ScaleJitter { scale } => check.rising("scale", *scale, 4.0),
            Self::HorizontalFlip { p } => check.chance(*p),
            Self::ColorJitter {
                p,
                brightness,
                contrast,
                saturation,
                hue,
            } => {
                check.number("brightness", *brightness, 1.0)?;
                check.number("contrast", *contrast, 1.0)?;
                check.number("saturation", *saturation, 1.0)?;
                check.number("hue", *hue, 0.5)?;
                if *saturation > 0.0 || *hue > 0.0 {
                    check.coloured("color_jitter")?;
                }
                check.chance(*p)
            }
            Self::Grayscale { p } => {
                check.coloured("grayscale")?;
                check.chance(*p)
            }
            Self::GaussianBlur { p, sigma } => {
                check.rising("sigma", *sigma, 100.0)?;
                check.chance(*p)
            }
            Self::Solarize { p, threshold } => {
                check.number("threshold", *threshold, 1.0)?;
                check.chance(*p)
            }
            Self::Posterize { p, bits } => {
                check.that((1..=8).contains(bits), "bits", bits, "1 to 8")?;
                check.chance(*p)
            }
            Self::Rotate { p, degrees } => {
                let sound = degrees.is_finite() && *degrees >= 0.0;
                check.that(sound, "degrees", degrees, "a number of at least 0")?;
                check.chance(*p)
            }
            Self::Shift { pixels } => check.that(*pixels <= 1024, "pixels", pixels, "at most 1024"),
            Self::Erase { p, scale } => {
                check.rising("scale", *scale, 1.0)?;
                check.chance(*p)
            }
            Self::RandAugment { count, magnitude } => {
                check.that((1..=14).contains(count), "count", count, "1 to 14")?;
                check.shares("magnitude", *magnitude)
            }
            Self::Cutout { p, size } => {
                check.shares("size", *size)?;
                check.chance(*p)
            }
            Self::Mixup { alpha } | Self::Cutmix { alpha } => {
                let sound = *alpha > 0.0 && alpha.is_finite();
                check.that(sound, "alpha", alpha, "a number above 0")
            }
            Self::MultiCrop { count, size, scale } => {
                check.that((1..=16).contains(count), "count", count, "1 to 16")?;
                let sound = *size > 0.0 && *size <= 1.0;
                check.that(sound, "size", size, "a number above 0, at most 1")?;
                check.rising("scale", *scale, 1.0)
            }
        }
    }
}

/// What the parameters of the operation at a place must be.
struct Check {
    place: usize,
    channels: usize,
}

impl Check {
    fn that(&self, sound: bool, key: &'static str, found: impl Display, expected: &str) -> Result<(), RecipeError> {
        if sound {
            return Ok(());
        }
        Err(RecipeError::Range {
            place: self.place,
            key,
            message: format!("is {found}, expected {expected}"),
        })
    }

    fn chance(&self, p: f32) -> Result<(), RecipeError> {
        self.that((0.0..=1.0).contains(&p), "p", p, "a probability from 0 to 1")
    }

    fn number(&self, key: &'static str, value: f32, most: f32) -> Result<(), RecipeError> {
        let expected = format!("a number from 0 to {most}");
        self.that((0.0..=most).contains(&value), key, value, &expected)
    }

    fn rising(&self, key: &'static str, [from, to]: [f32; 2], most: f32) -> Result<(), RecipeError> {
        let sound = from > 0.0 && from <= to && to <= most;
        let expected = match most {
            f32::MAX => "two numbers in ascending order above 0".to_owned(),
            most => format!("two numbers in ascending order above 0, at most {most}"),
        };
        self.that(sound, key, format!("[{from}, {to}]"), &expected)
    }

    fn shares(&self, key: &'static str, [from, to]: [f32; 2]) -> Result<(), RecipeError> {
        let sound = 0.0 <= from && from <= to && to <= 1.0;
        self.that(
            sound,
            key,
            format!("[{from}, {to}]"),
            "two numbers in ascending order from 0 to 1",
        )
    }

    fn coloured(&self, op: &'static str) -> Result<(), RecipeError> {
        let Self { place, channels } = *self;
        if channels == 3 {
            return Ok(());
        }
        Err(RecipeError::NoColour { place, op, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_recipe_is_valid_for_its_images() {
        for name in Recipe::names() {
            let recipe = Recipe::named(name).expect("a name in the list");
            recipe.validate(3).expect("valid for colour");
            assert_eq!(
                recipe.validate(1).is_ok(),
                !matches!(*name, "simclr" | "strong"),
                "{name}"
            );
        }
        assert_eq!(Recipe::named("simlcr"), None);
    }

    #[test]
    fn local_views_are_asked_for_once() {
        let multi_crop = Op::MultiCrop {
            count: 6,
            size: 0.5,
            scale: local_scale(),
        };
        let mut recipe = Recipe::named("simclr").expect("shipped");
        assert_eq!(recipe.local_views(), None);
        recipe.ops.push(multi_crop.clone());
        recipe.validate(3).expect("once");
        let local = recipe.local_views().expect("asked for");
        let image = MapShape { h: 28, w: 31, c: 3 };
        assert_eq!(local.shape(image), MapShape { h: 14, w: 16, c: 3 });
        assert!((local.cost() - 1.5).abs() < 1e-6);
        recipe.ops.push(multi_crop);
        let error = recipe.validate(3).expect_err("twice").to_string();
        assert!(error.contains("operation 6 (`multi_crop`)"), "{error}");
    }

    #[test]
    fn a_threshold_outside_of_an_images_values_is_refused() {
        for threshold in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let error = Op::Solarize { p: 0.5, threshold }.validate(1, 3).expect_err("no value");
            assert!(error.to_string().contains("`threshold`"), "{error}");
        }
    }

    #[test]
    fn colour_operations_on_gray_images_are_refused_with_what_to_do() {
        let error = Recipe::named("simclr")
            .expect("shipped")
            .validate(1)
            .expect_err("gray")
            .to_string();
        assert!(
            error.contains("color_jitter") && error.contains("simclr-gray"),
            "{error}"
        );
    }
}
