//! The joint loss of self-training: truly labelled and pseudo-labelled images, each kind by itself.
//!
//! `L = (L_h + a (mean L_h / mean L_p) L_p) / (1 + a)` (Zoph et al. 2020, 2006.06882, section 3.2): the running means keep two losses of different
//! size in balance, whatever the pseudo-labels are like. `L_p` is the distillation of SimCLR v2 (Chen et al. 2020, 2006.10029, eq. 2), `-sum
//! softmax(t / T) log softmax(s / T)`, which at `T = 1` is the cross-entropy with the targets.

use crate::layers::{Carried, tensors};
use crate::losses::{LossError, distillation, soft_cross_entropy, value_and_grads, value_of, weighted_sum};
use crate::settings::{BELOW_ONE, TEMPERATURE, settings};

settings! {
    /// How labelled and pseudo-labelled images are weighed against each other.
    #[derive(Copy)]
    pub struct JointLossSettings {
        /// What pseudo-labelled images count (`a`).
        weight: f32 = 1.0, in 0.0..;
        /// Whether the losses' running means keep them in balance.
        balanced: bool = true;
        /// How slowly these follow.
        momentum: f32 = 0.99, in BELOW_ONE;
        /// Temperature of teacher and student (`T`); above 1, unlikely classes count more.
        temperature: f32 = 1.0, in TEMPERATURE;
    }
}

/// The loss with its running means.
pub(crate) struct JointLoss {
    pub(crate) settings: JointLossSettings,
    /// Of both losses; zeros before the first step.
    means: Carried,
}

tensors!(JointLoss: means);

impl JointLoss {
    pub(crate) fn new(settings: JointLossSettings) -> Self {
        Self {
            settings,
            means: Carried::zeros(&[2]),
        }
    }

    /// What the second of two losses is multiplied by, so that their running means, of which these are the next, are in balance.
    pub(crate) fn scale(&mut self, seen: [f32; 2]) -> f32 {
        let JointLossSettings { balanced, momentum, .. } = self.settings;
        for (mean, seen) in self.means.iter_mut().zip(seen) {
            *mean = if *mean > 0.0 {
                momentum * *mean + (1.0 - momentum) * seen
            } else {
                seen
            };
        }
        match balanced && self.means[1] > 0.0 {
            true => self.means[0] / self.means[1],
            false => 1.0,
        }
    }

    /// Loss and gradient of logits, `[batch][classes]`, of which the first `truths` rows are of labelled images.
    pub(super) fn of(
        &mut self,
        logits: &[f32],
        targets: &[f32],
        truths: usize,
        classes: usize,
    ) -> Result<(f32, Vec<f32>), LossError> {
        let JointLossSettings {
            weight, temperature, ..
        } = self.settings;
        let (labelled, pseudo) = logits.split_at(truths * classes);
        let (labels, guesses) = targets.split_at(truths * classes);
        let teacher: Vec<f32> = guesses.iter().map(|p| p.max(f32::MIN_POSITIVE).ln()).collect();
        let input = |rows: &[f32]| (rows.to_vec(), (rows.len() / classes, classes));
        let (loss, [mut first, second]) = value_and_grads([input(labelled), input(pseudo)], |[l, p]| {
            let (labelled, pseudo) = (soft_cross_entropy(l, labels)?, distillation(p, &teacher, temperature)?);
            let scale = self.scale([value_of(&labelled), value_of(&pseudo)]);
            Ok(weighted_sum(labelled, pseudo, weight * scale)? / (1.0 + weight))
        })?;
        first.extend(second);
        Ok((loss, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_losses_count_alike_whatever_their_size() {
        let settings = JointLossSettings {
            momentum: 0.0,
            ..Default::default()
        };
        let (logits, targets) = ([2.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.6, 0.4]);
        let (loss, gradient) = JointLoss::new(settings).of(&logits, &targets, 1, 2).expect("sizes fit");
        let labelled = (1.0f32 + 2.0f32.exp()).ln();
        assert!((loss - labelled).abs() < 1e-5, "both are {labelled}: {loss}");
        let plain = JointLossSettings {
            balanced: false,
            ..settings
        };
        let (_, even) = JointLoss::new(plain).of(&logits, &targets, 1, 2).expect("sizes fit");
        assert_eq!(gradient[..2], even[..2]);
        assert!(gradient[2].abs() > even[2].abs(), "the smaller loss is scaled up");
    }
}
