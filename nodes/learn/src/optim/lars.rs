//! LARS (You et al. 2017, 1708.03888): each layer's rate scales with the ratio of its weights' to its gradient's norm.
//!
//! `g += wd w; l = eta |w| / |g|; v = m v + l lr g; w -= v`. Biases and normalisation parameters are not adapted and not decayed.

use std::collections::BTreeMap;

use super::{Buffers, Optimizer, ParamMut};
use crate::device::Device;
use crate::settings::{ABOVE_ZERO, BELOW_ONE, settings};

settings! {
    /// Constants.
    #[derive(Copy)]
    pub struct LarsConfig {
        /// Share of the last update that goes on.
        momentum: f32 = 0.9, in BELOW_ONE;
        /// L2 penalty, added to the gradient.
        weight_decay: f32 = 1e-4, in 0.0..;
        /// Trust coefficient.
        eta: f32 = 0.02, in ABOVE_ZERO;
    }
}

pub(super) struct Lars {
    config: LarsConfig,
    velocity: Buffers,
}

impl Lars {
    pub(super) fn new(config: LarsConfig) -> Self {
        Self {
            config,
            velocity: Buffers::default(),
        }
    }
}

impl Optimizer for Lars {
    fn step(&mut self, device: &dyn Device, parameters: &mut [ParamMut<'_>]) {
        let LarsConfig {
            momentum,
            weight_decay,
            eta,
        } = self.config;
        device.lars(&mut self.velocity.updates(parameters, weight_decay), momentum, eta);
    }

    fn state(&self) -> BTreeMap<String, Vec<f32>> {
        self.velocity.state()
    }

    fn load_state(&mut self, state: BTreeMap<String, Vec<f32>>) {
        self.velocity = Buffers::load(state);
    }

    fn forget(&mut self, prefix: &str) {
        self.velocity.forget(prefix);
    }
}
