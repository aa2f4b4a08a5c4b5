//! FreeMatch (Wang et al. 2023, 2205.07246): FixMatch with thresholds that follow the network's own confidence, and a term for fair classes.
//!
//! A global threshold `tau_t = m tau_{t-1} + (1 - m) mean max q` and the mean guess `p_t = m p_{t-1} + (1 - m) mean q` both begin at 1/classes; a
//! class's threshold is `tau_t p_t(c) / max p_t` (eq. 5 to 8). Fairness, over the images that count: `L_f = sum_c norm(p_t / h_t) log norm(mean
//! p_strong / h_strong)` with the histograms `h` of the guesses of weak and strong views (eq. 9 to 11); `L = L_l + w L_u + w_f L_f`.
//!
//! Trap: the thresholds begin at chance, so everything counts from the first step on.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::rows::{follow, largest, mean_row};
use super::student::{LABELLED, SECOND, Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::{Carried, tensors};
use crate::losses::{again, class_fairness, soft_cross_entropy, value_and_grads, value_of, weighted_sum};
use crate::settings::BELOW_ONE;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters; defaults are those of the published code.
    pub struct FreematchSettings {
        /// How slowly thresholds follow the guesses (`m`).
        momentum: f32 = 0.999, in BELOW_ONE;
        /// What the fairness term counts (`w_f`).
        fairness: f32 = 0.01, in 0.0..;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for FreematchSettings {
    common!();

    fn name(&self) -> &'static str {
        "freematch"
    }

    fn advice(&self) -> &'static str {
        "raise `semi.fairness` or lower `semi.weight`"
    }

    fn build(&self, setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        let chance = 1.0 / setup.classes as f32;
        let even = || Carried::new(&[setup.classes], vec![chance; setup.classes]);
        Box::new(Freematch {
            settings: self.clone(),
            threshold: Carried::new(&[1], vec![chance]),
            shares: even(),
            histogram: even(),
        })
    }
}

struct Freematch {
    settings: FreematchSettings,
    /// `tau_t`.
    threshold: Carried,
    /// `p_t`, `[classes]`.
    shares: Carried,
    /// `h_t`, `[classes]`.
    histogram: Carried,
}

impl Freematch {
    /// Thresholds follow these guesses, which they then judge.
    fn guesses(&mut self, probabilities: &[f32], classes: usize) -> Guesses {
        let momentum = self.settings.momentum;
        let confidences = largest(probabilities, classes);
        let mean = confidences.iter().sum::<f32>() / confidences.len() as f32;
        follow(&mut self.threshold, &[mean], momentum);
        follow(&mut self.shares, &mean_row(probabilities, classes), momentum);
        let guesses = Guesses::hard(probabilities, classes, |_, _| 1.0);
        follow(&mut self.histogram, &mean_row(&guesses.targets, classes), momentum);
        let most = self.shares.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        Guesses::hard(probabilities, classes, |row, class| {
            passes(row[class], self.threshold[0] * (self.shares[class] / most))
        })
    }
}

impl SemiMethod for Freematch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let FreematchSettings { fairness, .. } = self.settings;
        let weight = self.settings.common().weight_at(batch.progress);
        let seen = student.look(&batch.views());
        let guesses = self.guesses(&seen.probabilities(WEAK), seen.classes);
        let targets = guesses.weighted();
        let mut unlabelled = 0.0;
        let (loss, [labelled, second]) = value_and_grads([seen.input(LABELLED), seen.input(SECOND)], |[l, s]| {
            let fair = class_fairness(again(&s), &guesses.weights, &self.shares, &self.histogram)?;
            let consistency = soft_cross_entropy(s, &targets)?;
            unlabelled = value_of(&consistency);
            let both = weighted_sum(soft_cross_entropy(l, &batch.targets)?, consistency, weight)?;
            weighted_sum(both, fair, fairness)
        })?;
        let gradient = seen.gradient(&[(LABELLED, labelled), (SECOND, second)]);
        student.learn(seen, gradient, None);
        Ok(guesses.outcome(loss, unlabelled))
    }
}

tensors!(Freematch: threshold, shares, histogram);
