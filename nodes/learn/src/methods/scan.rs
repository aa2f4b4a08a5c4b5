//! SCAN (Van Gansbeke et al. 2020, 2005.12320): an image and its nearest neighbours belong to the same cluster; then confident images teach.
//!
//! It starts from an encoder that a pretext task has trained. Once, the nearest neighbours of each image are found by its features; then (eq. 2)
//! `L = -log <p_i, p_neighbour> - w H(mean p)`. In the last epochs (section 2.3) confident images, judged as they are, label themselves:
//! `L = CE(p(view), argmax p(image))` where `max p >= threshold`, each class weighing alike.
//!
//! Traps: without the entropy one cluster takes all; self-labels of unequal frequency would let large clusters grow; a step without a confident
//! image has a loss of 0 and teaches nothing (`confident` is their share).

use super::batch::{Batch, Epoch, MethodConstraints, Setup};
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::clustering::nearest_neighbours;
use crate::layers::{Carried, FeatureMap, Linear, Mode, Pass, tensors};
use crate::losses::{probabilities, scan, value_and_grads, weighted_cross_entropy};
use crate::metrics::argmaxes;
use crate::settings::{ABOVE_ZERO, ROUNDS, SEVERAL, SHARE, WIDTH, settings};

settings! {
    /// Hyper-parameters of the paper.
    pub struct ScanSettings {
        /// Clusters: the classes that are expected.
        clusters: usize = 10, in SEVERAL;
        /// Nearest neighbours that each image may be paired with; 20 in the paper.
        neighbours: usize = 20, in WIDTH;
        /// Weight of the entropy that keeps all clusters in use; 5 in the paper.
        entropy_weight: f32 = 5.0, in ABOVE_ZERO;
        /// Epochs at the end in which confident images label themselves.
        self_label_epochs: usize = 2, in ROUNDS;
        /// How confident; .99 in the paper.
        threshold: f32 = 0.99, in SHARE;
    }
}

impl Settings for ScanSettings {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "raise `entropy_weight` or lower `lr`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        if !constraints.pretrained {
            let message =
                "SCAN clusters what an encoder has learnt: give it one that a pretext task has trained, as `init`";
            return Err(MethodError::setting("method", message));
        }
        constraints.check_images("clusters", self.clusters)?;
        if self.neighbours >= constraints.images {
            let (found, images) = (self.neighbours, constraints.images);
            let message = format!("{found} found, but there are only {images} images");
            return Err(MethodError::setting("neighbours", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        Ok(Box::new(Scan {
            head: Linear::new(setup.encoder.dim, self.clusters, true, &mut setup.stream.child("head")),
            neighbours: Carried::zeros(&[setup.images.n(), self.neighbours]),
            labelling: Carried::zeros(&[1]),
            settings: self.clone(),
        }))
    }
}

struct Scan {
    settings: ScanSettings,
    head: Linear,
    /// `[images][neighbours]`, found before the first epoch.
    neighbours: Carried,
    /// 1 in the last epochs, 0 before: a tensor, so that an epoch that is resumed goes on as it began.
    labelling: Carried,
}

impl Method for Scan {
    fn begin_epoch(&mut self, encoder: &mut Encoder, epoch: &Epoch<'_>) -> Result<Vec<u32>, MethodError> {
        if epoch.number == 0 {
            let features = epoch.features(encoder)?;
            let found = nearest_neighbours(&features, encoder.dim, self.settings.neighbours);
            *self.neighbours = found.into_iter().map(|i| i as f32).collect::<Vec<_>>().into();
        }
        self.labelling[0] = f32::from(epoch.number + self.settings.self_label_epochs >= epoch.of);
        Ok(epoch.shuffled())
    }

    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        if self.labelling[0] > 0.0 {
            self.label(encoder, batch, pass)
        } else {
            self.pair(encoder, batch, pass)
        }
    }
}

impl Scan {
    /// Images with a random neighbour each.
    fn pair(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let n = batch.len();
        let mut stream = batch.stream.child("neighbour");
        let k = self.settings.neighbours;
        let draw = |i: &u32| self.neighbours[*i as usize * k + stream.below(k)] as u32;
        let partners: Vec<u32> = batch.indices.iter().map(draw).collect();

        let mut views = batch.map(2, encoder.input, pass);
        let half = views.data.len() / 2;
        let (first, second) = views.data.split_at_mut(half);
        batch.view_into("image", first);
        let streams = batch.stream.child("partner");
        batch.augmenter.augment_batch(batch.images, &partners, &streams, second);

        let logits = forward(&mut [encoder, &mut self.head], views, pass);
        let metrics = self.metrics(&logits.data, 0.0);
        let clusters = self.settings.clusters;
        let (anchors, neighbours) = logits.data.split_at(n * clusters);
        let inputs = [anchors, neighbours].map(|part| (part.to_vec(), (n, clusters)));
        let (loss, gradients) = value_and_grads(inputs, |[a, b]| scan(a, b, self.settings.entropy_weight))?;
        backward(
            &mut [encoder, &mut self.head],
            gradient(2 * n, gradients.concat()),
            pass,
        );
        Ok(StepOutcome { loss, metrics })
    }

    /// Confident images with their own labels.
    fn label(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let clusters = self.settings.clusters;
        let mut judging = pass.no_grad();
        judging.mode = Mode::Eval;
        let plain = batch.plain(encoder, pass);
        let judged = forward(&mut [encoder, &mut self.head], plain, &mut judging);
        let sure = probabilities(&judged.data, clusters, 1.0);
        let labels: Vec<usize> = argmaxes(&sure, clusters).collect();
        let confident: Vec<bool> = sure
            .chunks_exact(clusters)
            .zip(&labels)
            .map(|(row, label)| row[*label] >= self.settings.threshold)
            .collect();
        let mut sizes = vec![0usize; clusters];
        for (label, _) in labels.iter().zip(&confident).filter(|(_, confident)| **confident) {
            sizes[*label] += 1;
        }
        let weights: Vec<f32> = labels
            .iter()
            .zip(&confident)
            .map(|(label, confident)| if *confident { 1.0 / sizes[*label] as f32 } else { 0.0 })
            .collect();

        let view: FeatureMap = batch.view("image", encoder, pass);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let share = confident.iter().filter(|c| **c).count() as f32 / confident.len().max(1) as f32;
        let metrics = self.metrics(&judged.data, share);
        let (loss, [dlogits]) = value_and_grads([matrix(&logits)], |[logits]| {
            weighted_cross_entropy(logits, &labels, &weights)
        })?;
        backward(&mut [encoder, &mut self.head], gradient(logits.n, dlogits), pass);
        Ok(StepOutcome { loss, metrics })
    }

    fn metrics(&self, logits: &[f32], confident: f32) -> Vec<Metric> {
        let assigned = probabilities(logits, self.settings.clusters, 1.0);
        vec![
            Metric::certainty(&assigned, self.settings.clusters),
            Metric::cluster_entropy(&assigned, self.settings.clusters).at_least(0.15),
            Metric::new("confident", confident),
        ]
    }
}

tensors!(Scan: head, neighbours, labelling);
