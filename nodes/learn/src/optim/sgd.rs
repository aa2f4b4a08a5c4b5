//! Stochastic gradient descent with momentum, PyTorch's form: `g += wd w; v = m v + g; w -= lr v`, and with Nesterov
//! `w -= lr (g + m v)` (Sutskever et al. 2013).

use std::collections::BTreeMap;

use super::{Buffers, Optimizer, ParamMut};
use crate::device::Device;
use crate::settings::{BELOW_ONE, settings};

settings! {
    /// Constants.
    #[derive(Copy)]
    pub struct SgdConfig {
        /// Share of the last update that goes on.
        momentum: f32 = 0.9, in BELOW_ONE;
        /// Whether to look ahead.
        nesterov: bool = false;
        /// L2 penalty, added to the gradient.
        weight_decay: f32 = 0.0, in 0.0..;
    }
}

pub(super) struct Sgd {
    config: SgdConfig,
    velocity: Buffers,
}

impl Sgd {
    pub(super) fn new(config: SgdConfig) -> Self {
        Self {
            config,
            velocity: Buffers::default(),
        }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, device: &dyn Device, parameters: &mut [ParamMut<'_>]) {
        let SgdConfig {
            momentum,
            nesterov,
            weight_decay,
        } = self.config;
        device.sgd(&mut self.velocity.updates(parameters, weight_decay), momentum, nesterov);
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
