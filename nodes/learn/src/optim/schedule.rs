//! Learning-rate schedules.

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
