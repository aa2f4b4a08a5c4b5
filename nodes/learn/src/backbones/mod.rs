//! Backbones: what turns an image into features, each a file of its own, found by name in [`BACKBONES`].

mod conv_net;
mod resnet;

use serde::{Deserialize, Serialize};

use crate::layers::{Entry, FeatureMap, GridPool, Layer, MapShape, Pass, Sequential, Tensors};
use crate::rng::Stream;

/// How a backbone begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// 3x3, stride 1, no pooling: for images of some 32 pixels.
    #[default]
    Small,
    /// 7x7, stride 2 and max-pool: for images of some 224 pixels.
    Imagenet,
}

/// A backbone as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneSettings {
    /// A name in [`BACKBONES`].
    pub name: String,
    /// Channels of each stage; empty takes the backbone's own.
    #[serde(default)]
    pub widths: Vec<usize>,
    /// Cells per side of the final average pooling: 1 is global, 2 keeps a 2x2 grid in the features.
    #[serde(default = "one")]
    pub grid: usize,
    /// How it begins.
    #[serde(default)]
    pub stem: Stem,
}

fn one() -> usize {
    1
}

/// A backbone's name, default widths and how its stages are built.
pub struct Backbone {
    /// The name written in workflows.
    pub name: &'static str,
    /// Channels of each stage.
    pub widths: &'static [usize],
    /// Whether the stem can be chosen.
    pub stems: bool,
    build: fn(channels: usize, widths: &[usize], stem: Stem, stream: &mut Stream) -> Sequential,
}

/// All backbones. A new one is a file and a line.
pub const BACKBONES: &[Backbone] = &[
    conv_net::CONV3,
    conv_net::CONV4,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
];

/// Why a backbone cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackboneError {
    /// No such name.
    #[error("unknown backbone `{name}`, expected one of {}", BACKBONES.iter().map(|b| b.name).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name found.
        name: String,
    },
    /// Wrong number of widths, or a width of zero.
    #[error(
        "`{name}` has {expected} stages, so `widths` takes {expected} positive numbers (or none for its own), found {found:?}"
    )]
    Widths {
        /// The backbone.
        name: String,
        /// Its stages.
        expected: usize,
        /// What was given.
        found: Vec<usize>,
    },
    /// The pooling grid has more cells than the last feature map has pixels.
    #[error(
        "`grid` = {grid} must be between 1 and the size of the last feature map, which is {h}x{w} for this image size"
    )]
    Grid {
        /// The grid asked for.
        grid: usize,
        /// Height of the last feature map.
        h: usize,
        /// Width of the last feature map.
        w: usize,
    },
    /// The backbone has one stem only.
    #[error("`{name}` has a small-image stem only; `stem` can be chosen for {}", BACKBONES.iter().filter(|b| b.stems).map(|b| b.name).collect::<Vec<_>>().join(", "))]
    Stem {
        /// The backbone.
        name: String,
    },
}

impl BackboneSettings {
    fn backbone(&self) -> Result<&'static Backbone, BackboneError> {
        let found = BACKBONES.iter().find(|b| b.name == self.name);
        found.ok_or_else(|| BackboneError::Unknown {
            name: self.name.clone(),
        })
    }

    /// An encoder with fresh weights for images of shape `input`.
    pub fn build(&self, input: MapShape, stream: &Stream) -> Result<Encoder, BackboneError> {
        let backbone = self.backbone()?;
        let widths = if self.widths.is_empty() {
            backbone.widths
        } else {
            &self.widths
        };
        if widths.len() != backbone.widths.len() || widths.contains(&0) {
            let (name, found) = (self.name.clone(), self.widths.clone());
            return Err(BackboneError::Widths {
                name,
                expected: backbone.widths.len(),
                found,
            });
        }
        if self.stem != Stem::Small && !backbone.stems {
            return Err(BackboneError::Stem {
                name: self.name.clone(),
            });
        }
        let stages = (backbone.build)(input.c, widths, self.stem, &mut stream.child("backbone"));
        let last = stages.output_shape(input);
        if self.grid == 0 || self.grid > last.h.min(last.w) {
            return Err(BackboneError::Grid {
                grid: self.grid,
                h: last.h,
                w: last.w,
            });
        }
        let layers = stages.with("", GridPool { grid: self.grid });
        let dim = layers.output_shape(input).len();
        Ok(Encoder { layers, input, dim })
    }
}

/// Image in, feature vector out.
pub struct Encoder {
    layers: Sequential,
    /// Shape of the images it takes.
    pub input: MapShape,
    /// Length of its feature vectors.
    pub dim: usize,
}

impl Layer for Encoder {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.layers.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.layers.forward(x, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        self.layers.backward(dy, pass, need_dx)
    }
}

impl Tensors for Encoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.layers.entries(prefix, out);
    }
}
