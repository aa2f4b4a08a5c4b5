//! Backbones: what turns an image or a text into features, each in a separate file, found by name in [`BACKBONES`].

mod conv_net;
mod convnext;
mod encoder;
mod positions;
mod resnet;
mod size;
mod stack;
mod transformer;
mod vit;
mod wide_resnet;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use encoder::Network;

pub use encoder::Encoder;
pub use positions::resampled_positions;
pub use transformer::TextEncoder;

use crate::data::{Modality, NetworkInput};
use crate::device::Cpu;
use crate::layers::{Dropout, GridPool, Layer, LayerNorm, MapShape, Sequential, TransformerShape};
use crate::rng::Stream;
use crate::settings::{BELOW_ONE, SettingError, WIDTH, check};

pub use vit::{Visible, VisionTransformer, VitShape};

/// How a backbone begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// 3x3, stride 1, no pooling: for images of some 32 pixels.
    #[default]
    Small,
    /// 7x7, stride 2 and max-pool: for images of some 224 pixels.
    Imagenet,
}

/// What a transformer's features are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token.
    #[default]
    Token,
    /// The mean of the patches' tokens, or of a text's.
    Mean,
}

/// A backbone as declared. What is left out takes the backbone's own value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackboneSettings {
    /// Its name.
    #[schemars(extend("enum" = backbone_names()))]
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
    /// Share of the features that each image's training leaves out, in `[0, 1)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// `resnet`s, `wrn-28-2`, `convnext-tiny`: how often the last block is left out in training (stochastic depth), in `[0, 1)`; blocks before it
    /// less, the first never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_path: Option<f32>,
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
    Stages(fn(shape: &StageShape<'_>, stream: &mut Stream) -> Sequential),
    /// Likewise, in patches that do not overlap; a norm stands behind the pooling.
    Patches(fn(shape: &StageShape<'_>, stream: &mut Stream) -> Sequential),
    /// Attention between patches.
    Transformer,
    /// Attention between the tokens of a text.
    Text,
}

/// What stages are built from.
struct StageShape<'a> {
    /// Of the images.
    channels: usize,
    /// Of each stage.
    widths: &'a [usize],
    stem: Stem,
    /// How often the last block is left out.
    drop_path: f32,
}

impl StageShape<'_> {
    /// How often the block at `place` of `count` is left out: rising from none.
    fn drop_at(&self, place: usize, count: usize) -> f32 {
        self.drop_path * place as f32 / count.saturating_sub(1).max(1) as f32
    }
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
    wide_resnet::WRN28_2,
    convnext::CONVNEXT_TINY,
    transformer::TRANSFORMER,
    VIT,
];

impl Backbone {
    /// Whether it takes such examples.
    pub fn takes(&self, modality: Modality) -> bool {
        matches!(self.family, Family::Text) == modality.is_text()
    }
}

fn backbone_names() -> Vec<&'static str> {
    BACKBONES.iter().map(|backbone| backbone.name).collect()
}

/// Why a backbone cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackboneError {
    /// No such name.
    #[error("unknown backbone `{name}`, expected one of {}", backbone_names().join(", "))]
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

/// As it is written in a workflow, without what is the backbone's own.
impl std::fmt::Display for BackboneSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let written = |settings: &Self| serde_json::to_value(settings).ok()?.as_object().cloned();
        let (all, own) = (
            written(self).unwrap_or_default(),
            written(&Self::named(&self.name)).unwrap_or_default(),
        );
        write!(f, "{{ name = \"{}\"", self.name)?;
        for (key, value) in all.iter().filter(|(key, value)| own.get(*key) != Some(value)) {
            write!(f, ", {key} = {value}")?;
        }
        f.write_str(" }")
    }
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
            dropout: None,
            drop_path: None,
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
        self.check_noise()?;
        let network = match (&backbone.family, modality) {
            (Family::Stages(build) | Family::Patches(build), Modality::Images) => {
                let (layers, trunk) = self.stages(backbone, *build, shape, stream)?;
                Network::Stages { layers, trunk }
            }
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
            device: Arc::new(Cpu),
            network,
            dropout: Dropout::values(self.dropout.unwrap_or(0.0)),
            input: shape,
            modality,
            dim,
        })
    }

    /// Whether noise is asked for only where there is some.
    fn check_noise(&self) -> Result<(), BackboneError> {
        check("dropout", &self.dropout.unwrap_or(0.0), BELOW_ONE)?;
        check("drop_path", &self.drop_path.unwrap_or(0.0), BELOW_ONE)?;
        let residual = ["resnet", "wrn", "convnext"]
            .iter()
            .any(|family| self.name.starts_with(family));
        if self.drop_path.is_some() && !residual {
            let message = format!("`{}` has no residual blocks of convolutions to leave out", self.name);
            return Err(SettingError::new("drop_path", message).into());
        }
        Ok(())
    }

    /// Stages of convolutions with the final pooling, and how many layers come before it.
    fn stages(
        &self,
        backbone: &Backbone,
        build: fn(&StageShape<'_>, &mut Stream) -> Sequential,
        input: MapShape,
        stream: &Stream,
    ) -> Result<(Sequential, usize), BackboneError> {
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
            let message = format!(
                "`{}` is not a transformer: `{key}` is a setting of `{}`",
                self.name,
                vit::NAME
            );
            return Err(SettingError::new(key, message).into());
        }
        size::check(self, "widths", size::of_stages(input.c, widths))?;
        let patches = matches!(backbone.family, Family::Patches(_));
        let (least, side) = (convnext::least_side(self.stem), input.h.min(input.w));
        if patches && side < least {
            let message = format!(
                "`{}` with this stem takes images of at least {least}x{least} pixels",
                self.name
            );
            return Err(SettingError::new("name", message).into());
        }
        let shape = StageShape {
            channels: input.c,
            widths,
            stem: self.stem,
            drop_path: self.drop_path.unwrap_or(0.0),
        };
        let stages = build(&shape, &mut stream.child("backbone"));
        let last = stages.output_shape(input);
        if self.grid == 0 || self.grid > last.h.min(last.w) {
            return Err(BackboneError::Grid {
                grid: self.grid,
                h: last.h,
                w: last.w,
            });
        }
        if patches && self.grid > 1 {
            let message = format!("{} found, but `{}` pools to 1 cell only", self.grid, self.name);
            return Err(SettingError::new("grid", message).into());
        }
        let trunk = stages.len();
        let pooled = stages.with("", GridPool { grid: self.grid });
        let layers = match patches {
            true => pooled.with("head.norm", LayerNorm::new(last.c, LayerNorm::EPS)),
            false => pooled,
        };
        Ok((layers, trunk))
    }

    /// The network, to be looked at before anything runs; none if it is so large that only its sizes are checked, as far as they can be
    /// without making it.
    ///
    /// # Errors
    /// As [`BackboneSettings::build`].
    pub fn sketch(&self, input: NetworkInput) -> Result<Option<Encoder>, BackboneError> {
        let (key, parameters) = self.parameters(input)?;
        match parameters > size::SKETCHED {
            true => size::check(self, key, parameters).map(|()| None).map_err(Into::into),
            false => self.build(input, &Stream::new(0, "check")).map(Some),
        }
    }

    /// How many parameters the network would have at least, and the setting that says it. Nothing is made.
    ///
    /// # Errors
    /// As [`BackboneSettings::build`].
    pub fn parameters(&self, input: NetworkInput) -> Result<(&'static str, u128), BackboneError> {
        let (backbone, shape) = (self.backbone()?, input.shape);
        Ok(match (&backbone.family, input.modality) {
            (Family::Stages(_) | Family::Patches(_), _) => {
                let widths = if self.widths.is_empty() {
                    backbone.widths
                } else {
                    &self.widths
                };
                ("widths", size::of_stages(shape.c, widths))
            }
            (Family::Transformer, _) => {
                let TransformerShape { dim, depth, hidden, .. } = VitShape::new(self, shape)?.transformer;
                ("dim", size::of_blocks(dim, depth, hidden, 0))
            }
            (Family::Text, _) => {
                let TransformerShape { dim, depth, hidden, .. } = transformer::sizes(self)?;
                ("dim", size::of_blocks(dim, depth, hidden, 0))
            }
        })
    }

    /// Values that a training step holds of each example in the network's layers, at least; 0 if the settings do not fit, which
    /// [`BackboneSettings::build`] tells. Nothing is made.
    pub fn values_of_an_example(&self, input: NetworkInput) -> u128 {
        let Ok(backbone) = self.backbone() else { return 0 };
        let shape = input.shape;
        match &backbone.family {
            Family::Stages(_) | Family::Patches(_) => {
                let widths = if self.widths.is_empty() {
                    backbone.widths
                } else {
                    &self.widths
                };
                let less = if self.stem == Stem::Small { 0 } else { 2 };
                size::held_by_stages(shape, less, widths)
            }
            Family::Transformer => VitShape::new(self, shape).map_or(0, |sizes| {
                let patches = (shape.h / sizes.patch) * (shape.w / sizes.patch);
                size::held_by_blocks(&sizes.transformer, patches)
            }),
            Family::Text => transformer::sizes(self).map_or(0, |sizes| size::held_by_blocks(&sizes, shape.h)),
        }
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
