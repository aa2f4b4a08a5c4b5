//! Pre-training methods, each a file of its own that reads like its paper, found by name in [`MethodSettings`].
//!
//! A method takes a batch of training images, makes the views that it needs, runs the encoder and its own heads, and leaves
//! gradients in both. The training loop ([`crate::train::Pretraining`]) owns everything else: order, optimiser, schedule.

mod rotation;
mod simclr;

use serde::{Deserialize, Serialize};

pub use rotation::RotationSettings;
pub use simclr::SimclrSettings;

use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Images;
use crate::layers::{FeatureMap, MapShape, Pass, Tensors};
use crate::losses::LossError;
use crate::rng::Stream;

/// A method with its hyper-parameters. A new method is a file and a line here and in [`MethodSettings::settings`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum MethodSettings {
    /// Contrast two views of each image against all others.
    Simclr(SimclrSettings),
    /// Tell by how many quarter turns each image was rotated.
    Rotation(RotationSettings),
}

impl MethodSettings {
    /// The settings behind the name.
    pub fn settings(&self) -> &dyn Settings {
        match self {
            Self::Simclr(settings) => settings,
            Self::Rotation(settings) => settings,
        }
    }
}

/// A method's hyper-parameters: what can be said of them before training, and how the method is built.
pub trait Settings {
    /// The name written in workflows.
    fn name(&self) -> &'static str;
    /// Images that go through the encoder, forward and backward, for each training image.
    fn views(&self) -> usize;
    /// Whether the hyper-parameters make sense for these images and batches; the key of the culprit otherwise.
    fn check(&self, batch: usize, image: MapShape) -> Result<(), MethodError>;
    /// The method with fresh heads on features of `encoder.dim` values.
    fn build(&self, encoder: &Encoder, stream: &Stream) -> Box<dyn Method>;
}

/// A method in training; its tensors are its heads and other state of its own.
pub trait Method: Tensors + Send {
    /// Forward and backward pass of one batch: adds to the gradients of the encoder and of the method's own parameters.
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError>;
}

/// What one step showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// The loss.
    pub loss: f32,
    /// Mean over the dimensions of the deviation of L2-normalised outputs: near `1/sqrt(dim)` in health, 0 when collapsed.
    /// For methods with a classification head, the share of right answers instead.
    pub health: f32,
}

/// Why a method cannot run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MethodError {
    /// A hyper-parameter is out of range.
    #[error("`{key}`: {message}")]
    Setting {
        /// The hyper-parameter.
        key: &'static str,
        /// What was found and what is expected.
        message: String,
    },
    /// The loss refused its inputs.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The loss is not a number any more.
    #[error(
        "the loss became {loss} in step {step}: training diverged; lower `lr`, raise `warmup_epochs` or raise the temperature"
    )]
    Diverged {
        /// The loss.
        loss: f32,
        /// The step, from 0.
        step: usize,
    },
}

/// The images of one step, and the random streams of their views.
pub struct Batch<'a> {
    /// All training images.
    pub images: &'a Images,
    /// Those of this step.
    pub indices: &'a [u32],
    /// Makes a view of an image.
    pub augmenter: &'a Augmenter,
    /// Derived from seed and step.
    pub stream: Stream,
}

impl Batch<'_> {
    /// One view of every image, `[indices][h][w][c]`, normalised; views with different names are independent.
    pub fn view_into(&self, name: &str, out: &mut [f32]) {
        self.augmenter
            .augment_batch(self.images, self.indices, &self.stream.child(name), out);
    }

    /// A feature map for `copies` views of the batch, unfilled.
    pub fn map(&self, copies: usize, shape: MapShape, pass: &Pass) -> FeatureMap {
        pass.map(copies * self.indices.len(), shape)
    }
}

/// Mean over the dimensions of the standard deviation of the L2-normalised rows of `[n][dim]`.
fn embedding_deviation(rows: &[f32], dim: usize) -> f32 {
    let n = (rows.len() / dim).max(1) as f64;
    let (mut sum, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for row in rows.chunks_exact(dim) {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        for ((s, q), v) in sum.iter_mut().zip(&mut squares).zip(row) {
            let v = f64::from(*v) / norm;
            *s += v;
            *q += v * v;
        }
    }
    let deviations = sum
        .iter()
        .zip(&squares)
        .map(|(s, q)| (q / n - (s / n).powi(2)).max(0.0).sqrt());
    (deviations.sum::<f64>() / dim as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_deviation_tells_collapse_from_health() {
        let mut stream = Stream::new(1, "test");
        let healthy: Vec<f32> = (0..500 * 16).map(|_| stream.normal()).collect();
        assert!((embedding_deviation(&healthy, 16) - 0.25).abs() < 0.01);
        let collapsed: Vec<f32> = (0..500 * 16).map(|i| (i % 16) as f32).collect();
        assert!(embedding_deviation(&collapsed, 16) < 1e-5);
    }
}
