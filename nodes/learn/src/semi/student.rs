//! The network that is trained, as a semi-supervised method sees it.

use std::sync::Arc;

use super::batch::{Guesses, SemiBatch, SemiOutcome};
use crate::layers::{Buffer, BufferPool, FeatureMap, Layer, MapShape, Mode, Pass, Role, Tensors};
use crate::losses::{
    self, LossError, Traced, TracedScalar, soft_cross_entropy, value_and_grads, value_of, weighted_sum,
};
use crate::rng::Stream;
use crate::train::{Classifier, TrainError};

/// The network that is trained, and the average of its weights.
pub struct Student<'a> {
    /// Is trained.
    pub classifier: &'a mut Classifier,
    /// Follows it.
    pub average: &'a mut Classifier,
    /// How batch norm behaves.
    pub mode: Mode,
    /// Buffers of its passes.
    pub buffers: &'a Arc<BufferPool>,
    /// What layers such as dropout draw from.
    pub noise: Option<Stream>,
}

/// One recorded pass of several views.
pub(super) struct Seen {
    pub(super) pass: Pass,
    pub(super) features: FeatureMap,
    /// `[images of all views][classes]`.
    pub(super) logits: Vec<f32>,
    pub(super) classes: usize,
    /// Images of each view.
    counts: Vec<usize>,
}

impl Seen {
    /// The rows of `values`, `[images of all views][..]`, that are of a view.
    pub(super) fn rows_of<'v>(&self, values: &'v [f32], view: usize) -> &'v [f32] {
        let width = values.len() / self.counts.iter().sum::<usize>().max(1);
        let before: usize = self.counts[..view].iter().sum();
        &values[before * width..(before + self.counts[view]) * width]
    }

    /// A view's logits, `[images][classes]`.
    pub(super) fn logits_of(&self, view: usize) -> &[f32] {
        self.rows_of(&self.logits, view)
    }

    /// A view's logits as an input of a loss.
    pub(super) fn input(&self, view: usize) -> (Vec<f32>, (usize, usize)) {
        (self.logits_of(view).to_vec(), (self.counts[view], self.classes))
    }

    /// A view's class probabilities.
    pub(super) fn probabilities(&self, view: usize) -> Vec<f32> {
        losses::probabilities(self.logits_of(view), self.classes, 1.0)
    }

    /// Gradients of some views' logits, in order; those of the others are zero.
    pub(super) fn gradient(&self, of: &[(usize, Vec<f32>)]) -> Vec<f32> {
        let mut all = vec![0.0; self.logits.len()];
        for (view, gradient) in of {
            let from = self.counts[..*view].iter().sum::<usize>() * self.classes;
            all[from..from + gradient.len()].copy_from_slice(gradient);
        }
        all
    }
}

/// The place of each view in a pass of all of them.
pub(super) const LABELLED: usize = 0;
pub(super) const WEAK: usize = 1;
pub(super) const SECOND: usize = 2;

impl Student<'_> {
    /// One pass of all views together, which a backward pass follows.
    pub(super) fn look(&mut self, views: &[&FeatureMap]) -> Seen {
        let mut pass = Pass::recording(self.mode, self.buffers);
        if let Some(noise) = &self.noise {
            pass = pass.noisy(noise.clone());
        }
        let x = together(views, &pass);
        let features = self.classifier.encoder.forward(x, &mut pass);
        let logits = self.classifier.head.forward(features.clone(), &mut pass);
        Seen {
            pass,
            features,
            logits: logits.data.to_vec(),
            classes: self.classifier.classes,
            counts: views.iter().map(|view| view.n).collect(),
        }
    }

    /// Takes the gradient of the logits, and one of the features beside it, to the weights.
    pub(super) fn learn(&mut self, mut seen: Seen, dlogits: Vec<f32>, dfeatures: Option<&[f32]>) {
        let n = seen.features.n;
        let dlogits = FeatureMap::new(n, MapShape::vector(seen.classes), dlogits);
        let back = self.classifier.head.backward(dlogits, &mut seen.pass, true);
        if let Some(mut gradient) = back {
            let beside = dfeatures.into_iter().flatten();
            gradient.data.iter_mut().zip(beside).for_each(|(to, more)| *to += more);
            self.classifier.encoder.backward(gradient, &mut seen.pass, false);
        }
    }

    /// Class probabilities of a view in a pass that no gradient follows, with the statistics of that view; the running ones stay.
    pub(super) fn guess(&mut self, view: &FeatureMap) -> Vec<f32> {
        guess_of(self.classifier, view, self.mode, self.buffers)
    }

    /// [`Student::guess`] of the average of the weights.
    pub(super) fn teacher_guess(&mut self, view: &FeatureMap) -> Vec<f32> {
        guess_of(self.average, view, self.mode, self.buffers)
    }

    /// The step that most methods take: cross-entropy of the labelled views, and of the second views with what `guess` makes of the logits
    /// of the weak ones, weighted by `weight`.
    pub(super) fn follow_guesses(
        &mut self,
        batch: &SemiBatch,
        weight: f32,
        guess: impl FnOnce(&Seen) -> Guesses,
    ) -> Result<SemiOutcome, TrainError> {
        let seen = self.look(&batch.views());
        let guesses = guess(&seen);
        let targets = guesses.weighted();
        self.descend(seen, &batch.targets, SECOND, weight, guesses, |logits| {
            soft_cross_entropy(logits, &targets)
        })
    }

    /// The step of methods of consistency: mean squared difference of the last of `views`' probabilities from `targets`, which count alike.
    /// The first of `views` is the labelled one.
    pub(super) fn agree_with(
        &mut self,
        batch: &SemiBatch,
        views: &[&FeatureMap],
        weight: f32,
        targets: impl FnOnce(&Seen) -> Vec<f32>,
    ) -> Result<SemiOutcome, TrainError> {
        let (seen, last) = (self.look(views), views.len() - 1);
        let guesses = Guesses::soft(&targets(&seen), seen.classes, |_, _| 1.0);
        let targets = guesses.targets.clone();
        self.descend(seen, &batch.targets, last, weight, guesses, |logits| {
            losses::consistency(logits, &targets)
        })
    }

    /// The end of a step: gradients of the cross-entropy of the labelled views with `labels`, and of `weight` times the `unlabelled` loss of
    /// the logits of `view`.
    pub(super) fn descend(
        &mut self,
        seen: Seen,
        labels: &[f32],
        view: usize,
        weight: f32,
        guesses: Guesses,
        unlabelled: impl FnOnce(Traced) -> Result<TracedScalar, LossError>,
    ) -> Result<SemiOutcome, TrainError> {
        let mut part = 0.0;
        let (loss, [dl, du]) = value_and_grads([seen.input(LABELLED), seen.input(view)], |[l, u]| {
            let unlabelled = unlabelled(u)?;
            part = value_of(&unlabelled);
            weighted_sum(soft_cross_entropy(l, labels)?, unlabelled, weight)
        })?;
        let gradient = seen.gradient(&[(LABELLED, dl), (view, du)]);
        self.learn(seen, gradient, None);
        Ok(guesses.outcome(loss, part))
    }
}

/// Views one after the other.
fn together(views: &[&FeatureMap], pass: &Pass) -> FeatureMap {
    let (n, shape) = (views.iter().map(|view| view.n).sum(), views[0].shape);
    let mut all = pass.map(n, shape);
    let mut at = 0;
    for view in views {
        all.data[at..at + view.data.len()].copy_from_slice(&view.data);
        at += view.data.len();
    }
    all
}

/// A forward pass that keeps nothing, not even running statistics.
fn guess_of(of: &mut Classifier, view: &FeatureMap, mode: Mode, buffers: &Arc<BufferPool>) -> Vec<f32> {
    let kept = statistics(of);
    let mut pass = Pass::recording(mode, buffers).no_grad();
    let features = of.encoder.forward(view.clone(), &mut pass);
    let logits = of.head.forward(features, &mut pass);
    restore(of, kept);
    losses::probabilities(&logits.data, of.classes, 1.0)
}

/// The running statistics of a network's batch norms.
fn statistics(of: &mut Classifier) -> Vec<Buffer> {
    let mut entries = Vec::new();
    of.entries("", &mut entries);
    let buffers = entries.iter().filter(|entry| entry.role == Role::Buffer);
    buffers.map(|entry| entry.value.clone()).collect()
}

/// The reverse of [`statistics`].
fn restore(of: &mut Classifier, statistics: Vec<Buffer>) {
    let mut entries = Vec::new();
    of.entries("", &mut entries);
    let buffers = entries.iter_mut().filter(|entry| entry.role == Role::Buffer);
    for (entry, values) in buffers.zip(statistics) {
        *entry.value = values;
    }
}
