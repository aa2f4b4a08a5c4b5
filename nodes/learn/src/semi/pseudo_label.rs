//! Pseudo-Label (Lee 2013): the network's own confident guesses are labels of the same views.
//!
//! `L_u = 1/n sum_b 1[max p_b >= tau] CE(argmax p_b, p_b)`, with a weight that rises with time, so that the first, poor guesses count little. The
//! paper has no threshold; .95 and a rise over .4 of the training are those of the benchmarks since (Oliver et al. 2018, 1804.09170; Wang et
//! al. 2022, 2208.07204).
//!
//! Trap: it confirms itself; nothing but the threshold holds it back.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::student::{Student, WEAK};
use super::{SecondView, SemiMethod, Settings, common, semi_settings};
use crate::layers::tensors;
use crate::losses::fixmatch_unlabelled;
use crate::settings::SHARE;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters.
    pub struct PseudoLabelSettings {
        /// Probability from which on a guess counts.
        threshold: f32 = 0.95, in SHARE;
    } common {
        ratio: 1,
        weight: 1.0,
        ramp: 0.4,
        ema: 0.999,
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
        let own = seen.logits_of(WEAK).to_vec();
        student.descend(seen, &batch.targets, WEAK, weight, guesses, |logits| {
            fixmatch_unlabelled(logits, &own, threshold)
        })
    }
}

tensors!(PseudoLabel:);
