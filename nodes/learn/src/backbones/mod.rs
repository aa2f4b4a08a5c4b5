//! Backbones: what turns an image or a text into features, each a file of its own, found by name in [`BACKBONES`].

mod conv_net;
mod resnet;
mod transformer;

use serde::{Deserialize, Serialize};

pub use transformer::TextEncoder;

use crate::data::{Modality, NetworkInput};
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
    build: Build,
}

/// How a backbone is built, by what it is for.
enum Build {
    /// For images of so many channels.
    Images(fn(channels: usize, widths: &[usize], stem: Stem, stream: &mut Stream) -> Sequential),
    /// For texts.
    Texts,
}

/// All backbones. A new one is a file and a line.
pub const BACKBONES: &[Backbone] = &[
    conv_net::CONV3,
    conv_net::CONV4,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
    transformer::TRANSFORMER,
];

impl Backbone {
    /// Whether it takes such examples.
    pub fn takes(&self, modality: Modality) -> bool {
        matches!(self.build, Build::Texts) == modality.is_text()
    }
}

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
    /// The backbone is for other examples.
    #[error(
        "`{name}` does not take {}; expected one of {}",
        modality.noun(),
        BACKBONES.iter().filter(|b| b.takes(*modality)).map(|b| b.name).collect::<Vec<_>>().join(", ")
    )]
    Modality {
        /// The backbone.
        name: String,
        /// What the examples are.
        modality: Modality,
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

    /// An encoder with fresh weights for such examples.
    ///
    /// # Errors
    /// If there is no such backbone, it is for other examples, or a size does not fit.
    pub fn build(&self, input: impl Into<NetworkInput>, stream: &Stream) -> Result<Encoder, BackboneError> {
        let (NetworkInput { shape, modality }, backbone) = (input.into(), self.backbone()?);
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
        let stream = &mut stream.child("backbone");
        let (body, dim) = match (&backbone.build, modality) {
            (Build::Images(build), Modality::Images) => {
                let stages = self.pooled(build(shape.c, widths, self.stem, stream), shape)?;
                let dim = stages.output_shape(shape).len();
                (Body::Stages(stages), dim)
            }
            (Build::Texts, Modality::Texts { vocabulary, .. }) => {
                let network = TextEncoder::new(vocabulary, shape.h, &transformer::SMALL, stream);
                let dim = network.dim();
                (Body::Text(network), dim)
            }
            (_, modality) => {
                return Err(BackboneError::Modality {
                    name: self.name.clone(),
                    modality,
                });
            }
        };
        Ok(Encoder {
            body,
            input: shape,
            modality,
            dim,
        })
    }

    /// Stages for images of shape `input`, with the pooling behind them.
    fn pooled(&self, stages: Sequential, input: MapShape) -> Result<Sequential, BackboneError> {
        let last = stages.output_shape(input);
        if self.grid == 0 || self.grid > last.h.min(last.w) {
            return Err(BackboneError::Grid {
                grid: self.grid,
                h: last.h,
                w: last.w,
            });
        }
        Ok(stages.with("", GridPool { grid: self.grid }))
    }
}

/// Image or text in, feature vector out.
pub struct Encoder {
    body: Body,
    /// Shape of the examples it takes.
    pub input: MapShape,
    /// What they are.
    pub modality: Modality,
    /// Length of its feature vectors.
    pub dim: usize,
}

/// The network itself.
enum Body {
    /// Convolutional stages and a pooling, for images.
    Stages(Sequential),
    /// A transformer, for texts.
    Text(TextEncoder),
}

impl Body {
    fn layer(&mut self) -> &mut dyn Layer {
        match self {
            Self::Stages(stages) => stages,
            Self::Text(network) => network,
        }
    }
}

impl Encoder {
    /// The examples that it takes.
    pub fn takes(&self) -> NetworkInput {
        NetworkInput {
            shape: self.input,
            modality: self.modality,
        }
    }

    /// The network for texts, if it is one.
    pub fn text(&mut self) -> Option<&mut TextEncoder> {
        match &mut self.body {
            Body::Text(network) => Some(network),
            Body::Stages(_) => None,
        }
    }
}

impl Layer for Encoder {
    fn output_shape(&self, input: MapShape) -> MapShape {
        match &self.body {
            Body::Stages(stages) => stages.output_shape(input),
            Body::Text(network) => network.output_shape(input),
        }
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.body.layer().forward(x, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        self.body.layer().backward(dy, pass, need_dx)
    }
}

impl Tensors for Encoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.body.layer().entries(prefix, out);
    }
}
