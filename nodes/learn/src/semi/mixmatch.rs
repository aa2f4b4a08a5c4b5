//! MixMatch (Berthelot et al. 2019, 1905.02249): mixtures of labelled images and of sharpened guesses.
//!
//! The guess of an image is the mean of those of its two views, sharpened: `q_c^(1/T) / sum q^(1/T)` (eq. 6, 7). All views with their targets are
//! then mixed with others of the batch, `x' = l x1 + (1 - l) x2` and targets alike, with `l = max(b, 1 - b)` and `b ~ Beta(alpha, alpha)` once
//! for the batch (eq. 8 to 10). `L = CE` of the labelled mixtures `+ w(t)` mean squared difference of the unlabelled ones' probabilities
//! (eq. 2 to 5). In the paper `T` = .5, `alpha` = .75, weight 75 for CIFAR-10.
//!
//! Trap: the squared difference is bounded, so a large weight is needed, and it must rise.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup};
use super::student::{Student, WEAK};
use super::{SecondView, SemiMethod, Settings, common, semi_settings};
use crate::layers::{FeatureMap, tensors};
use crate::losses::consistency;
use crate::pseudo::sharpen;
use crate::settings::{ABOVE_ZERO, TEMPERATURE};
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters.
    pub struct MixmatchSettings {
        /// What sharpens guesses (`T`).
        temperature: f32 = 0.5, in TEMPERATURE;
        /// How much is mixed (`alpha`): near 0 hardly, 1 evenly.
        alpha: f32 = 0.75, in ABOVE_ZERO;
    } common {
        ratio: 1,
        weight: 75.0,
        ramp: 0.015_625,
        ema: 0.999,
    }
}

impl Settings for MixmatchSettings {
    common!();

    fn name(&self) -> &'static str {
        "mixmatch"
    }

    fn second_view(&self) -> SecondView {
        SecondView::Any
    }

    /// Both views forward for the guess, and once more, mixed, forward and backward.
    fn cost(&self) -> f64 {
        1.0 + self.ratio as f64 * 2.0 * (1.0 + 1.0 / 3.0)
    }

    fn advice(&self) -> &'static str {
        "lower `semi.weight` or raise `semi.ramp`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(Mixmatch { settings: self.clone() })
    }
}

struct Mixmatch {
    settings: MixmatchSettings,
}

impl Mixmatch {
    /// The mean of two guesses, sharpened.
    fn sharpened(&self, first: &[f32], second: &[f32], classes: usize) -> Vec<f32> {
        let mut mean: Vec<f32> = first.iter().zip(second).map(|(a, b)| (a + b) / 2.0).collect();
        for row in mean.chunks_exact_mut(classes) {
            sharpen(row, self.settings.temperature);
        }
        mean
    }
}

/// `l` times each row and `1 - l` times the one whose place `order` gives.
fn mixed(rows: &[f32], width: usize, order: &[u32], l: f32) -> Vec<f32> {
    let pairs = rows.chunks_exact(width).zip(order);
    pairs
        .flat_map(|(row, other)| {
            let other = &rows[*other as usize * width..][..width];
            row.iter().zip(other).map(move |(a, b)| l * a + (1.0 - l) * b)
        })
        .collect()
}

impl SemiMethod for Mixmatch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let weight = self.settings.common().weight_at(batch.progress);
        let second = batch.second.as_ref().unwrap_or(&batch.weak);
        let classes = student.classifier.classes;
        let (a, b) = (student.guess(&batch.weak), student.guess(second));
        let guess = self.sharpened(&a, &b, classes);

        let (n, shape) = (batch.labelled.n + batch.weak.n + second.n, batch.labelled.shape);
        let alpha = self.settings.alpha;
        let drawn = batch.stream.child("mixed").beta(alpha, alpha);
        let (l, order) = (drawn.max(1.0 - drawn), batch.stream.child("order").permutation(n));
        let views = [&batch.labelled.data[..], &batch.weak.data, &second.data].concat();
        let views = mixed(&views, shape.len(), &order, l);
        let targets = mixed(&[&batch.targets[..], &guess, &guess].concat(), classes, &order, l);

        let (labels, guesses) = targets.split_at(batch.labelled.n * classes);
        let (first, rest) = views.split_at(batch.labelled.n * shape.len());
        let views = [(batch.labelled.n, first), (batch.weak.n + second.n, rest)];
        let views = views.map(|(n, view)| FeatureMap::new(n, shape, view.to_vec()));
        let seen = student.look(&views.each_ref());
        let guessed = Guesses::soft(&guess, classes, |_, _| 1.0);
        student.descend(seen, labels, WEAK, weight, guessed, |logits| {
            consistency(logits, guesses)
        })
    }
}

tensors!(Mixmatch:);
