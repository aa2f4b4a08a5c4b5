//! Adam (Kingma & Ba 2015, 1412.6980) and AdamW with decoupled weight decay (Loshchilov & Hutter 2019, 1711.05101).
//!
//! `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m^ / (sqrt(v^) + eps)` with `m^ = m / (1 - b1^t)`, `v^ = v / (1 - b2^t)`.
//! Adam adds `wd w` to the gradient, AdamW shrinks `w` by `lr wd` first.

use std::collections::BTreeMap;

use super::{Buffers, Optimizer, ParamMut};
use crate::device::{AdamUpdate, Device};
use crate::settings::{ABOVE_ZERO, BELOW_ONE, settings};

settings! {
    /// Constants.
    #[derive(Copy)]
    pub struct AdamConfig {
        /// Decay of the first and the second moment.
        betas: [f32; 2] = [0.9, 0.999], in BELOW_ONE;
        /// Added to the root of the second moment: without it, a gradient that was always zero would be divided by zero.
        eps: f32 = 1e-8, in ABOVE_ZERO;
        /// L2 penalty (Adam) or decay (AdamW).
        weight_decay: f32 = 0.0, in 0.0..;
    }
}

pub(super) struct Adam {
    config: AdamConfig,
    decoupled: bool,
    /// Of each parameter, as some begin later than others.
    steps: BTreeMap<String, i32>,
    first: Buffers,
    second: Buffers,
}

impl Adam {
    pub(super) fn new(config: AdamConfig, decoupled: bool) -> Self {
        Self {
            config,
            decoupled,
            steps: BTreeMap::new(),
            first: Buffers::default(),
            second: Buffers::default(),
        }
    }
}

impl Optimizer for Adam {
    fn step(&mut self, device: &dyn Device, parameters: &mut [ParamMut<'_>]) {
        let AdamConfig {
            betas,
            eps,
            weight_decay,
        } = self.config;
        let (firsts, seconds) = (self.first.of(parameters), self.second.of(parameters));
        let mut updates = Vec::with_capacity(parameters.len());
        for ((parameter, first), second) in parameters.iter_mut().zip(firsts).zip(seconds) {
            let steps = self.steps.entry(parameter.name.to_owned()).or_insert(0);
            *steps += 1;
            // In f64 as PyTorch: 1 - b2^t loses all digits in f32 at first.
            let [correction_1, correction_2] = betas.map(|beta| 1.0 - f64::from(beta).powi(*steps));
            let lr = parameter.lr;
            let decay = if parameter.decay { weight_decay } else { 0.0 };
            let (penalty, kept) = if self.decoupled {
                (0.0, 1.0 - lr * decay)
            } else {
                (decay, 1.0)
            };
            updates.push(AdamUpdate {
                value: &mut *parameter.value,
                grad: &mut *parameter.grad,
                moments: [first, second],
                rate: (f64::from(lr) / correction_1) as f32,
                correction: correction_2.sqrt() as f32,
                penalty,
                kept,
            });
        }
        device.adam(&mut updates, betas, eps);
    }

    fn state(&self) -> BTreeMap<String, Vec<f32>> {
        let named = |prefix: &str, buffers: &Buffers| {
            let named = buffers.state().into_iter();
            let named = named.map(|(name, data)| (format!("{prefix}.{name}"), data));
            named.collect::<BTreeMap<_, _>>()
        };
        let mut state = named("first", &self.first);
        state.extend(named("second", &self.second));
        let steps = self.steps.iter();
        state.extend(steps.map(|(name, steps)| (format!("steps.{name}"), vec![*steps as f32])));
        state
    }

    fn load_state(&mut self, state: BTreeMap<String, Vec<f32>>) {
        for (name, data) in state {
            if let Some(name) = name.strip_prefix("first.") {
                self.first.0.insert(name.to_owned(), data.into());
            } else if let Some(name) = name.strip_prefix("second.") {
                self.second.0.insert(name.to_owned(), data.into());
            } else if let (Some(name), Some(steps)) = (name.strip_prefix("steps."), data.first()) {
                self.steps.insert(name.to_owned(), *steps as i32);
            }
        }
    }

    fn forget(&mut self, prefix: &str) {
        self.steps.retain(|name, _| !name.starts_with(prefix));
        self.first.forget(prefix);
        self.second.forget(prefix);
    }
}
