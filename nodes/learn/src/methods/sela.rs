//! SeLa (Asano et al. 2020, 1911.05371): labels are the assignment of images to clusters of equal size that the network finds easiest.
//!
//! With `P` the network's probabilities of all images, labels are the argmax of `Q = diag(u) P^lambda diag(v)` with equal column sums (eq. 6,
//! Sinkhorn-Knopp run to a tolerance); in between `L = CE(head(f(view)), label)`, averaged over several heads with labels of their own (section
//! 3.3). Labels begin random and balanced.
//!
//! Traps: `P^lambda` underflows, so Sinkhorn-Knopp works in the log domain; a head that is begun with unbalanced labels keeps them.

use super::batch::{Batch, Epoch, MethodConstraints, Setup};
use super::heads::{backward, forward, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::clustering::sinkhorn_until;
use crate::layers::{Carried, FeatureMap, Layer, Linear, MapShape, Pass, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::{argmax, argmaxes, nmi};
use crate::rng::Stream;
use crate::settings::{ABOVE_ZERO, SEVERAL, SOME_ROUNDS, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has 3000 clusters and 10 heads for a thousand classes.
    pub struct SelaSettings {
        /// Clusters of each head.
        clusters: usize = 64, in SEVERAL;
        /// Heads with labels of their own.
        heads: usize = 4, in WIDTH;
        /// Sharpness of the assignment; 10 to 25, 25 in the paper.
        lambda: f32 = 25.0, in TEMPERATURE;
        /// How far a cluster's share may be off, relative.
        tolerance: f32 = 0.01, in ABOVE_ZERO;
        /// Epochs between two assignments.
        every: usize = 1, in SOME_ROUNDS;
    }
}

/// Rounds of Sinkhorn-Knopp at most.
const ITERATIONS: usize = 200;

impl Settings for SelaSettings {
    fn name(&self) -> &'static str {
        "sela"
    }

    fn views(&self) -> f64 {
        1.0 + 1.0 / 3.0 / self.every.max(1) as f64
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `every` or lower `clusters`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        constraints.check_images("clusters", self.clusters)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let (n, outputs) = (setup.images.n(), self.heads * self.clusters);
        Ok(Box::new(Sela {
            settings: self.clone(),
            heads: Linear::new(setup.encoder.dim, outputs, true, &mut setup.stream.child("heads")),
            labels: Carried::new(&[n, self.heads], balanced(n, self, &setup.stream)),
            agreement: Carried::zeros(&[1]),
        }))
    }
}

/// Random labels of equal frequency, `[images][heads]`.
fn balanced(n: usize, settings: &SelaSettings, stream: &Stream) -> Vec<f32> {
    let mut labels = vec![0.0; n * settings.heads];
    for head in 0..settings.heads {
        let order = stream.child("labels").index(head as u64).permutation(n);
        for (place, i) in order.into_iter().enumerate() {
            labels[i as usize * settings.heads + head] = (place % settings.clusters) as f32;
        }
    }
    labels
}

struct Sela {
    settings: SelaSettings,
    /// All heads side by side.
    heads: Linear,
    /// `[images][heads]`.
    labels: Carried,
    /// NMI of the first head's labels with those before.
    agreement: Carried,
}

impl Method for Sela {
    fn begin_epoch(&mut self, encoder: &mut Encoder, epoch: &Epoch<'_>) -> Result<Vec<u32>, MethodError> {
        if epoch.number > 0 && epoch.number.is_multiple_of(self.settings.every) {
            let features = epoch.features(encoder)?;
            let shape = MapShape::vector(encoder.dim);
            let mut pass = Pass::inference(&encoder.buffers());
            let features = FeatureMap::new(epoch.images.n(), shape, features);
            let logits = self.heads.forward(features, &mut pass);
            self.assign(&logits.data);
        }
        Ok(epoch.shuffled())
    }

    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let SelaSettings { clusters, heads, .. } = self.settings;
        let of_image = |i: &u32| &self.labels[*i as usize * heads..][..heads];
        let labels: Vec<usize> = batch.indices.iter().flat_map(of_image).map(|l| *l as usize).collect();
        let view = batch.view("view", encoder, pass);
        let logits = forward(&mut [encoder, &mut self.heads], view, pass);
        let (n, shape) = (logits.n, logits.shape);
        let guesses = argmaxes(&logits.data, clusters);
        let right = guesses.zip(&labels).filter(|(guess, label)| guess == *label).count();
        // A row for each image and head: the mean over rows is the mean over heads.
        let (values, _) = matrix(&logits);
        let (loss, [dlogits]) = value_and_grads([(values, (n * heads, clusters))], |[logits]| {
            cross_entropy(logits, &labels, 0.0)
        })?;
        backward(
            &mut [encoder, &mut self.heads],
            FeatureMap::new(n, shape, dlogits),
            pass,
        );
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::accuracy(right, labels.len()),
                Metric::new("nmi", self.agreement[0]),
                Metric::evenness(self.labels.iter().step_by(heads).map(|l| *l as usize), clusters).at_least(0.5),
            ],
        })
    }
}

impl Sela {
    /// New labels from the heads' logits of all images, `[images][heads][clusters]`.
    fn assign(&mut self, logits: &[f32]) {
        let SelaSettings {
            clusters,
            heads,
            lambda,
            tolerance,
            ..
        } = self.settings;
        let first = |labels: &[f32]| labels.iter().step_by(heads).map(|l| *l as usize).collect::<Vec<_>>();
        let before = first(&self.labels);
        for head in 0..heads {
            let of_head: Vec<f32> = logits
                .chunks_exact(clusters)
                .skip(head)
                .step_by(heads)
                .flatten()
                .copied()
                .collect();
            // P^lambda is exp(lambda logits) up to a factor for each row, which the rows' scaling takes away.
            let assigned = sinkhorn_until(&of_head, clusters, 1.0 / lambda, tolerance, ITERATIONS);
            for (i, row) in assigned.chunks_exact(clusters).enumerate() {
                self.labels[i * heads + head] = argmax(row) as f32;
            }
        }
        self.agreement[0] = nmi(&before, &first(&self.labels)) as f32;
    }
}

tensors!(Sela: heads, labels, agreement);
