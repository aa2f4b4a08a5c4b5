//! Pseudo-Label (Lee 2013): the network's own confident guesses are labels of the same views.
//!
//! `L_u = 1/n sum_b 1[max p_b >= tau] CE(argmax p_b, p_b)`, with a weight that rises with time, so that the first, poor guesses count little. The
//! paper has no threshold; .95 and a rise over .4 of the training are those of the benchmarks since (Oliver et al. 2018, 1804.09170; Wang et
//! al. 2022, 2208.07204).
//!
//! Trap: it confirms itself; nothing but the threshold holds it back.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::student::{LABELLED, Student, WEAK};
use super::{RATIO, SecondView, SemiMethod, Settings, common};
use crate::layers::tensors;
use crate::losses::{fixmatch_unlabelled, soft_cross_entropy, value_and_grads, value_of, weighted_sum};
use crate::settings::{BELOW_ONE, SHARE, settings};
use crate::train::TrainError;

settings! {
    /// Hyper-parameters.
    pub struct PseudoLabelSettings {
        /// Probability from which on a guess counts.
        threshold: f32 = 0.95, in SHARE;
        /// Unlabelled images for each labelled one.
        ratio: usize = 1, in RATIO;
        /// What the unlabelled loss counts at most.
        weight: f32 = 1.0, in 0.0..;
        /// Share of the training over which that rises from 0.
        ramp: f32 = 0.4, in SHARE;
        /// How much of the average of the weights stays in a step.
        ema: f32 = 0.999, in BELOW_ONE;
    }
}

impl Settings for PseudoLabelSettings {
    common!();

    fn name(&self) -> &'static str {
        "pseudo-label"
    }

    fn second_view(&self) -> SecondView {
        SecondView::None
    }

    fn advice(&self) -> &'static str {
        "raise `semi.threshold` or `semi.ramp`, or lower `semi.weight`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(PseudoLabel { settings: self.clone() })
    }
}

struct PseudoLabel {
    settings: PseudoLabelSettings,
}

impl SemiMethod for PseudoLabel {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let (weight, threshold) = (
            self.settings.common().weight_at(batch.progress),
            self.settings.threshold,
        );
        let seen = student.look(&batch.views());
        let guesses = Guesses::hard(&seen.probabilities(WEAK), seen.classes, |row, class| {
            passes(row[class], threshold)
        });
        let mut unlabelled = 0.0;
        let (loss, [labelled, weak]) = value_and_grads([seen.input(LABELLED), seen.input(WEAK)], |[l, u]| {
            let own = fixmatch_unlabelled(u, seen.logits_of(WEAK), threshold)?;
            unlabelled = value_of(&own);
            weighted_sum(soft_cross_entropy(l, &batch.targets)?, own, weight)
        })?;
        let gradient = seen.gradient(&[(LABELLED, labelled), (WEAK, weak)]);
        student.learn(seen, gradient, None);
        Ok(SemiOutcome {
            loss,
            unlabelled,
            guessed: guesses.classes,
            weights: guesses.weights,
        })
    }
}

tensors!(PseudoLabel:);
