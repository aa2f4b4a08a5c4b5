//! How long a pre-training is: in passes over the images, or in what a method may spend on the encoder.

use crate::optim::check_warmup;
use crate::settings::{COUNTED, ROUNDS, SOME_ROUNDS, SettingError, check};

/// The length of a pre-training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the images.
    Epochs(usize),
    /// Images that go through the encoder forward and backward: what methods of different cost per image can be held equal by. The
    /// last epoch is as short as it must be.
    Budget(u64),
}

impl Length {
    /// Whether it is a length, and no shorter than so many epochs of warm-up, as far as that is known without the data.
    ///
    /// # Errors
    /// At `epochs`, `budget` or `warmup_epochs`.
    pub fn check(self, warmup_epochs: usize) -> Result<(), SettingError> {
        check("warmup_epochs", &warmup_epochs, ROUNDS)?;
        match self {
            Self::Budget(0) => Err(SettingError::new(
                "budget",
                "0 found, expected at least one step's images",
            )),
            Self::Budget(_) => Ok(()),
            Self::Epochs(epochs) => {
                check("epochs", &epochs, SOME_ROUNDS)?;
                check_warmup("warmup_epochs", warmup_epochs, epochs, "epochs")
            }
        }
    }

    /// Whether so many [`Length::steps`] can be counted, and are no fewer than those of the warm-up.
    ///
    /// # Errors
    /// At `epochs`, `budget` or `warmup_epochs`.
    pub fn check_steps(self, steps: usize, warmup: usize) -> Result<(), SettingError> {
        if !COUNTED.contains(&steps) {
            let key = if matches!(self, Self::Epochs(_)) {
                "epochs"
            } else {
                "budget"
            };
            let message = format!("these are {steps} steps, expected at most {}", COUNTED.end());
            return Err(SettingError::new(key, message));
        }
        check_warmup("warmup_epochs", warmup, steps, "steps")
    }

    /// Steps of `batch` images each of which costs `views` (see [`crate::methods::MethodSettings::cost`]), where `per_epoch` of them are an
    /// epoch: for a budget, the whole number that comes nearest to it, and at least one.
    pub fn steps(self, per_epoch: usize, batch: usize, views: f64) -> usize {
        match self {
            Self::Epochs(epochs) => epochs * per_epoch,
            Self::Budget(images) => ((images as f64 / (batch as f64 * views)).round() as usize).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_met_to_half_a_step_whatever_an_image_costs() {
        for views in [0.5, 1.0, 4.0 / 3.0, 2.0, 8.0 / 3.0, 4.0] {
            let steps = Length::Budget(40_000).steps(31, 64, views);
            let spent = steps as f64 * 64.0 * views;
            assert!((spent - 40_000.0).abs() <= 32.0 * views, "{views}: {spent}");
        }
        assert_eq!(Length::Budget(1).steps(31, 64, 2.0), 1);
        assert_eq!(Length::Epochs(3).steps(31, 64, 2.0), 93);
    }
}
