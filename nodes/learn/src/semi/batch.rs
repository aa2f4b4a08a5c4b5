//! What a semi-supervised method is given in a step, and what it says of it.

use crate::layers::FeatureMap;
use crate::metrics::argmax;
use crate::rng::Stream;

/// What a method is built from.
pub struct SemiSetup<'a> {
    /// Classes.
    pub classes: usize,
    /// Length of the encoder's feature vectors.
    pub features: usize,
    /// Labelled images in all.
    pub labelled: usize,
    /// Unlabelled images in all.
    pub pool: usize,
    /// Derives the heads' initial weights.
    pub stream: &'a Stream,
}

/// Views of the images of one step.
pub struct SemiBatch {
    /// Views of labelled images.
    pub labelled: FeatureMap,
    /// Their targets, `[labelled][classes]`.
    pub targets: Vec<f32>,
    /// Their places among the labelled images.
    pub labelled_places: Vec<u32>,
    /// Weak views of unlabelled images.
    pub weak: FeatureMap,
    /// Second views of the same images, if the method wants any.
    pub second: Option<FeatureMap>,
    /// Their places among the unlabelled images.
    pub places: Vec<u32>,
    /// The share of all steps that is done, in `[0, 1)`.
    pub progress: f32,
    /// Derived from seed and step.
    pub stream: Stream,
}

impl SemiBatch {
    /// The views that go through the network together.
    pub fn views(&self) -> Vec<&FeatureMap> {
        [&self.labelled, &self.weak].into_iter().chain(&self.second).collect()
    }
}

/// What a step showed.
#[derive(Clone, Debug, PartialEq)]
pub struct SemiOutcome {
    /// The whole loss.
    pub loss: f32,
    /// The unlabelled images' part, before its weight.
    pub unlabelled: f32,
    /// The likeliest class of each unlabelled image.
    pub guessed: Vec<usize>,
    /// How much each guess counted, in `[0, 1]`.
    pub weights: Vec<f32>,
}

/// What is guessed of unlabelled images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guesses {
    /// `[images][classes]`, rows sum to one.
    pub targets: Vec<f32>,
    /// The likeliest class of each.
    pub classes: Vec<usize>,
    /// How much each counts, in `[0, 1]`.
    pub weights: Vec<f32>,
}

impl Guesses {
    /// Distributions as they are, each with a weight that depends on its row and its likeliest class.
    pub(super) fn soft(probabilities: &[f32], classes: usize, weight: impl Fn(&[f32], usize) -> f32) -> Self {
        let rows = probabilities.chunks_exact(classes);
        let found: Vec<(usize, f32)> = rows
            .map(|row| {
                let class = argmax(row);
                (class, weight(row, class))
            })
            .collect();
        Self {
            targets: probabilities.to_vec(),
            classes: found.iter().map(|(class, _)| *class).collect(),
            weights: found.iter().map(|(_, weight)| *weight).collect(),
        }
    }

    /// The likeliest classes, weighted likewise.
    pub(super) fn hard(probabilities: &[f32], classes: usize, weight: impl Fn(&[f32], usize) -> f32) -> Self {
        let mut guesses = Self::soft(probabilities, classes, weight);
        for (row, class) in guesses.targets.chunks_exact_mut(classes).zip(&guesses.classes) {
            row.fill(0.0);
            row[*class] = 1.0;
        }
        guesses
    }

    /// What a step with these guesses showed.
    pub(super) fn outcome(self, loss: f32, unlabelled: f32) -> SemiOutcome {
        SemiOutcome {
            loss,
            unlabelled,
            guessed: self.classes,
            weights: self.weights,
        }
    }

    /// Targets times weights: the mean cross-entropy with these is `1/n sum_i w_i CE_i`, over all images and not only those that count.
    pub fn weighted(&self) -> Vec<f32> {
        let classes = self.targets.len() / self.weights.len().max(1);
        let mut targets = self.targets.clone();
        for (row, weight) in targets.chunks_exact_mut(classes.max(1)).zip(&self.weights) {
            row.iter_mut().for_each(|t| *t *= weight);
        }
        targets
    }
}

/// 1 from the threshold on, else 0.
pub(super) fn passes(confidence: f32, threshold: f32) -> f32 {
    if confidence >= threshold { 1.0 } else { 0.0 }
}
