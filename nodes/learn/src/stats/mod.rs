//! Whether one arm of an experiment is better than another, given a few seeds and a finite set of test images.

mod bootstrap;
mod holm;

pub use bootstrap::{Arm, Comparison, Interval, compare};
pub use holm::holm;
