//! SoftMatch (Chen et al. 2023, 2301.10921): FixMatch with a weight for each guess instead of a threshold.
//!
//! `L_u = 1/n sum_b l(max a_b) CE(argmax q_b, p(strong(u_b)))`. The weight is a Gaussian cut at its mean: `l(x) = exp(-min(x - m, 0)^2 k^2 / (2
//! s^2))` with mean `m` and variance `s^2` of the confidences, followed with a momentum, and `k` = 2 (eq. 6, 8; the code's form). Confidences are of the
//! uniformly aligned guesses `a = norm(q / mean q)` (eq. 9); targets are of those before alignment.
//!
//! Trap: where the true classes are not even, alignment to even ones is a bias.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup};
use super::rows::{even_out, follow, largest, mean_row};
use super::student::{Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::{Carried, tensors};
use crate::settings::{ABOVE_ZERO, BELOW_ONE};
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters; defaults are the paper's.
    pub struct SoftmatchSettings {
        /// How slowly mean, variance and class shares follow the guesses.
        momentum: f32 = 0.999, in BELOW_ONE;
        /// Deviations below the mean at which the weight is `exp(-k^2 / 2)` (`k`).
        sigmas: f32 = 2.0, in ABOVE_ZERO;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for SoftmatchSettings {
    common!();

    fn name(&self) -> &'static str {
        "softmatch"
    }

    fn advice(&self) -> &'static str {
        "lower `semi.weight` or `semi.momentum`"
    }

    fn build(&self, setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(Softmatch {
            settings: self.clone(),
            mean: Carried::new(&[1], vec![1.0 / setup.classes as f32]),
            variance: Carried::new(&[1], vec![1.0]),
            shares: Carried::zeros(&[setup.classes]),
        })
    }
}

struct Softmatch {
    settings: SoftmatchSettings,
    /// Of confidences.
    mean: Carried,
    variance: Carried,
    /// Mean guess, `[classes]`; zeros before the first.
    shares: Carried,
}

impl Softmatch {
    /// `q / mean q`, rows summing to one.
    fn aligned(&mut self, probabilities: &[f32]) -> Vec<f32> {
        let classes = self.shares.len();
        let momentum = if self.shares.iter().all(|share| *share == 0.0) {
            0.0
        } else {
            self.settings.momentum
        };
        follow(&mut self.shares, &mean_row(probabilities, classes), momentum);
        let mut aligned = probabilities.to_vec();
        even_out(&mut aligned, &self.shares);
        aligned
    }

    /// Mean and variance follow those of these confidences.
    fn follow(&mut self, confidences: &[f32]) {
        let n = confidences.len() as f32;
        let mean = confidences.iter().sum::<f32>() / n;
        let squares: f32 = confidences.iter().map(|c| (c - mean).powi(2)).sum();
        follow(&mut self.mean, &[mean], self.settings.momentum);
        follow(
            &mut self.variance,
            &[squares / (n - 1.0).max(1.0)],
            self.settings.momentum,
        );
    }
}

impl SemiMethod for Softmatch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let (weight, sigmas) = (self.settings.common().weight_at(batch.progress), self.settings.sigmas);
        student.follow_guesses(batch, weight, |seen| {
            let probabilities = seen.probabilities(WEAK);
            let confidences = largest(&self.aligned(&probabilities), seen.classes);
            self.follow(&confidences);
            let (mean, variance) = (self.mean[0], self.variance[0]);
            let weights = confidences.iter().map(|confidence| {
                let below = (confidence - mean).min(0.0);
                (-(below * below) / (2.0 * variance / (sigmas * sigmas))).exp()
            });
            Guesses {
                weights: weights.collect(),
                ..Guesses::hard(&probabilities, seen.classes, |_, _| 1.0)
            }
        })
    }
}

tensors!(Softmatch: mean, variance, shares);
