//! The examples of a fit's steps: which images, their views and their targets.

use std::sync::Arc;

use super::{Examples, Pool, draw};
use crate::augment::Augmenter;
use crate::data::Label;
use crate::layers::{BufferPool, FeatureMap, MapShape, Mode, Pass};
use crate::rng::Stream;
use crate::semi::{SecondView, SemiBatch};

/// Makes the examples of any step, from the step's number alone.
pub(super) struct Feed<'a> {
    pub(super) labelled: Examples<'a>,
    pub(super) pseudo: Option<Examples<'a>>,
    /// Unlabelled images, with how many of them go with a labelled one and what is to be seen of them.
    pub(super) unlabelled: Option<(Pool<'a>, usize, SecondView)>,
    pub(super) augmenter: &'a Augmenter,
    /// Examples of a step.
    pub(super) batch: usize,
    /// Those of them that are truly labelled.
    pub(super) truths: usize,
    pub(super) classes: usize,
    pub(super) label_smoothing: f32,
    /// Steps in all.
    pub(super) steps: usize,
    pub(super) input: MapShape,
    pub(super) stream: Stream,
    pub(super) buffers: Arc<BufferPool>,
}

/// The examples of a step.
pub(super) enum Prepared {
    /// Views and their targets, `[batch][classes]`.
    Labelled(FeatureMap, Vec<f32>),
    /// Labelled and unlabelled views, and the true classes of the unlabelled ones: for the monitor, never for the method.
    Semi(Box<SemiBatch>, Vec<Label>),
}

impl Feed<'_> {
    /// What a step learns from.
    pub(super) fn prepare(&self, step: usize) -> Prepared {
        match &self.unlabelled {
            None => {
                let (x, targets, _) = self.examples(step);
                Prepared::Labelled(x, targets)
            }
            Some((pool, ratio, second)) => {
                let (batch, truths) = self.semi_batch(step, pool, *ratio, *second);
                Prepared::Semi(Box::new(batch), truths)
            }
        }
    }

    /// Views of a step's examples, their targets, `[batch][classes]`, and the places of the labelled ones.
    fn examples(&self, step: usize) -> (FeatureMap, Vec<f32>, Vec<u32>) {
        let mut x = Pass::recording(Mode::Train, &self.buffers).map(self.batch, self.input);
        let mut targets = vec![0.0f32; self.batch * self.classes];
        let (x_true, x_pseudo) = x.data.split_at_mut(self.truths * self.input.len());
        let (t_true, t_pseudo) = targets.split_at_mut(self.truths * self.classes);
        let places = self.fill(step, &self.labelled, "labelled", x_true, t_true);
        if let Some(pseudo) = &self.pseudo {
            self.fill(step, pseudo, "pseudo", x_pseudo, t_pseudo);
        }
        let smoothing = self.label_smoothing;
        let smooth = |t: &mut f32| *t = *t * (1.0 - smoothing) + smoothing / self.classes as f32;
        targets.iter_mut().for_each(smooth);
        let mixing = self.stream.child("mixing").index(step as u64);
        self.augmenter.mix_batch(&mut x.data, &mut targets, &mixing);
        (x, targets, places)
    }

    /// A step's examples of one kind: views into `x`, targets into `targets`; which they are.
    fn fill(&self, step: usize, examples: &Examples<'_>, kind: &str, x: &mut [f32], targets: &mut [f32]) -> Vec<u32> {
        let stream = self.stream.child(kind);
        let count = targets.len() / self.classes;
        let drawn = draw(&stream.child("order"), examples.indices.len(), step * count, count);
        let images: Vec<u32> = drawn.iter().map(|i| examples.indices[*i as usize]).collect();
        let views = stream.child("steps").index(step as u64).child("views");
        self.augmenter.augment_batch(examples.images, &images, &views, x);
        for (i, target) in drawn.iter().zip(targets.chunks_exact_mut(self.classes)) {
            target.copy_from_slice(&examples.targets[*i as usize * self.classes..][..self.classes]);
        }
        drawn
    }

    /// Labelled views as ever, and views of the next unlabelled images.
    fn semi_batch(&self, step: usize, pool: &Pool<'_>, ratio: usize, second: SecondView) -> (SemiBatch, Vec<Label>) {
        let (labelled, targets, labelled_places) = self.examples(step);
        let stream = self.stream.child("unlabelled");
        let count = ratio * self.batch;
        let places = draw(&stream.child("order"), pool.indices.len(), step * count, count);
        let images: Vec<u32> = places.iter().map(|i| pool.indices[*i as usize]).collect();
        let stream = stream.child("steps").index(step as u64);
        let view = |augmenter: &Augmenter, name: &str| {
            let mut view = Pass::recording(Mode::Train, &self.buffers).map(count, self.input);
            augmenter.augment_batch(pool.images, &images, &stream.child(name), &mut view.data);
            view
        };
        let strong = pool.strong.unwrap_or(self.augmenter);
        let batch = SemiBatch {
            labelled,
            targets,
            labelled_places,
            weak: view(self.augmenter, "weak"),
            second: (second != SecondView::None).then(|| view(strong, "second")),
            places,
            progress: step as f32 / self.steps.max(1) as f32,
            stream: stream.child("method"),
        };
        let truths = images.iter().map(|i| pool.images.labels()[*i as usize]).collect();
        (batch, truths)
    }
}
