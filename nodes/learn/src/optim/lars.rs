//! LARS (You et al. 2017, 1708.03888): each layer's rate scales with the ratio of its weights' to its gradient's norm.
//!
//! `g += wd w; l = eta |w| / |g|; v = m v + l lr g; w -= v`. Biases and normalisation parameters are not adapted and not decayed.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Buffers, Optimizer, PIECE, ParamMut};
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

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

impl Optimizer for Lars {
    fn step(&mut self, parameters: &mut [ParamMut<'_>]) {
        let LarsConfig {
            momentum,
            weight_decay,
            eta,
        } = self.config;
        for parameter in parameters {
            let decay = if parameter.decay { weight_decay } else { 0.0 };
            let weights = norm(parameter.value.iter().copied());
            let gradient = norm(parameter.grad.iter().zip(&*parameter.value).map(|(g, w)| g + decay * w));
            let adapted = parameter.decay && weights > 0.0 && gradient > 0.0;
            let trust = if adapted {
                (f64::from(eta) * weights / gradient) as f32
            } else {
                1.0
            };
            let lr = parameter.lr;
            let velocity = self.velocity.of(parameter);
            let values = parameter.value.par_iter_mut().zip(parameter.grad).zip(velocity);
            values.with_min_len(PIECE).for_each(|((w, g), v)| {
                *v = momentum * *v + lr * trust * (g + decay * *w);
                *w -= *v;
            });
        }
    }

    fn state(&self) -> BTreeMap<String, Vec<f32>> {
        self.velocity.0.clone()
    }

    fn load_state(&mut self, state: BTreeMap<String, Vec<f32>>) {
        self.velocity = Buffers(state);
    }

    fn forget(&mut self, prefix: &str) {
        self.velocity.forget(prefix);
    }
}
