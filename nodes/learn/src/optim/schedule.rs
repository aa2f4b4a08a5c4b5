//! Learning-rate schedules.

use crate::settings::{ABOVE_ZERO, SettingError, check};

/// Whether a peak learning rate is a positive number.
///
/// # Errors
/// At `lr`.
pub fn check_lr(lr: f32) -> Result<(), SettingError> {
    check("lr", &lr, ABOVE_ZERO)
}

/// Whether a warm-up ends before the training does; none at all is no training to warm up for.
///
/// # Errors
/// At `key`, the setting that says how long the warm-up is; both lengths are in `unit`s, as "steps".
pub fn check_warmup(key: &str, warmup: usize, training: usize, unit: &str) -> Result<(), SettingError> {
    if warmup <= training || training == 0 {
        return Ok(());
    }
    let message = format!("{warmup} {unit} found, but the whole training has only {training}");
    Err(SettingError::new(key, message))
}

/// Linear warm-up, then cosine to zero (Loshchilov & Hutter 2017, 1608.03983, without restarts).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    lr: f32,
    warmup: usize,
    steps: usize,
}

impl Schedule {
    /// `lr (s + 1) / W` for step `s < W`, then `lr / 2 (1 + cos(pi (s - W) / (E - W)))` up to step `E`.
    pub fn warmup_cosine(lr: f32, warmup: usize, steps: usize) -> Self {
        Self { lr, warmup, steps }
    }

    /// The learning rate of a step, counted from zero.
    pub fn at(&self, step: usize) -> f32 {
        let lr = f64::from(self.lr);
        if step < self.warmup {
            return (lr * (step + 1) as f64 / self.warmup as f64) as f32;
        }
        let share = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        (lr / 2.0 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())) as f32
    }
}
