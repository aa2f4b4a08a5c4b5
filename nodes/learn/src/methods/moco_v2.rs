//! MoCo v2 (Chen et al. 2020, 2003.04297): MoCo with SimCLR's projection head, stronger views and a softer temperature.
//!
//! The loss is MoCo's: `L = -log exp(q k / t) / (exp(q k / t) + sum_j exp(q m_j / t))`, with its traps. The head has a hidden layer with ReLU, as wide as the features in the paper; views and the cosine schedule are
//! chosen where views and schedules are.

use super::batch::{MethodConstraints, Setup};
use super::moco::{ADVICE, MocoSettings, VIEWS};
use super::outcome::MethodError;
use super::{Method, Settings};
use crate::settings::{SHARE, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters: MoCo's, and the head's hidden layer.
    pub struct MocoV2Settings {
        /// Temperature, above 0; .2 in the paper.
        temperature: f32 = 0.2, in TEMPERATURE;
        /// Keys to tell the right one from; a multiple of the batch.
        queue: usize = 4096, in 1..=1 << 20;
        /// Momentum of the key encoder.
        momentum: f32 = 0.99, in SHARE;
        /// Width of the head's hidden layer.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of queries and keys.
        projection: usize = 128, in WIDTH;
        /// Groups that the batch is normalised in; they divide it.
        groups: usize = 4, in WIDTH;
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

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        self.moco().check_queue(constraints)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.projection];
        Ok(Box::new(self.moco().with_head(setup, &widths)))
    }
}
