//! What a step of a method shows, and why a method cannot run or go on.

use std::cmp::Ordering;

use crate::device::DeviceError;
use crate::losses::LossError;
use crate::settings::SettingError;

/// Something to watch while a method trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name in logs and records.
    pub name: &'static str,
    /// Its value in one step; an epoch reports the mean.
    pub value: f32,
    /// Below this mean over an epoch the method has collapsed.
    pub least: Option<f32>,
}

impl Metric {
    /// A metric that tells nothing of collapse.
    pub fn new(name: &'static str, value: f32) -> Self {
        let least = None;
        Self { name, value, least }
    }

    /// Marks the value below which the method has collapsed.
    #[must_use]
    pub fn at_least(self, least: f32) -> Self {
        let least = Some(least);
        Self { least, ..self }
    }

    /// Whether a value of this metric tells of a collapse.
    pub(crate) fn is_ill(&self, value: f32) -> bool {
        // Not a number is ill too.
        self.least
            .is_some_and(|least| !matches!(value.partial_cmp(&least), Some(Ordering::Greater | Ordering::Equal)))
    }

    /// An error if `value`, this metric's of an epoch (from 0), tells of a collapse.
    pub(crate) fn check(&self, value: f32, epoch: usize, advice: &'static str) -> Result<(), MethodError> {
        if !self.is_ill(value) {
            return Ok(());
        }
        Err(MethodError::Collapsed {
            epoch: epoch + 1,
            metric: self.name.to_owned(),
            value,
            least: self.least.unwrap_or(f32::NEG_INFINITY),
            advice,
        })
    }

    /// The share of right answers.
    pub fn accuracy(right: usize, of: usize) -> Self {
        Self::new("accuracy", right as f32 / of.max(1) as f32)
    }

    /// Mean cosine of the rows of two matrices, `[n][dim]`: 1 for views that are mapped to the same place.
    pub fn alignment(a: &[f32], b: &[f32], dim: usize) -> Self {
        let (a, b) = (crate::metrics::normalised(a, dim), crate::metrics::normalised(b, dim));
        let dots = a
            .iter()
            .zip(&b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>();
        Self::new("alignment", (dots / (a.len() / dim).max(1) as f64) as f32)
    }

    /// How evenly `[n][clusters]` assignments, whose rows sum to one, use the clusters: the entropy of the mean assignment over that of
    /// equal shares, `ln min(n, clusters)`; 1 if all are used alike, 0 if one gets everything.
    pub fn cluster_entropy(assigned: &[f32], clusters: usize) -> Self {
        let n = (assigned.len() / clusters).max(1);
        let mut mean = vec![0.0f64; clusters];
        for row in assigned.chunks_exact(clusters) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += f64::from(*v) / n as f64);
        }
        Self::entropy_of(&mean, n)
    }

    /// [`Metric::cluster_entropy`] of hard assignments.
    pub fn evenness(assigned: impl Iterator<Item = usize>, clusters: usize) -> Self {
        let mut sizes = vec![0.0f64; clusters];
        assigned.for_each(|c| sizes[c] += 1.0);
        let n: f64 = sizes.iter().sum();
        sizes.iter_mut().for_each(|size| *size /= n.max(1.0));
        Self::entropy_of(&sizes, n as usize)
    }

    fn entropy_of(shares: &[f64], n: usize) -> Self {
        let entropy: f64 = shares.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        let most = (shares.len().min(n).max(2) as f64).ln();
        Self::new("cluster_entropy", (entropy / most) as f32)
    }

    /// How certain `[n][clusters]` assignments are: 1 less their mean entropy over `ln clusters`; 0 if all rows are uniform.
    pub fn certainty(assigned: &[f32], clusters: usize) -> Self {
        let n = (assigned.len() / clusters).max(1) as f64;
        let entropy: f64 = assigned
            .iter()
            .filter(|p| **p > 0.0)
            .map(|p| f64::from(-p * p.ln()))
            .sum();
        let most = (clusters.max(2) as f64).ln();
        Self::new("certainty", (1.0 - entropy / n / most) as f32)
    }

    /// Mean over the dimensions of the deviation of the L2-normalised rows of `[n][dim]`, in units of `1 / sqrt(dim)`: 1 in full
    /// health, 0 when all outputs are the same.
    pub fn spread(rows: &[f32], dim: usize) -> Self {
        let deviation = crate::metrics::embedding_deviation(rows, dim);
        Self::new("spread", deviation * (dim as f32).sqrt()).at_least(0.1)
    }
}

/// What one step showed.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// The loss.
    pub loss: f32,
    /// What else is to be watched; the same names in every step.
    pub metrics: Vec<Metric>,
}

/// Why a method cannot run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MethodError {
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The loss refused its inputs.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The loss is not a number any more.
    #[error("the loss became {loss} in step {step}: training diverged; {advice}")]
    Diverged {
        /// The loss.
        loss: f32,
        /// The step, from 0.
        step: usize,
        /// What to change first.
        advice: &'static str,
    },
    /// The loss is far above what it was.
    #[error(
        "the mean loss of epoch {epoch} is {loss:.4}, that of the first was {first:.4}: training diverged; {advice}"
    )]
    Grown {
        /// The epoch's mean loss.
        loss: f32,
        /// That of the first epoch.
        first: f32,
        /// The epoch, from 1.
        epoch: usize,
        /// What to change first.
        advice: &'static str,
    },
    /// All images are mapped to nearly the same place.
    #[error(
        "training collapsed in epoch {epoch}: `{metric}` is {value:.4}, expected above {least}; to avoid it, {advice}"
    )]
    Collapsed {
        /// The epoch, from 1.
        epoch: usize,
        /// The metric that shows it.
        metric: String,
        /// Its value.
        value: f32,
        /// The least in health.
        least: f32,
        /// What to change first.
        advice: &'static str,
    },
}

impl MethodError {
    /// A setting that makes no sense.
    pub(super) fn setting(key: &str, message: impl Into<String>) -> Self {
        Self::Setting(SettingError::new(key, message))
    }
}
