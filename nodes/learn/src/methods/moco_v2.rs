//! MoCo v2 (Chen et al. 2020, 2003.04297): MoCo with SimCLR's projection head, stronger views and a softer temperature.
//!
//! The loss is MoCo's: `L = -log exp(q k / t) / (exp(q k / t) + sum_j exp(q m_j / t))`, with its traps. The head has a hidden layer with ReLU, as wide as the features in the paper; views and the cosine schedule are
//! chosen where views and schedules are.

use serde::{Deserialize, Serialize};

use super::batch::{Premises, Setup};
use super::moco::{ADVICE, MocoSettings, VIEWS};
use super::outcome::{MethodError, check_widths};
use super::{Method, Settings};

/// Hyper-parameters: MoCo's, and the head's hidden layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MocoV2Settings {
    /// Temperature, above 0; .2 in the paper.
    pub temperature: f32,
    /// Keys to tell the right one from; a multiple of the batch.
    pub queue: usize,
    /// Momentum of the key encoder.
    pub momentum: f32,
    /// Width of the head's hidden layer.
    pub hidden: usize,
    /// Dimensions of queries and keys.
    pub projection: usize,
    /// Groups that the batch is normalised in; they divide it.
    pub groups: usize,
}

impl Default for MocoV2Settings {
    fn default() -> Self {
        let MocoSettings {
            queue,
            momentum,
            projection,
            groups,
            ..
        } = MocoSettings::default();
        Self {
            temperature: 0.2,
            queue,
            momentum,
            hidden: 256,
            projection,
            groups,
        }
    }
}

impl MocoV2Settings {
    fn moco(&self) -> MocoSettings {
        MocoSettings {
            temperature: self.temperature,
            queue: self.queue,
            momentum: self.momentum,
            projection: self.projection,
            groups: self.groups,
        }
    }
}

impl Settings for MocoV2Settings {
    fn name(&self) -> &'static str {
        "moco-v2"
    }

    fn views(&self) -> f64 {
        VIEWS
    }

    fn advice(&self) -> &'static str {
        ADVICE
    }

    fn check(&self, premises: &Premises) -> Result<(), MethodError> {
        check_widths(&[("hidden", self.hidden), ("projection", self.projection)])?;
        self.moco().check_queue(premises)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.projection];
        Ok(Box::new(self.moco().with_head(setup, &widths)))
    }
}
