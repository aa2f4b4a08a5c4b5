//! SimCLR v2 (Chen et al. 2020, 2006.10029): SimCLR with a projector of three layers, the first of which is kept.
//!
//! The loss is SimCLR's: `l(i, j) = -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t)`. The paper fine-tunes from the projector's first layer and then distils on unlabelled images
//! ([`crate::losses::distillation`]): pre-train, fine-tune, self-train.

use serde::{Deserialize, Serialize};

use super::batch::{Premises, Setup};
use super::heads::{Norms, mlp};
use super::outcome::MethodError;
use super::simclr::Simclr;
use super::{Method, Settings, SimclrSettings};

/// Hyper-parameters: SimCLR's; `hidden` is the width of both hidden layers. The paper has the features' width and a projection of 128.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimclrV2Settings {
    /// Temperature `t`, above 0.
    pub temperature: f32,
    /// Width of the projector's two hidden layers.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
}

impl Default for SimclrV2Settings {
    fn default() -> Self {
        let SimclrSettings {
            temperature,
            hidden,
            projection,
        } = SimclrSettings::default();
        Self {
            temperature,
            hidden,
            projection,
        }
    }
}

impl SimclrV2Settings {
    fn simclr(&self) -> SimclrSettings {
        SimclrSettings {
            temperature: self.temperature,
            hidden: self.hidden,
            projection: self.projection,
        }
    }
}

impl Settings for SimclrV2Settings {
    fn name(&self) -> &'static str {
        "simclr-v2"
    }

    fn views(&self) -> f64 {
        self.simclr().views()
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `warmup_epochs` or raise `temperature`"
    }

    fn check(&self, premises: &Premises) -> Result<(), MethodError> {
        self.simclr().check(premises)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.projection];
        Ok(Box::new(Simclr {
            temperature: self.temperature,
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
        }))
    }
}
