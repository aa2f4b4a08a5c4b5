//! DeepCluster (Caron et al. 2018, 1807.05520): clusters of the features are the labels, again and again.
//!
//! Before each epoch: features of all images, PCA-whitened and of length one, k-means, a fresh head; then `L = CE(head(f(view)), cluster)` on
//! images drawn so that every cluster comes up alike.
//!
//! Traps (section 3.3): empty clusters are refilled ([`crate::clustering::kmeans`]), and the sampling keeps large clusters from winning. The
//! mutual information of the clusters of two epochs (`nmi`) should rise. A head that begins anew in each epoch needs steps to learn in: epochs of
//! some tens of steps at least, and a learning rate that does not fall (the paper's is constant): here the head's stays at its peak. The optimiser's
//! momentum is forgotten with the head.

use super::batch::{Batch, Epoch, MethodConstraints, Setup};
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::clustering::{kmeans, pca_whiten};
use crate::layers::{Carried, Linear, Pass, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::{argmaxes, nmi, normalised};
use crate::rng::Stream;
use crate::settings::{SEVERAL, SOME_ROUNDS, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has 10,000 clusters for a thousand classes and 256 components.
    pub struct DeepClusterSettings {
        /// Clusters; 5 to 10 for each class that is expected.
        clusters: usize = 60, in SEVERAL;
        /// Directions that are kept before clustering.
        components: usize = 64, in WIDTH;
        /// Rounds of k-means at most.
        iterations: usize = 20, in SOME_ROUNDS;
    }
}

impl Settings for DeepClusterSettings {
    fn name(&self) -> &'static str {
        "deep-cluster"
    }

    fn views(&self) -> f64 {
        1.0 + 1.0 / 3.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or change `clusters`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        if self.components > constraints.features {
            let message = format!(
                "{} found, but the features have only {} dimensions",
                self.components, constraints.features
            );
            return Err(MethodError::setting("components", message));
        }
        constraints.check_images("clusters", self.clusters)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        Ok(Box::new(DeepCluster {
            settings: self.clone(),
            head: self.head(setup.encoder.dim, &setup.stream),
            clusters: Carried::zeros(&[setup.images.n()]),
            agreement: Carried::zeros(&[1]),
        }))
    }
}

impl DeepClusterSettings {
    fn head(&self, dim: usize, stream: &Stream) -> Linear {
        Linear::new(dim, self.clusters, true, &mut stream.child("head"))
    }
}

struct DeepCluster {
    settings: DeepClusterSettings,
    head: Linear,
    /// Each image's cluster in this epoch.
    clusters: Carried,
    /// NMI of this epoch's clusters with the last one's.
    agreement: Carried,
}

impl Method for DeepCluster {
    fn begin_epoch(&mut self, encoder: &mut Encoder, epoch: &Epoch<'_>) -> Result<Vec<u32>, MethodError> {
        let DeepClusterSettings {
            clusters,
            components,
            iterations,
        } = self.settings;
        let mut stream = epoch.stream.clone();
        let features = epoch.features(encoder)?;
        let white = pca_whiten(&features, encoder.dim, components, &mut stream);
        let dim = white.len() / epoch.images.n();
        let found = kmeans(&normalised(&white, dim), dim, clusters, iterations, &mut stream).of;
        let before: Vec<usize> = self.clusters.iter().map(|c| *c as usize).collect();
        self.agreement[0] = if epoch.number > 0 {
            nmi(&before, &found) as f32
        } else {
            0.0
        };
        *self.clusters = found.iter().map(|c| *c as f32).collect::<Vec<_>>().into();
        self.head = self.settings.head(encoder.dim, &epoch.stream);
        Ok(evenly(&found, clusters, &mut stream))
    }

    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let labels: Vec<usize> = batch
            .indices
            .iter()
            .map(|i| self.clusters[*i as usize] as usize)
            .collect();
        let view = batch.view("view", encoder, pass);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let guesses = argmaxes(&logits.data, self.settings.clusters);
        let right = guesses.zip(&labels).filter(|(guess, label)| guess == *label).count();
        let (loss, [dlogits]) = value_and_grads([matrix(&logits)], |[logits]| cross_entropy(logits, &labels, 0.0))?;
        backward(&mut [encoder, &mut self.head], gradient(logits.n, dlogits), pass);
        let used = self.clusters.iter().map(|c| *c as usize);
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::accuracy(right, labels.len()),
                Metric::new("nmi", self.agreement[0]),
                Metric::evenness(used, self.settings.clusters).at_least(0.2),
            ],
        })
    }

    fn unscheduled(&self) -> &'static [&'static str] {
        &["head"]
    }

    fn renewed(&self) -> &'static [&'static str] {
        &["head"]
    }
}

/// As many images as there are, every cluster that has any coming up equally often, in random order.
fn evenly(of: &[usize], clusters: usize, stream: &mut Stream) -> Vec<u32> {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); clusters];
    for (i, c) in of.iter().enumerate() {
        members[*c].push(i as u32);
    }
    members.retain(|m| !m.is_empty());
    members.iter_mut().for_each(|m| stream.shuffle(m));
    let each = of.len().div_ceil(members.len().max(1));
    let mut order: Vec<u32> = members
        .iter()
        .flat_map(|m| m.iter().cycle().take(each))
        .copied()
        .collect();
    stream.shuffle(&mut order);
    order.truncate(of.len());
    order
}

tensors!(DeepCluster: head, clusters, agreement);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_clusters_come_up_as_often_as_large_ones() {
        let of: Vec<usize> = (0..100).map(|i| if i < 90 { 0 } else { 2 }).collect();
        let order = evenly(&of, 3, &mut Stream::new(1, "evenly"));
        assert_eq!(order.len(), 100);
        assert_eq!(order.iter().filter(|i| **i >= 90).count(), 50);
    }
}
