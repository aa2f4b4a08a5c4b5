//! SimCLR v2 (Chen et al. 2020, 2006.10029): SimCLR with a projector of three layers, the first of which is kept.
//!
//! The loss is SimCLR's: `l(i, j) = -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t)`. The paper fine-tunes from the projector's first layer and then distils on unlabelled images
//! ([`crate::losses::distillation`]): pre-train, fine-tune, self-train.

use super::batch::Setup;
use super::heads::{Norms, mlp};
use super::outcome::MethodError;
use super::simclr::Simclr;
use super::{Method, Settings, SimclrSettings};
use crate::settings::{TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters: SimCLR's; `hidden` is the width of both hidden layers. The paper has the features' width and a projection of 128.
    pub struct SimclrV2Settings {
        /// Temperature `t`, above 0.
        temperature: f32 = 0.5, in TEMPERATURE;
        /// Width of the projector's two hidden layers.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the projection.
        projection: usize = 64, in WIDTH;
    }
}

impl Settings for SimclrV2Settings {
    fn name(&self) -> &'static str {
        "simclr-v2"
    }

    fn views(&self) -> f64 {
        SimclrSettings::default().views()
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `warmup_epochs` or raise `temperature`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.projection];
        Ok(Box::new(Simclr {
            temperature: self.temperature,
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
        }))
    }
}
