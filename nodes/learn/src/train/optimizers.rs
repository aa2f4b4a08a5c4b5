//! The optimisers of a network that is fitted: one of its encoder, which may stay as it is or learn more slowly, and one of its head.

use super::{FitSettings, load_optimizer, save_optimizer, update};
use crate::backbones::Encoder;
use crate::device::Device;
use crate::layers::{Entry, Tensors};
use crate::optim::{Optimizer, Schedule};
use crate::state::StateDict;

/// Both of them, and how fast they learn.
pub(crate) struct Optimizers {
    encoder: Box<dyn Optimizer>,
    head: Box<dyn Optimizer>,
    schedule: Schedule,
}

impl Optimizers {
    pub(crate) fn new(settings: &FitSettings) -> Self {
        Self {
            encoder: settings.optimizer.build(),
            head: settings.optimizer.build(),
            schedule: Schedule::warmup_cosine(settings.lr, settings.warmup_steps, settings.steps),
        }
    }

    /// Their step number `step`, over the parameters of the head and, if it is not frozen, of the encoder.
    pub(crate) fn update(
        &mut self,
        (settings, step): (&FitSettings, usize),
        device: &dyn Device,
        head: Vec<Entry<'_>>,
        encoder: &mut Encoder,
    ) {
        let lr = self.schedule.at(step);
        update(device, self.head.as_mut(), lr, head);
        if !settings.freeze {
            let mut entries = Vec::new();
            encoder.entries("encoder", &mut entries);
            update(device, self.encoder.as_mut(), lr * settings.encoder_lr_scale, entries);
        }
    }

    pub(crate) fn save(&self, state: &mut StateDict) {
        save_optimizer(self.encoder.as_ref(), "encoder_optimizer", state);
        save_optimizer(self.head.as_ref(), "head_optimizer", state);
    }

    pub(crate) fn load(&mut self, state: &StateDict) {
        load_optimizer(self.encoder.as_mut(), "encoder_optimizer", state);
        load_optimizer(self.head.as_mut(), "head_optimizer", state);
    }
}
