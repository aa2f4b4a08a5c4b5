//! Whether one arm of an experiment is better than another, given a few draws and a finite set of test images.

mod holm;
mod labels_saved;
mod metric;
mod paired;
mod student_t;

pub use holm::holm;
pub use labels_saved::{LabelsNeeded, labels_needed};
pub use metric::Metric;
pub use paired::{Arm, Estimate, Run, difference, estimate};
pub use student_t::{t_cdf, t_quantile};

/// The mean of some values; not a number of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Their variance, unbiased; 0 of a single value.
pub fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() - 1).max(1) as f64
}
