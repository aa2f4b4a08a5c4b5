//! Supervised pre-training: labels of another data set, or of classes that are not asked for later, then transfer.
//!
//! `L = CE(head(f(view)), label)` with label smoothing. The control that says what labels elsewhere are worth.
//!
//! Trap: never give it the labels that the downstream task is judged on: take another data set, or other classes.

use super::batch::{Batch, Setup};
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::data::Modality;
use crate::layers::{Linear, Pass, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::argmaxes;
use crate::settings::{BELOW_ONE, settings};

settings! {
    /// Hyper-parameters.
    pub struct SupervisedSettings {
        /// Share of each target that is spread over all classes, in `[0, 1)`; .1 in Szegedy et al. 2016, 1512.00567.
        label_smoothing: f32 = 0.0, in BELOW_ONE;
    }
}

impl Settings for SupervisedSettings {
    fn name(&self) -> &'static str {
        "supervised"
    }

    fn takes(&self, _modality: Modality) -> bool {
        true
    }

    fn uses_labels(&self) -> bool {
        true
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let mut seen: Vec<u16> = setup.images.labels().iter().copied().flatten().collect();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() < 2 {
            let message = "supervised pre-training needs images of at least two classes, these are all of one";
            return Err(MethodError::setting("method", message));
        }
        let classes = usize::from(seen[seen.len() - 1]) + 1;
        Ok(Box::new(Supervised {
            label_smoothing: self.label_smoothing,
            head: Linear::new(setup.encoder.dim, classes, true, &mut setup.stream.child("head")),
        }))
    }
}

struct Supervised {
    label_smoothing: f32,
    head: Linear,
}

impl Method for Supervised {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let labels = batch.labels();
        let view = batch.view("view", encoder, pass);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let guesses = argmaxes(&logits.data, logits.shape.len());
        let right = guesses.zip(&labels).filter(|(guess, label)| guess == *label).count();
        let (loss, [dlogits]) = value_and_grads([matrix(&logits)], |[logits]| {
            cross_entropy(logits, &labels, self.label_smoothing)
        })?;
        backward(&mut [encoder, &mut self.head], gradient(logits.n, dlogits), pass);
        Ok(StepOutcome {
            loss,
            metrics: vec![Metric::accuracy(right, labels.len())],
        })
    }
}

tensors!(Supervised: head as "");
