//! Backbones: what turns an image or a text into features, each a file of its own, found by name in [`BACKBONES`].

mod conv_net;
mod resnet;
mod size;
mod stack;
mod transformer;
mod vit;

use serde::{Deserialize, Serialize};

pub use transformer::TextEncoder;

use crate::data::{Modality, NetworkInput};
use crate::layers::{Entry, FeatureMap, GridPool, Layer, MapShape, Pass, Sequential, Tensors};
use crate::rng::Stream;
use crate::settings::{SettingError, WIDTH};

pub use vit::{Visible, VisionTransformer, VitShape};

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

/// What a transformer's features are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token.
    #[default]
    Token,
    /// The mean of the patches' tokens, or of a text's.
    Mean,
}

/// A backbone as declared. What is left out takes the backbone's own value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneSettings {
    /// A name in [`BACKBONES`].
    pub name: String,
    /// Channels of each stage; empty takes the backbone's own.
    #[serde(default)]
    pub widths: Vec<usize>,
    /// Cells per side of the final average pooling: 1 is global, 2 keeps a 2x2 grid in the features. Of a `vit`, with the pool
    /// `"mean"`.
    #[serde(default = "one")]
    pub grid: usize,
    /// How it begins.
    #[serde(default)]
    pub stem: Stem,
    /// `vit`: height and width of a patch; it divides the images' (4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<usize>,
    /// `vit`, `transformer`: values of a token (128, 64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// `vit`, `transformer`: blocks (6, 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// `vit`, `transformer`: heads of each attention; they divide `dim` (4, 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// `vit`, `transformer`: hidden values of each block's MLP as a multiple of `dim` (4, 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlp_ratio: Option<f32>,
    /// `vit`, `transformer`: features are the class `"token"` or a `"mean"` ("token", "mean").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
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
    family: Family,
}

/// What a backbone is made of.
enum Family {
    /// Convolutions in stages.
    Stages(fn(channels: usize, widths: &[usize], stem: Stem, stream: &mut Stream) -> Sequential),
    /// Attention between patches.
    Transformer,
    /// Attention between the tokens of a text.
    Text,
}

/// A vision transformer.
const VIT: Backbone = Backbone {
    name: vit::NAME,
    widths: &[],
    stems: false,
    family: Family::Transformer,
};

/// All backbones. A new one is a file and a line.
pub const BACKBONES: &[Backbone] = &[
    conv_net::CONV3,
    conv_net::CONV4,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
    transformer::TRANSFORMER,
    VIT,
];

impl Backbone {
    /// Whether it takes such examples.
    pub fn takes(&self, modality: Modality) -> bool {
        matches!(self.family, Family::Text) == modality.is_text()
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
        "`{name}` has {expected} stages, so `widths` takes {expected} numbers from 1 to {} (or none for its own), found {found:?}", WIDTH.end()
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
    /// A setting makes no sense for this backbone or these images.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl BackboneSettings {
    /// A backbone with everything else its own.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            widths: Vec::new(),
            grid: 1,
            stem: Stem::Small,
            patch: None,
            dim: None,
            depth: None,
            heads: None,
            mlp_ratio: None,
            pool: None,
        }
    }

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
        let network = match (&backbone.family, modality) {
            (Family::Stages(build), Modality::Images) => Network::Stages(self.stages(backbone, *build, shape, stream)?),
            (Family::Transformer, Modality::Images) => {
                let sizes = VitShape::new(self, shape)?;
                let blocks = sizes.transformer;
                let patches = (shape.h / sizes.patch) * (shape.w / sizes.patch);
                let parameters = size::of_blocks(blocks.dim, blocks.depth, blocks.hidden, patches);
                size::check(self, "dim", parameters)?;
                Network::Transformer(VisionTransformer::new(sizes, shape, &mut stream.child("backbone")))
            }
            (Family::Text, Modality::Texts { vocabulary, .. }) => Network::Text(TextEncoder::new(
                self,
                vocabulary,
                shape.h,
                &mut stream.child("backbone"),
            )?),
            (_, modality) => {
                return Err(BackboneError::Modality {
                    name: self.name.clone(),
                    modality,
                });
            }
        };
        let dim = network.layer().output_shape(shape).len();
        Ok(Encoder {
            network,
            input: shape,
            modality,
            dim,
        })
    }

    /// Stages of convolutions with the final pooling.
    fn stages(
        &self,
        backbone: &Backbone,
        build: fn(usize, &[usize], Stem, &mut Stream) -> Sequential,
        input: MapShape,
        stream: &Stream,
    ) -> Result<Sequential, BackboneError> {
        let widths = if self.widths.is_empty() {
            backbone.widths
        } else {
            &self.widths
        };
        if widths.len() != backbone.widths.len() || widths.iter().any(|width| !WIDTH.contains(width)) {
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
        if let Some(key) = self.transformers_key() {
            let message = format!("`{}` is no transformer: `{key}` is of `{}`", self.name, vit::NAME);
            return Err(SettingError::new(key, message).into());
        }
        size::check(self, "widths", size::of_stages(input.c, widths))?;
        let stages = build(input.c, widths, self.stem, &mut stream.child("backbone"));
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

    /// A setting that only a transformer has, if one is given.
    fn transformers_key(&self) -> Option<&'static str> {
        let given = [
            ("patch", self.patch.is_some()),
            ("dim", self.dim.is_some()),
            ("depth", self.depth.is_some()),
            ("heads", self.heads.is_some()),
            ("mlp_ratio", self.mlp_ratio.is_some()),
            ("pool", self.pool.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }
}

/// Image or text in, feature vector out.
pub struct Encoder {
    network: Network,
    /// Shape of the examples it takes.
    pub input: MapShape,
    /// What they are.
    pub modality: Modality,
    /// Length of its feature vectors.
    pub dim: usize,
}

enum Network {
    Stages(Sequential),
    Transformer(VisionTransformer),
    Text(TextEncoder),
}

impl Network {
    fn layer(&self) -> &dyn Layer {
        match self {
            Self::Stages(stages) => stages,
            Self::Transformer(vit) => vit,
            Self::Text(network) => network,
        }
    }

    fn layer_mut(&mut self) -> &mut dyn Layer {
        match self {
            Self::Stages(stages) => stages,
            Self::Transformer(vit) => vit,
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

    /// The network for texts, if it is one: for methods that look at its tokens.
    pub fn text(&mut self) -> Option<&mut TextEncoder> {
        match &mut self.network {
            Network::Text(network) => Some(network),
            _ => None,
        }
    }

    /// The vision transformer, if it is one: for methods that look at its patches and tokens.
    pub fn transformer(&mut self) -> Option<&mut VisionTransformer> {
        match &mut self.network {
            Network::Transformer(vit) => Some(vit),
            _ => None,
        }
    }

    /// Patches that it cuts an image into; none if it cuts none.
    pub fn patches(&self) -> Option<usize> {
        match &self.network {
            Network::Transformer(vit) => Some(vit.patches()),
            _ => None,
        }
    }
}

impl Layer for Encoder {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.network.layer().output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.network.layer_mut().forward(x, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        self.network.layer_mut().backward(dy, pass, need_dx)
    }
}

impl Tensors for Encoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.network.layer_mut().entries(prefix, out);
    }
}
