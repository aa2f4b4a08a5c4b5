//! SwAV (Caron et al. 2020, 2006.09882): each view predicts the other's assignment to prototypes, online.
//!
//! With scores `s = z C` (cosines of embeddings to prototypes) and assignments `q = sinkhorn(s / eps)` without gradient (eq. 2, 3):
//! `L = 1/2 [CE(q_b, softmax(s_a / t)) + CE(q_a, softmax(s_b / t))]`. A queue of earlier embeddings joins the batch in Sinkhorn-Knopp
//! once features mean something (section 3.1): it makes up for batches that are small against the number of prototypes.
//!
//! Traps: prototypes are scaled to length one before each step and stay as they are in the first epoch; a loss that stays at
//! `ln(prototypes)` is a collapse.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{Norms, backward, forward, gradient, matrix, mlp, swapped_halves, two_views};
use super::local_views::{self, ScoringHead};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::prototypes::Prototypes;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::clustering::sinkhorn;
use crate::layers::{Carried, Pass, Sequential, tensors};
use crate::losses::{cosine_scores, swapped, value_and_grads};
use crate::settings::{ROUNDS, SEVERAL, SOME_ROUNDS, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has 3000 prototypes for a thousand classes and batches of 4096.
    pub struct SwavSettings {
        /// Prototypes; 100 to 500 for ten classes.
        prototypes: usize = 100, in SEVERAL;
        /// Temperature `t` of the prediction; .1 in the paper.
        temperature: f32 = 0.1, in TEMPERATURE;
        /// Smoothness `eps` of the assignments; .05 in the paper, lower if the loss stays at `ln(prototypes)`.
        epsilon: f32 = 0.05, in TEMPERATURE;
        /// Iterations of Sinkhorn-Knopp; 3 in the paper.
        iterations: usize = 3, in SOME_ROUNDS;
        /// Epochs in which the prototypes do not move; 1 in the paper.
        freeze_epochs: usize = 1, in ROUNDS;
        /// Earlier embeddings of each view that join in Sinkhorn-Knopp; 0 for none. The paper has 3840 for batches of 256.
        queue: usize = 0, in 0..=1 << 20;
        /// The first epoch, from 0, in which the queue joins; 15 in the paper.
        queue_from: usize = 15, in ROUNDS;
        /// Width of the projector's hidden layer.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the embedding.
        projection: usize = 128, in WIDTH;
    }
}

impl Settings for SwavSettings {
    fn name(&self) -> &'static str {
        "swav"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn takes_local_views(&self) -> bool {
        true
    }

    fn advice(&self) -> &'static str {
        "lower `epsilon`, raise `freeze_epochs` or lower `lr`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        if !self.queue.is_multiple_of(constraints.batch) {
            let message = format!(
                "{} found, expected a multiple of the batch, which is {}",
                self.queue, constraints.batch
            );
            return Err(MethodError::setting("queue", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.projection];
        let mut stream = setup.stream.child("prototypes");
        Ok(Box::new(Swav {
            settings: self.clone(),
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
            prototypes: Prototypes::new(self.prototypes, self.projection, &mut stream),
            first_queue: Carried::zeros(&[self.queue, self.projection]),
            second_queue: Carried::zeros(&[self.queue, self.projection]),
            filled: Carried::zeros(&[1]),
        }))
    }
}

struct Swav {
    settings: SwavSettings,
    projector: Sequential,
    prototypes: Prototypes,
    /// Embeddings of the first view, newest first, `[queue][projection]`.
    first_queue: Carried,
    /// The same of the second view.
    second_queue: Carried,
    /// Embeddings of each view that the queues hold.
    filled: Carried,
}

impl Method for Swav {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        self.prototypes.frozen = batch.epoch < self.settings.freeze_epochs;
        self.prototypes.normalise();

        let views = two_views(batch, encoder, pass);
        let z = forward(&mut [encoder, &mut self.projector], views, pass);
        let half = z.data.len() / 2;
        let joins = batch.epoch >= self.settings.queue_from;
        let assigned = [
            self.assign(0, &z.data[..half], joins),
            self.assign(1, &z.data[half..], joins),
        ]
        .concat();
        let metrics = vec![
            Metric::spread(&z.data, z.shape.len()),
            Metric::certainty(&assigned, self.prototypes.count).at_least(0.01),
            Metric::cluster_entropy(&assigned, self.prototypes.count).at_least(0.1),
        ];
        // Rows of one view meet the assignments of the other; the mean over all rows is the mean of both directions.
        let targets = swapped_halves(&assigned);
        let (loss, [dz, dc]) = value_and_grads([matrix(&z), self.prototypes.matrix()], |[z, c]| {
            Ok(swapped(cosine_scores(z, c)?, &targets, self.settings.temperature)? * local_views::whole_share(batch))
        })?;
        self.prototypes.add_gradient(&dc);
        self.enqueue(0, &z.data[..half]);
        self.enqueue(1, &z.data[half..]);
        let grown = self.filled[0] as usize + batch.len();
        self.filled[0] = grown.min(self.settings.queue) as f32;
        backward(&mut [encoder, &mut self.projector], gradient(z.n, dz), pass);
        let head = ScoringHead {
            mlp: &mut self.projector,
            prototypes: &mut self.prototypes,
            temperature: self.settings.temperature,
        };
        let loss = loss + local_views::learn(encoder, head, batch, &assigned, pass)?;
        Ok(StepOutcome { loss, metrics })
    }
}

impl Swav {
    /// Assignments of one view's embeddings, `[n][prototypes]`, together with the queue's if it joins and is full.
    fn assign(&self, view: usize, embeddings: &[f32], joins: bool) -> Vec<f32> {
        let SwavSettings {
            epsilon, iterations, ..
        } = self.settings;
        let mut rows = embeddings.to_vec();
        if joins && self.filled[0] as usize == self.settings.queue {
            rows.extend_from_slice([&self.first_queue, &self.second_queue][view]);
        }
        let count = self.prototypes.count;
        let mut assigned = sinkhorn(&self.prototypes.scores(&rows), count, epsilon, iterations);
        assigned.truncate(embeddings.len() / self.settings.projection * count);
        assigned
    }

    fn enqueue(&mut self, view: usize, embeddings: &[f32]) {
        let queue = match view {
            0 => &mut self.first_queue,
            _ => &mut self.second_queue,
        };
        if queue.is_empty() {
            return;
        }
        queue.rotate_right(embeddings.len());
        queue[..embeddings.len()].copy_from_slice(embeddings);
    }
}

tensors!(Swav: projector, prototypes, first_queue, second_queue, filled);
