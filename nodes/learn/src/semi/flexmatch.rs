//! FlexMatch (Zhang et al. 2021, 2110.08263): FixMatch with lower thresholds for classes that are learnt slowly.
//!
//! A class's learning effect is how many unlabelled images it is the last guess of above `tau`: `s_c = sum_n 1[max q_n > tau, argmax q_n = c]`;
//! `b_c = s_c / max(max s, N - sum s)`, where the images not yet guessed with confidence warm the thresholds up (eq. 5, 6, 11); its threshold
//! is `tau b_c / (2 - b_c)` (the convex map of section 3.4).
//!
//! Trap: with thresholds near 0 at the start everything counts, so the first guesses may as well be wrong.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::student::{Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::{Carried, tensors};
use crate::settings::SHARE;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters; defaults are the paper's.
    pub struct FlexmatchSettings {
        /// Probability from which on a guess tells of what is learnt (`tau`), and the highest threshold.
        threshold: f32 = 0.95, in SHARE;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for FlexmatchSettings {
    common!();

    fn name(&self) -> &'static str {
        "flexmatch"
    }

    fn advice(&self) -> &'static str {
        "raise `semi.threshold` or lower `semi.weight`"
    }

    fn build(&self, setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(Flexmatch {
            settings: self.clone(),
            guessed: Carried::new(&[setup.pool], vec![NONE; setup.pool]),
        })
    }
}

/// An image that was not guessed with confidence yet.
const NONE: f32 = -1.0;

struct Flexmatch {
    settings: FlexmatchSettings,
    /// The last confident guess of each unlabelled image, or [`NONE`].
    guessed: Carried,
}

impl Flexmatch {
    /// The learning effect `b` of each class.
    fn effects(&self, classes: usize) -> Vec<f32> {
        let (mut counts, mut none) = (vec![0usize; classes], 0);
        for guess in self.guessed.iter() {
            match usize::try_from(*guess as i64) {
                Ok(class) if class < classes => counts[class] += 1,
                _ => none += 1,
            }
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(none).max(1);
        counts.iter().map(|count| *count as f32 / most as f32).collect()
    }
}

impl SemiMethod for Flexmatch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let threshold = self.settings.threshold;
        let effects = self.effects(batch.targets.len() / batch.labelled.n.max(1));
        let mut confident = Vec::new();
        let outcome = student.follow_guesses(batch, self.settings.common().weight_at(batch.progress), |seen| {
            let probabilities = seen.probabilities(WEAK);
            let guesses = Guesses::hard(&probabilities, seen.classes, |row, class| {
                passes(row[class], threshold * (effects[class] / (2.0 - effects[class])))
            });
            let rows = probabilities.chunks_exact(seen.classes).zip(&guesses.classes);
            confident = rows.map(|(row, class)| row[*class] >= threshold).collect();
            guesses
        })?;
        for ((place, class), confident) in batch.places.iter().zip(&outcome.guessed).zip(confident) {
            if confident {
                self.guessed[*place as usize] = *class as f32;
            }
        }
        Ok(outcome)
    }
}

tensors!(Flexmatch: guessed);
