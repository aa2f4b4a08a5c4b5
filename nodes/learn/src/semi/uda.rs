//! Unsupervised Data Augmentation (Xie et al. 2019, 1904.12848): a strong view gets the sharpened guess of the weak one.
//!
//! `L_u = 1/n sum_b 1[max q_b >= beta] CE(sharpen(q_b), p(strong(u_b)))` with `sharpen(q)_c = q_c^(1/T) / sum q^(1/T)`, that is the softmax of the
//! logits over `T`. In the paper `beta` = .8, `T` = .4. Training signal annealing leaves out labelled images whose probability of
//! the right class is above a threshold that rises from 1/classes to 1, so that few labels are not learnt by heart at once.
//!
//! Trap: a temperature far below 1 is a hard label without FixMatch's threshold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::student::{LABELLED, SECOND, Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::tensors;
use crate::losses::{probabilities, soft_cross_entropy};
use crate::settings::{SHARE, TEMPERATURE};
use crate::train::TrainError;

/// How the threshold of labelled images rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Annealing {
    /// It is 1 from the start: all labelled images count.
    #[default]
    None,
    /// With the training.
    Linear,
    /// Late: for tasks that are easily overfitted.
    Exp,
    /// Early.
    Log,
}

impl Annealing {
    /// The probability up to which a labelled image counts.
    fn threshold(self, progress: f32, classes: usize) -> f32 {
        let share = match self {
            Self::None => return 1.0,
            Self::Linear => progress,
            Self::Exp => ((progress - 1.0) * 5.0).exp(),
            Self::Log => 1.0 - (-progress * 5.0).exp(),
        };
        let least = 1.0 / classes as f32;
        share * (1.0 - least) + least
    }
}

semi_settings! {
    /// Hyper-parameters; defaults are the paper's.
    pub struct UdaSettings {
        /// Probability from which on a guess counts (`beta`).
        threshold: f32 = 0.8, in SHARE;
        /// What sharpens guesses (`T`).
        temperature: f32 = 0.4, in TEMPERATURE;
        /// Whether confident labelled images are left out at first: `none`, `linear`, `exp`, `log`.
        annealing: Annealing = Annealing::None;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for UdaSettings {
    common!();

    fn name(&self) -> &'static str {
        "uda"
    }

    fn advice(&self) -> &'static str {
        "raise `semi.threshold` or lower `semi.weight`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(Uda { settings: self.clone() })
    }
}

struct Uda {
    settings: UdaSettings,
}

impl SemiMethod for Uda {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let UdaSettings {
            threshold,
            temperature,
            annealing,
            ..
        } = self.settings;
        let weight = self.settings.common().weight_at(batch.progress);
        let seen = student.look(&batch.views());
        let classes = seen.classes;
        let plain = Guesses::soft(&seen.probabilities(WEAK), classes, |row, class| {
            passes(row[class], threshold)
        });
        let guesses = Guesses {
            targets: probabilities(seen.logits_of(WEAK), classes, temperature),
            ..plain
        };
        let most = annealing.threshold(batch.progress, classes);
        let known = seen.probabilities(LABELLED);
        let mut labels = batch.targets.clone();
        for (row, known) in labels.chunks_exact_mut(classes).zip(known.chunks_exact(classes)) {
            if known.iter().any(|p| *p > most) {
                row.fill(0.0);
            }
        }
        let targets = guesses.weighted();
        student.descend(seen, &labels, SECOND, weight, guesses, |logits| {
            soft_cross_entropy(logits, &targets)
        })
    }
}

tensors!(Uda:);

#[cfg(test)]
mod tests {
    use super::Annealing;

    #[test]
    fn annealing_rises_from_chance_to_one() {
        for kind in [Annealing::Linear, Annealing::Exp, Annealing::Log] {
            let at = |progress| kind.threshold(progress, 10);
            assert!(at(0.0) < 0.11 && at(1.0) > 0.99, "{kind:?}");
            assert!(at(0.2) < at(0.6) && at(0.6) < at(0.9), "{kind:?}");
        }
        assert_eq!(Annealing::None.threshold(0.0, 10), 1.0);
    }
}
