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
