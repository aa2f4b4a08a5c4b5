//! Semi-supervised methods, each a file of its own that reads like its paper, found by name in [`SemiSettings`].
//!
//! A method takes views of labelled and of unlabelled images, runs the network that is trained (the *student*), and leaves gradients in it. The
//! training loop ([`crate::train::Fit`]) owns everything else: views, optimiser, schedule, and the average of the student's weights that is
//! used afterwards. Whatever a method carries from step to step is among its [`Tensors`], so that a checkpoint holds it by name.
//!
//! Every method's loss is `L = L_labelled + w(t) L_unlabelled`, with a weight that rises linearly from 0 over the first part of the training, and
//! every method sees `ratio` unlabelled images for each labelled one. Labelled and unlabelled views go through the network in one batch, so
//! that batch norm sees one distribution: that of both.

mod batch;
mod fixmatch;
mod flexmatch;
mod freematch;
mod mean_teacher;
mod mixmatch;
mod pi_model;
mod pseudo_label;
mod rows;
mod simmatch;
mod softmatch;
mod student;
mod uda;

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup};
pub use fixmatch::FixmatchSettings;
pub use flexmatch::FlexmatchSettings;
pub use freematch::FreematchSettings;
pub use mean_teacher::MeanTeacherSettings;
pub use mixmatch::MixmatchSettings;
pub use pi_model::PiModelSettings;
pub use pseudo_label::PseudoLabelSettings;
pub use simmatch::SimmatchSettings;
pub use softmatch::SoftmatchSettings;
pub use student::Student;
pub use uda::{Annealing, UdaSettings};

use crate::layers::Tensors;
use crate::settings::SettingError;
use crate::train::TrainError;

/// A method with its hyper-parameters. A new method is a file and a line in the table below.
macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident($settings:ty),)+) => {
        /// A semi-supervised method with its hyper-parameters, as written in workflows: `{ method = "fixmatch", threshold = 0.95 }`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "method", rename_all = "kebab-case")]
        pub enum SemiSettings {
            $($(#[doc = $doc])+ $name($settings),)+
        }

        impl SemiSettings {
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
            /// With the setting that is not, as `semi.threshold`.
            pub fn check(&self) -> Result<(), SettingError> {
                let ranges = match self {
                    $(Self::$name(settings) => settings.check_ranges(),)+
                };
                ranges.map_err(|error| error.within("semi"))
            }
        }
    };
}

methods! {
    /// The network's own confident guesses are labels.
    PseudoLabel(PseudoLabelSettings),
    /// Two views of an image get the same probabilities.
    PiModel(PiModelSettings),
    /// A view gets the probabilities that the average of the weights gives another.
    MeanTeacher(MeanTeacherSettings),
    /// A strong view gets the sharpened guess of the weak one.
    Uda(UdaSettings),
    /// Mixtures of labelled images and of sharpened guesses.
    Mixmatch(MixmatchSettings),
    /// A strong view gets the confident guess of the weak one.
    Fixmatch(FixmatchSettings),
    /// FixMatch with lower thresholds for classes that are learnt slowly.
    Flexmatch(FlexmatchSettings),
    /// FixMatch with thresholds that follow the network's confidence.
    Freematch(FreematchSettings),
    /// FixMatch with a weight for each guess instead of a threshold.
    Softmatch(SoftmatchSettings),
    /// FixMatch whose guesses agree with the labelled images that look alike.
    Simmatch(SimmatchSettings),
}

/// Unlabelled images for each labelled one.
const RATIO: RangeInclusive<usize> = 1..=64;

/// What every method has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Common {
    /// Unlabelled images for each labelled one (`mu`).
    pub ratio: usize,
    /// What the unlabelled loss counts at most.
    pub weight: f32,
    /// The share of the training over which the weight rises from 0; 0 for none.
    pub ramp: f32,
    /// How much of the average of the weights stays in a step; 0 for no average.
    pub ema: f32,
}

impl Common {
    /// The weight of the unlabelled loss where a share `progress` of all steps is done.
    pub fn weight_at(&self, progress: f32) -> f32 {
        if self.ramp <= 0.0 {
            return self.weight;
        }
        self.weight * (progress / self.ramp).clamp(0.0, 1.0)
    }
}

/// What a method wants to see of an unlabelled image beside its weak view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondView {
    /// Nothing.
    None,
    /// Another view: by the recipe of strong views if there is one, else by that of the weak ones.
    Any,
    /// A strong view.
    Strong,
}

/// A method's hyper-parameters: what can be said of them before training, and how the method is built.
pub trait Settings {
    /// The name written in workflows.
    fn name(&self) -> &'static str;

    /// What every method has.
    fn common(&self) -> Common;

    /// What it looks at beside the weak view.
    fn second_view(&self) -> SecondView {
        SecondView::Strong
    }

    /// What a labelled image and the unlabelled ones that go with it cost, in images that go through the network forward and backward: each
    /// view counts as one, a forward pass alone as a third.
    fn cost(&self) -> f64 {
        let views = if self.second_view() == SecondView::None { 1 } else { 2 };
        1.0 + (self.common().ratio * views) as f64
    }

    /// What to change first when the guesses collapse onto few classes; ends a sentence, e.g. ``raise `semi.threshold` ``.
    fn advice(&self) -> &'static str;

    /// The method at its first step.
    fn build(&self, setup: &SemiSetup<'_>) -> Box<dyn SemiMethod>;
}

/// A method in training; its tensors are its heads and all other state of its own.
pub trait SemiMethod: Tensors + Send {
    /// Forward and backward pass of one batch: adds to the gradients of the student and of the method's own parameters.
    ///
    /// # Errors
    /// If the loss refuses its inputs.
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError>;
}

/// Declares a method's hyper-parameters: its own, and behind them those that every method has, with the method's defaults.
macro_rules! semi_settings {
    ($(#[$about:meta])* pub struct $name:ident {
        $($own:tt)*
    } common {
        ratio: $ratio:expr,
        weight: $weight:expr,
        ramp: $ramp:expr,
        ema: $ema:expr,
    }) => {
        $crate::settings::settings! {
            $(#[$about])*
            pub struct $name {
                $($own)*
                /// Unlabelled images for each labelled one (`mu`).
                ratio: usize = $ratio, in $crate::semi::RATIO;
                /// What the unlabelled loss counts at most.
                weight: f32 = $weight, in 0.0..;
                /// Share of the training over which that rises from 0; 0 for none.
                ramp: f32 = $ramp, in $crate::settings::SHARE;
                /// How much of the average of the weights stays in a step; 0 for no average.
                ema: f32 = $ema, in $crate::settings::BELOW_ONE;
            }
        }
    };
}
use semi_settings;

/// The settings that every method has, from the fields of the same names.
macro_rules! common {
    () => {
        fn common(&self) -> $crate::semi::Common {
            $crate::semi::Common {
                ratio: self.ratio,
                weight: self.weight,
                ramp: self.ramp,
                ema: self.ema,
            }
        }
    };
}
use common;
