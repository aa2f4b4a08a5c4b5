//! The examples of a fit's steps: which images, their views and their targets.

use std::sync::Arc;

use super::{Examples, draw};
use crate::augment::Augmenter;
use crate::layers::{BufferPool, FeatureMap, MapShape, Mode, Pass};
use crate::rng::Stream;

/// Makes the examples of any step, from the step's number alone.
pub(super) struct Feed<'a> {
    pub(super) labelled: Examples<'a>,
    pub(super) pseudo: Option<Examples<'a>>,
    pub(super) augmenter: &'a Augmenter,
    /// Examples of a step.
    pub(super) batch: usize,
    /// Those of them that are truly labelled.
    pub(super) truths: usize,
    pub(super) classes: usize,
    pub(super) label_smoothing: f32,
    pub(super) input: MapShape,
    pub(super) stream: Stream,
    pub(super) buffers: Arc<BufferPool>,
}

impl Feed<'_> {
    /// Views of a step's examples, and their targets, `[batch][classes]`.
    pub(super) fn examples(&self, step: usize) -> (FeatureMap, Vec<f32>) {
        let mut x = Pass::recording(Mode::Train, &self.buffers).map(self.batch, self.input);
        let mut targets = vec![0.0f32; self.batch * self.classes];
        let (x_true, x_pseudo) = x.data.split_at_mut(self.truths * self.input.len());
        let (t_true, t_pseudo) = targets.split_at_mut(self.truths * self.classes);
        self.fill(step, &self.labelled, "labelled", x_true, t_true);
        if let Some(pseudo) = &self.pseudo {
            self.fill(step, pseudo, "pseudo", x_pseudo, t_pseudo);
        }
        let smoothing = self.label_smoothing;
        let smooth = |t: &mut f32| *t = *t * (1.0 - smoothing) + smoothing / self.classes as f32;
        targets.iter_mut().for_each(smooth);
        (x, targets)
    }

    /// A step's examples of one kind: views into `x`, targets into `targets`.
    fn fill(&self, step: usize, examples: &Examples<'_>, kind: &str, x: &mut [f32], targets: &mut [f32]) {
        let stream = self.stream.child(kind);
        let count = targets.len() / self.classes;
        let drawn = draw(&stream.child("order"), examples.indices.len(), step * count, count);
        let images: Vec<u32> = drawn.iter().map(|i| examples.indices[*i as usize]).collect();
        let views = stream.child("steps").index(step as u64).child("views");
        self.augmenter.augment_batch(examples.images, &images, &views, x);
        for (i, target) in drawn.iter().zip(targets.chunks_exact_mut(self.classes)) {
            target.copy_from_slice(&examples.targets[*i as usize * self.classes..][..self.classes]);
        }
    }
}
