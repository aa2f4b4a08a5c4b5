//! What a semi-supervised training shows: how many of its guesses count, how many of them are right, and of which classes they are.
//!
//! A training is told in twenty parts, as a pre-training is in epochs. True classes are looked at to show progress; nothing that is trained
//! or kept depends on them.

use std::collections::BTreeMap;

use super::epoch::EpochOutcome;
use crate::data::Label;
use crate::device::Device;
use crate::layers::{Carried, Role, Tensors, tensors};
use crate::methods::MethodError;
use crate::semi::SemiOutcome;

/// Parts of a training.
const PARTS: usize = 20;

/// Guesses for each class below which nothing is said of a collapse.
const TELLING: usize = 16;

/// The share of the training that classes are given to appear in the guesses.
const YOUNG: f32 = 0.4;

/// Guesses of fewer classes than this share of the labelled images' (beyond the first), as exp of the entropy, have collapsed.
const FEW: f32 = 0.2;

/// Sums over the part of a training that is under way.
pub(super) struct GuessMonitor {
    /// Steps, loss, unlabelled loss, guesses, sum of their weights, sums of the weights of those whose label is known and of the right ones among them.
    sums: Carried,
    /// Guesses of each class, whether they count or not.
    guessed: Carried,
    /// Classes of the labelled images, as exp of their entropy.
    labelled_classes: f32,
}

tensors!(GuessMonitor: sums, guessed);

impl GuessMonitor {
    /// Nothing seen; `targets`, `[labelled][classes]`, are the labelled images'.
    pub(super) fn new(targets: &[f32], classes: usize) -> Self {
        let mut counts = vec![0.0; classes];
        for row in targets.chunks_exact(classes) {
            counts.iter_mut().zip(row).for_each(|(count, t)| *count += t);
        }
        Self {
            sums: Carried::zeros(&[7]),
            guessed: Carried::zeros(&[classes]),
            labelled_classes: effective(&counts),
        }
    }

    /// Takes in a step.
    pub(super) fn add(&mut self, outcome: &SemiOutcome, truths: &[Label]) {
        let kept: f32 = outcome.weights.iter().sum();
        let rows = outcome.guessed.iter().zip(truths).zip(&outcome.weights);
        let known = rows.filter_map(|((guess, truth), weight)| Some((*guess == usize::from((*truth)?), weight)));
        let (judged, right) = known.fold((0.0, 0.0), |(judged, right), (is_right, weight)| {
            (judged + weight, if is_right { right + weight } else { right })
        });
        let guesses = outcome.guessed.len() as f32;
        let step = [1.0, outcome.loss, outcome.unlabelled, guesses, kept, judged, right];
        self.sums.iter_mut().zip(step).for_each(|(sum, value)| *sum += value);
        outcome.guessed.iter().for_each(|class| self.guessed[*class] += 1.0);
    }

    /// What the part showed that ends with `step` (from 0) of `steps`, if one does; another begins.
    ///
    /// # Errors
    /// If the guesses have collapsed onto few classes; `advice` says what to change.
    pub(super) fn finish(
        &mut self,
        (step, steps): (usize, usize),
        gap: impl FnOnce() -> f32,
        advice: &'static str,
    ) -> Result<Option<EpochOutcome>, MethodError> {
        let part = |step: usize| step * PARTS / steps.max(1);
        if part(step + 1) == part(step) {
            return Ok(None);
        }
        let [count, loss, unlabelled, guesses, kept, judged, right] = std::array::from_fn(|i| self.sums[i]);
        let share = |part: f32, of: f32| if of > 0.0 { part / of } else { 0.0 };
        let classes = effective(&self.guessed);
        let least = 1.0 + FEW * (self.labelled_classes - 1.0);
        let grown = (step + 1) as f32 >= YOUNG * steps as f32;
        if grown && guesses >= (TELLING * self.guessed.len()) as f32 && classes < least {
            return Err(MethodError::Collapsed {
                epoch: part(step + 1),
                metric: "guessed_classes".into(),
                value: classes,
                least,
                advice,
            });
        }
        let mut metrics = BTreeMap::from([
            ("unlabelled_loss".to_owned(), share(unlabelled, count)),
            ("kept".to_owned(), share(kept, guesses)),
            ("guessed_classes".to_owned(), classes),
            ("ema_gap".to_owned(), gap()),
        ]);
        // Where no guess can be judged, nothing is said of how many are right.
        if judged > 0.0 || kept == 0.0 {
            metrics.insert("precision".to_owned(), share(right, judged));
        }
        // Images of classes that the labelled ones do not have are among these: a pool with foreign classes shows here.
        if judged < kept {
            metrics.insert("kept_unknown".to_owned(), share(kept - judged, kept));
        }
        for (class, count) in self.guessed.iter().enumerate() {
            metrics.insert(format!("guessed.{class}"), share(*count, guesses));
        }
        let outcome = EpochOutcome {
            loss: share(loss, count),
            metrics,
        };
        self.sums.fill(0.0);
        self.guessed.fill(0.0);
        Ok(Some(outcome))
    }
}

/// Exp of the entropy of counts: as many classes as are used, if they are used alike.
fn effective(counts: &[f32]) -> f32 {
    let sum: f32 = counts.iter().sum();
    let shares = counts
        .iter()
        .map(|count| count / sum.max(f32::MIN_POSITIVE))
        .filter(|p| *p > 0.0);
    shares.map(|p| -p * p.ln()).sum::<f32>().exp()
}

/// How far the average of the weights is from the weights: the distance, as a share of their length.
pub(super) fn distance(trained: &mut dyn Tensors, average: &mut dyn Tensors) -> f32 {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    trained.entries("", &mut here);
    average.entries("", &mut there);
    let (mut apart, mut length) = (0.0f64, 0.0f64);
    for (here, there) in here.iter().zip(&there).filter(|(here, _)| here.role != Role::Buffer) {
        for (a, b) in here.value.iter().zip(&there.value[..]) {
            apart += f64::from(a - b).powi(2);
            length += f64::from(*a).powi(2);
        }
    }
    (apart / length.max(f64::MIN_POSITIVE)).sqrt() as f32
}

/// `to` moves towards `trained` by `1 - keep`; batch norms' running statistics are copied, as those of an average would be of no network.
pub(super) fn follow(to: &mut dyn Tensors, trained: &mut dyn Tensors, keep: f32, device: &dyn Device) {
    let (mut source, mut target) = (Vec::new(), Vec::new());
    trained.entries("", &mut source);
    to.entries("", &mut target);
    for (target, source) in target.iter_mut().zip(&source) {
        let keep = if source.role == Role::Buffer { 0.0 } else { keep };
        device.average(target.value, source.value, keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(guess: impl Fn(usize) -> usize) -> Result<Option<EpochOutcome>, MethodError> {
        watched_with(guess, |_| true)
    }

    fn watched_with(
        guess: impl Fn(usize) -> usize,
        known: impl Fn(u16) -> bool,
    ) -> Result<Option<EpochOutcome>, MethodError> {
        let targets: Vec<f32> = (0..100).map(|i| if i % 10 == i / 10 { 1.0 } else { 0.0 }).collect();
        let mut monitor = GuessMonitor::new(&targets, 10);
        let outcome = SemiOutcome {
            loss: 2.0,
            unlabelled: 1.0,
            guessed: (0..200).map(guess).collect(),
            weights: (0..200).map(|i| (i % 2) as f32).collect(),
        };
        let truths: Vec<Label> = (0..200).map(|i| Some(i % 10).filter(|i| known(*i))).collect();
        monitor.add(&outcome, &truths);
        monitor.finish((9, 20), || 0.5, "raise `semi.threshold`")
    }

    #[test]
    fn guesses_of_few_classes_end_the_training_and_name_the_knob() {
        let message = watched(|i| i % 2).err().map(|e| e.to_string()).unwrap_or_default();
        for part in ["guessed_classes", "part 10", "raise `semi.threshold`"] {
            assert!(message.replace("epoch", "part").contains(part), "{message}");
        }
    }

    #[test]
    fn foreign_images_that_are_kept_are_counted() {
        // Kept are the odd ones; those of classes 5, 7 and 9 are of no class that is known.
        let shown = watched_with(|i| i % 10, |class| class < 5).expect("healthy");
        let metrics = shown.expect("a part ends").metrics;
        assert_eq!((metrics["kept_unknown"], metrics["precision"]), (0.6, 1.0));
    }

    #[test]
    fn healthy_guesses_are_told_by_share_and_precision() {
        let shown = watched(|i| i % 10).expect("healthy").expect("a part ends");
        let of = |name: &str| shown.metrics[name];
        assert_eq!((of("kept"), of("precision"), shown.loss), (0.5, 1.0, 2.0));
        assert!(!shown.metrics.contains_key("kept_unknown"), "all classes are known");
        assert!((of("guessed_classes") - 10.0).abs() < 1e-3 && (of("guessed.3") - 0.1).abs() < 1e-6);
    }
}
