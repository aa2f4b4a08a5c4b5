//! Pre-training methods, each in a separate file that reads like its paper, found by name in [`MethodSettings`].
//!
//! A method takes a batch of training images, makes the views that it needs, runs the encoder and its own heads, and leaves
//! gradients in both. The training loop ([`crate::train::Pretraining`]) owns everything else: order, optimiser, schedule.
//! Whatever a method carries from step to step (queue, memory, prototypes, momentum encoder, cluster assignments) is among its
//! [`Tensors`], so that a checkpoint holds it by name.

mod autoencoder;
mod barlow_twins;
mod batch;
mod byol;
mod colorization;
mod context_prediction;
mod decoder;
mod deep_cluster;
mod dino;
mod gan;
mod heads;
mod inpainting;
mod jigsaw;
mod local_views;
mod mae;
mod masked_token;
mod moco;
mod moco_v2;
mod momentum;
mod outcome;
mod palette;
mod patch_decoder;
mod pirl;
mod prototypes;
mod redundancy;
mod rotation;
mod scan;
mod sela;
mod shown;
mod simclr;
mod simclr_v2;
mod simsiam;
mod supervised;
mod swav;
mod tiles;
mod vicreg;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use autoencoder::AutoencoderSettings;
pub use barlow_twins::BarlowTwinsSettings;
pub(crate) use batch::ViewName;
pub use batch::{Batch, Epoch, MethodConstraints, Setup, Views};
pub use byol::ByolSettings;
pub use colorization::ColorizationSettings;
pub use context_prediction::ContextPredictionSettings;
pub use deep_cluster::DeepClusterSettings;
pub use dino::DinoSettings;
pub use gan::GanSettings;
pub use inpainting::InpaintingSettings;
pub use jigsaw::JigsawSettings;
pub use mae::MaeSettings;
pub use masked_token::MaskedTokenSettings;
pub use moco::MocoSettings;
pub use moco_v2::MocoV2Settings;
pub use outcome::{MethodError, Metric, StepOutcome};
pub use palette::Palette;
pub use pirl::PirlSettings;
pub use rotation::RotationSettings;
pub use scan::ScanSettings;
pub use sela::SelaSettings;
pub use shown::Shown;
pub use simclr::SimclrSettings;
pub use simclr_v2::SimclrV2Settings;
pub use simsiam::SimsiamSettings;
pub use supervised::SupervisedSettings;
pub use swav::SwavSettings;
pub use vicreg::VicregSettings;

use crate::augment::LocalViews;
use crate::backbones::Encoder;
use crate::data::Modality;
use crate::layers::{Pass, Tensors};
use crate::settings::{SEVERAL, SettingError, check};

/// A method with its hyper-parameters. A new method is a file and a line in the table below.
macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident($settings:ty),)+) => {
        /// A method with its hyper-parameters, as written in workflows: `method = "simclr"` and its settings.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "method", rename_all = "kebab-case")]
        pub enum MethodSettings {
            $($(#[doc = $doc])+ $name($settings),)+
        }

        impl MethodSettings {
            /// The settings behind the name.
            pub fn settings(&self) -> &dyn Settings {
                match self {
                    $(Self::$name(settings) => settings,)+
                }
            }

            /// Each method with its defaults.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name(Default::default()),)+]
            }

            /// Whether every number is in the range that it is declared with.
            ///
            /// # Errors
            /// With the setting that is not.
            pub fn check_ranges(&self) -> Result<(), SettingError> {
                match self {
                    $(Self::$name(settings) => settings.check_ranges(),)+
                }
            }

            /// Whether the method learns from such examples.
            ///
            /// # Errors
            /// [`MethodError::Setting`] with the methods that do.
            pub fn check_takes(&self, modality: Modality) -> Result<(), MethodError> {
                let settings = self.settings();
                if settings.takes(modality) {
                    return Ok(());
                }
                let others = Self::all();
                let fit = others.iter().map(Self::settings).filter(|other| other.takes(modality));
                let message = format!(
                    "`{}` does not learn from {}; expected one of {}",
                    settings.name(),
                    modality.noun(),
                    fit.map(|other| other.name()).collect::<Vec<_>>().join(", ")
                );
                Err(MethodError::setting("method", message))
            }
        }
    };
}

methods! {
    /// Contrast two views of each image against all others.
    Simclr(SimclrSettings),
    /// SimCLR with a deeper projector.
    SimclrV2(SimclrV2Settings),
    /// Find the key of the same image among those of a queue.
    Moco(MocoSettings),
    /// MoCo with an MLP head and a softer temperature.
    MocoV2(MocoV2Settings),
    /// Predict the other view, with a stopped gradient.
    Simsiam(SimsiamSettings),
    /// Predict a momentum copy's projection of the other view.
    Byol(ByolSettings),
    /// Make the views' cross-correlation the identity.
    BarlowTwins(BarlowTwinsSettings),
    /// Views agree, dimensions vary and do not repeat each other.
    Vicreg(VicregSettings),
    /// Predict the other view's assignment to prototypes.
    Swav(SwavSettings),
    /// Match a momentum teacher's sharpened distribution.
    Dino(DinoSettings),
    /// Represent an image and its shuffled patches alike.
    Pirl(PirlSettings),
    /// Predict clusters of the features, found anew before each epoch.
    DeepCluster(DeepClusterSettings),
    /// Predict labels that balance clusters over all images.
    Sela(SelaSettings),
    /// Cluster what an encoder has learnt, by neighbours and confident labels.
    Scan(ScanSettings),
    /// Tell which permutation an image's tiles are in.
    Jigsaw(JigsawSettings),
    /// Tell on which side of a patch another one lies.
    ContextPrediction(ContextPredictionSettings),
    /// Tell the colours of a gray image.
    Colorization(ColorizationSettings),
    /// Make what was cut out of an image.
    Inpainting(InpaintingSettings),
    /// Make the patches of an image that a vision transformer was not shown.
    Mae(MaeSettings),
    /// Make an image again from a narrow code, out of noise.
    Autoencoder(AutoencoderSettings),
    /// Tell images from a generator's.
    Gan(GanSettings),
    /// Learn labels that serve other tasks later.
    Supervised(SupervisedSettings),
    /// Tell by how many quarter turns each image was rotated.
    Rotation(RotationSettings),
    /// Tell the words that were covered in a text.
    MaskedToken(MaskedTokenSettings),
}

impl MethodSettings {
    /// Whether the method makes sense for these images and batches.
    ///
    /// # Errors
    /// [`MethodError::Setting`] with the key of the culprit.
    pub fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        check("batch", &constraints.batch, SEVERAL)?;
        self.check_ranges()?;
        if let Some(local) = constraints.local_views {
            self.check_local_views(local, constraints.patches.is_some())?;
        }
        self.settings().check(constraints)
    }

    fn check_local_views(&self, local: LocalViews, transformer: bool) -> Result<(), MethodError> {
        if !self.settings().takes_local_views() {
            let all = Self::all();
            let takers = all.iter().map(Self::settings).filter(|other| other.takes_local_views());
            let message = format!(
                "`multi_crop` makes local views, which `{}` does not take; expected one of {}, or a recipe without it",
                self.settings().name(),
                takers.map(Settings::name).collect::<Vec<_>>().join(", ")
            );
            return Err(MethodError::setting("views", message));
        }
        if transformer && local.size < 1.0 {
            let message = format!(
                "`size` of `multi_crop` is {}, but a vision transformer takes images of one size only; expected 1",
                local.size
            );
            return Err(MethodError::setting("views", message));
        }
        Ok(())
    }

    /// What a training image costs, in images that go through the encoder forward and backward, with these local views besides its own.
    pub fn cost(&self, local: Option<LocalViews>) -> f64 {
        self.settings().views() + local.map_or(0.0, LocalViews::cost)
    }
}

/// A method's hyper-parameters: what can be said of them before training, and how the method is built.
pub trait Settings {
    /// The name written in workflows.
    fn name(&self) -> &'static str;

    /// Whether it learns from such examples: as a rule from images.
    fn takes(&self, modality: Modality) -> bool {
        !modality.is_text()
    }

    /// Whether it learns from labels: then it sees labelled examples only.
    fn uses_labels(&self) -> bool {
        false
    }

    /// Whether it learns from local views (multi-crop) besides whole ones.
    fn takes_local_views(&self) -> bool {
        false
    }

    /// What a training image costs without local views, in images that go through the encoder forward and backward. A forward pass alone, as a
    /// momentum encoder's, counts a third; an image cut into tiles counts as what its tiles cover.
    fn views(&self) -> f64;

    /// The share of right answers that guessing gives, where the task has answers and `accuracy` among its metrics is the share that is right.
    fn guessing(&self) -> Option<f64> {
        None
    }

    /// What to change first when training diverges or collapses; ends a sentence, e.g. ``lower `lr` or raise `temperature` ``.
    fn advice(&self) -> &'static str;

    /// Whether the hyper-parameters, which are in their ranges, fit each other, these images and batches.
    ///
    /// # Errors
    /// [`MethodError::Setting`] with the key of the culprit.
    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let _ = constraints;
        Ok(())
    }

    /// The method with fresh heads on features of `setup.encoder.dim` values.
    ///
    /// # Errors
    /// If the images cannot be learnt from, which only a look at them shows.
    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError>;
}

/// A method in training; its tensors are its heads and all other state of its own.
pub trait Method: Tensors + Send {
    /// Before an epoch: what needs all images, such as clustering their features. Gives the order of the epoch's images, at
    /// least as many as there are; without another wish, each once.
    ///
    /// # Errors
    /// If the features do not allow it, as after a collapse.
    fn begin_epoch(&mut self, encoder: &mut Encoder, epoch: &Epoch<'_>) -> Result<Vec<u32>, MethodError> {
        let _ = encoder;
        Ok(epoch.shuffled())
    }

    /// Forward and backward pass of one batch: adds to the gradients of the encoder and of the method's own parameters.
    ///
    /// # Errors
    /// If the loss refuses its inputs.
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError>;

    /// Pictures of what it shows the network of a batch and, where it makes images, of what it makes of them, in a pass without a backward one: nothing
    /// is learnt. Empty where it shows images as views and no more.
    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let _ = (encoder, batch, pass);
        Vec::new()
    }

    /// Names of its parts whose learning rate stays at its peak instead of following the schedule.
    fn unscheduled(&self) -> &'static [&'static str] {
        &[]
    }

    /// Names of its parts that begin anew in [`Method::begin_epoch`]: the optimiser forgets what it knew of them.
    fn renewed(&self) -> &'static [&'static str] {
        &[]
    }

    /// The network to use afterwards: the trained encoder, unless the method has a better one, such as its average.
    fn into_encoder(self: Box<Self>, trained: Encoder) -> Encoder {
        trained
    }
}
