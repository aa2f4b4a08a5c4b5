//! FixMatch (Sohn et al. 2020, 2001.07685): a strong view of an image learns the guess of its weak view, if that is confident.
//!
//! `L_u = 1/(mu B) sum_b 1[max q_b >= tau] CE(argmax q_b, p(strong(u_b)))` with `q_b = p(weak(u_b))`, which takes no gradient (eq. 4), over
//! *all* unlabelled images. In the paper `tau` = .95, `mu` = 7, weight 1, an average of the weights of .999 for judging.
//!
//! Traps: with few labels the first confident guesses are of the easy classes, and confirm themselves; images of foreign classes are guessed
//! with confidence as well.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::student::{Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::tensors;
use crate::settings::SHARE;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters; defaults are the paper's.
    pub struct FixmatchSettings {
        /// Probability from which on a guess counts (`tau`).
        threshold: f32 = 0.95, in SHARE;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for FixmatchSettings {
    common!();

    fn name(&self) -> &'static str {
        "fixmatch"
    }

    fn advice(&self) -> &'static str {
        "raise `semi.threshold` or lower `semi.weight`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(Fixmatch { settings: self.clone() })
    }
}

struct Fixmatch {
    settings: FixmatchSettings,
}

impl SemiMethod for Fixmatch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let weight = self.settings.common().weight_at(batch.progress);
        student.follow_guesses(batch, weight, |seen| {
            Guesses::hard(&seen.probabilities(WEAK), seen.classes, |row, class| {
                passes(row[class], self.settings.threshold)
            })
        })
    }
}

tensors!(Fixmatch:);
