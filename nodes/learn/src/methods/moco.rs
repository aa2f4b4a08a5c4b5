//! MoCo (He et al. 2020, 1911.05722): a query finds the key of the same image among thousands of keys of earlier batches.
//!
//! With a query `q` of one view, the key `k` of the other by a momentum encoder, and a queue of keys `m_j` (eq. 1):
//! `L = -log exp(q k / t) / (exp(q k / t) + sum_j exp(q m_j / t))`; then the momentum encoder follows (eq. 2) and the batch's keys
//! replace the oldest of the queue.
//!
//! The queue begins with random keys, which are easy to tell from the right one: the loss rises until it is filled.
//!
//! Trap: batch norm tells query and key of the same batch from the queue's (section 3.3). As the authors shuffle over GPUs, queries go
//! through the network in groups, and keys in other, shuffled groups, each with its own statistics.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{Norms, backward, forward, gradient, mlp};
use super::momentum::Momentum;
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{Buffer, Carried, FeatureMap, Pass, Sequential, tensors};
use crate::metrics::normalised;
use crate::rng::Stream;
use crate::settings::{SHARE, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; defaults of the authors' CIFAR-10 demo, with a smaller queue.
    pub struct MocoSettings {
        /// Temperature `t`, above 0. The paper has .07, the demo .1.
        temperature: f32 = 0.1, in TEMPERATURE;
        /// Keys to tell the right one from; a multiple of the batch. The paper has 65,536, the demo 4,096.
        queue: usize = 4096, in 1..=1 << 20;
        /// Momentum `m` of the key encoder. The paper has .999, short trainings need less: the demo .99.
        momentum: f32 = 0.99, in SHARE;
        /// Dimensions of queries and keys.
        projection: usize = 128, in WIDTH;
        /// Groups that the batch is normalised in; they divide it. The demo has 8 of 64 images.
        groups: usize = 4, in WIDTH;
    }
}

impl Settings for MocoSettings {
    fn name(&self) -> &'static str {
        "moco"
    }

    fn views(&self) -> f64 {
        VIEWS
    }

    fn advice(&self) -> &'static str {
        ADVICE
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        self.check_queue(constraints)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.projection];
        Ok(Box::new(self.with_head(setup, &widths)))
    }
}

/// A query forward and backward, a key forward.
pub(super) const VIEWS: f64 = 1.0 + 1.0 / 3.0;
pub(super) const ADVICE: &str = "lower `lr`, raise `momentum` or raise `temperature`";

impl MocoSettings {
    /// What every version of MoCo needs.
    pub(super) fn check_queue(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let Self { queue, groups, .. } = *self;
        let batch = constraints.batch;
        if !queue.is_multiple_of(batch) {
            let (lower, upper) = (queue / batch * batch, queue.div_ceil(batch) * batch);
            let nearest = if lower == 0 {
                upper.to_string()
            } else {
                format!("{lower} or {upper}")
            };
            let message = format!("{queue} found, expected a multiple of the batch, which is {batch}: {nearest}");
            return Err(MethodError::setting("queue", message));
        }
        if !batch.is_multiple_of(groups) || batch / groups < 2 {
            let message =
                format!("{groups} found, but a batch of {batch} does not make as many equal groups of at least 2");
            return Err(MethodError::setting("groups", message));
        }
        Ok(())
    }

    /// The method with a head of the given widths, ReLU between its layers.
    pub(super) fn with_head(&self, setup: &mut Setup<'_>, widths: &[usize]) -> Moco {
        let head = |setup: &Setup<'_>| mlp(widths, Norms::None, &mut setup.stream.child("head"));
        let (trained, copy) = (head(setup), head(setup));
        let mut random = setup.stream.child("queue");
        let keys: Vec<f32> = (0..self.queue * self.projection).map(|_| random.normal()).collect();
        Moco {
            settings: self.clone(),
            head: trained,
            key: Momentum::new(setup, copy),
            queue: Carried::new(&[self.queue, self.projection], normalised(&keys, self.projection)),
            oldest: Carried::zeros(&[1]),
            filled: Carried::zeros(&[1]),
        }
    }
}

pub(super) struct Moco {
    settings: MocoSettings,
    head: Sequential,
    key: Momentum<Sequential>,
    /// `[queue][projection]`, rows of length one.
    queue: Carried,
    /// The row that is replaced next.
    oldest: Carried,
    /// Rows that hold keys of images, not random ones.
    filled: Carried,
}

impl Method for Moco {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let (n, dim) = (batch.len(), self.settings.projection);
        let group = n / self.settings.groups;

        self.key.follow(encoder, &mut self.head, self.settings.momentum, pass);
        let keys = self.keys(batch, group, pass);

        let view = batch.view("query", encoder, pass);
        let mut queries = Vec::with_capacity(n * dim);
        for images in view.data.chunks_exact(group * view.shape.len()) {
            let mut part = pass.map(group, view.shape);
            part.data.copy_from_slice(images);
            queries.extend_from_slice(&forward(&mut [encoder, &mut self.head], part, pass).data);
        }
        let metrics = vec![
            Metric::spread(&queries, dim),
            Metric::alignment(&queries, &keys, dim),
            Metric::new("queue_age", self.age(n)),
            Metric::new("queue_filled", self.filled[0] / self.settings.queue as f32),
        ];
        let others = [keys.as_slice(), &self.queue[..]];
        let queries = Buffer::from(queries);
        let (loss, dq) = pass
            .device()
            .info_nce(dim, &queries, others, self.settings.temperature)?;
        for dq in dq.chunks_exact(group * dim).rev() {
            backward(&mut [encoder, &mut self.head], gradient(group, dq.to_vec()), pass);
        }
        self.enqueue(&keys);
        Ok(StepOutcome {
            loss: loss.get(),
            metrics,
        })
    }
}

impl Moco {
    /// Keys of the batch, `[n][projection]`, of length one, made in shuffled groups.
    fn keys(&mut self, batch: &Batch<'_>, group: usize, pass: &Pass) -> Vec<f32> {
        let dim = self.settings.projection;
        let view = batch.view("key", &self.key.encoder, pass);
        let order = shuffled(&batch.stream, batch.len());
        let mut keys = vec![0.0; batch.len() * dim];
        for members in order.chunks_exact(group) {
            let mut part: FeatureMap = pass.map(group, view.shape);
            let len = view.shape.len();
            for (to, i) in part.data.chunks_exact_mut(len).zip(members) {
                to.copy_from_slice(&view.data[*i as usize * len..][..len]);
            }
            let found = forward(
                &mut [&mut self.key.encoder, &mut self.key.head],
                part,
                &mut pass.no_grad(),
            );
            for (key, i) in found.data.chunks_exact(dim).zip(members) {
                keys[*i as usize * dim..][..dim].copy_from_slice(key);
            }
        }
        normalised(&keys, dim)
    }

    /// Mean age, in steps, of the queue's keys of images.
    fn age(&self, batch: usize) -> f32 {
        let steps = self.filled[0] / batch as f32;
        if steps > 0.0 { f32::midpoint(steps, 1.0) } else { 0.0 }
    }

    /// The batch's keys replace the oldest.
    fn enqueue(&mut self, keys: &[f32]) {
        let at = self.oldest[0] as usize * self.settings.projection;
        self.queue[at..at + keys.len()].copy_from_slice(keys);
        let next = (at + keys.len()) / self.settings.projection % self.settings.queue;
        self.oldest[0] = next as f32;
        let added = keys.len() / self.settings.projection;
        self.filled[0] = (self.filled[0] as usize + added).min(self.settings.queue) as f32;
    }
}

fn shuffled(stream: &Stream, n: usize) -> Vec<u32> {
    stream.child("shuffled keys").permutation(n)
}

tensors!(Moco: head, key, queue, oldest, filled);
