//! What decides a fit, and what it costs.

use super::joint::{JointLoss, JointLossSettings};
use crate::layers::Mode;
use crate::optim::{OptimizerConfig, check_lr, check_warmup};
use crate::semi::SemiSettings;
use crate::settings::{BELOW_ONE, COUNTED, SEVERAL, SHARE, SettingError, check};

/// Everything that decides a fit but the network and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct FitSettings {
    /// Optimiser.
    pub optimizer: OptimizerConfig,
    /// Peak learning rate.
    pub lr: f32,
    /// The encoder's learning rate as a multiple of `lr`; below 1 keeps a pre-trained encoder closer to where it was.
    pub encoder_lr_scale: f32,
    /// Steps of linear warm-up, then cosine to zero.
    pub warmup_steps: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Images per step.
    pub batch: usize,
    /// Share of each batch that is truly labelled, where there are pseudo-labels too.
    pub labelled_share: f32,
    /// How labelled and pseudo-labelled images are weighed against each other; if nothing is said, all of a batch count alike.
    pub joint: Option<JointLossSettings>,
    /// How much of each target is spread evenly over the classes.
    pub label_smoothing: f32,
    /// Whether the encoder stays as it is: only the head learns.
    pub freeze: bool,
    /// Whether batch norm keeps the statistics that the encoder came with: those of forty labelled images are poor.
    pub keep_statistics: bool,
    /// Decides order and views.
    pub seed: u64,
}

impl FitSettings {
    /// What a step costs, in images that go through the encoder forward and backward. A forward pass alone, as that of a frozen encoder,
    /// counts a third.
    pub fn cost(&self, semi: Option<&SemiSettings>) -> f64 {
        let each = match semi {
            Some(semi) => semi.settings().cost(),
            None if self.freeze => 1.0 / 3.0,
            None => 1.0,
        };
        self.batch as f64 * each
    }

    /// How many of a batch are truly labelled; `pseudo` says whether there are pseudo-labels beside them.
    pub(crate) fn truths(&self, pseudo: bool) -> usize {
        match pseudo {
            true => ((self.batch as f32 * self.labelled_share).round() as usize).min(self.batch),
            false => self.batch,
        }
    }

    /// The joint loss of a fit with pseudo-labels, with how many of a batch are truly labelled, if it is asked for.
    pub(crate) fn joint_loss(&self, pseudo: bool) -> Option<(JointLoss, usize)> {
        let joint = self.joint.filter(|_| pseudo)?;
        Some((JointLoss::new(joint), self.truths(pseudo)))
    }

    /// How layers that differ in training and use are passed.
    pub(crate) fn mode(&self) -> Mode {
        if self.freeze || self.keep_statistics {
            Mode::Eval
        } else {
            Mode::Train
        }
    }

    /// Whether every setting is in its range: fine-tuning may not take any step at all.
    ///
    /// # Errors
    /// With the setting that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        self.optimizer.check()?;
        check_lr(self.lr)?;
        check("encoder_lr_scale", &self.encoder_lr_scale, 0.0..)?;
        check("steps", &self.steps, COUNTED)?;
        check("batch", &self.batch, SEVERAL)?;
        check("labelled_share", &self.labelled_share, SHARE)?;
        if let Some(joint) = &self.joint {
            joint.check_ranges().map_err(|error| error.within("pseudo_loss"))?;
        }
        check("label_smoothing", &self.label_smoothing, BELOW_ONE)?;
        check_warmup("warmup_steps", self.warmup_steps, self.steps, "steps")
    }
}
