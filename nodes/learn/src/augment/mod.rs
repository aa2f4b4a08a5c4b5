//! Augmentation: recipes of image operations with random parameters, applied to batches in parallel.
//!
//! Each image of each step has its own random stream, so a view depends on the seed and its place only.

mod apply;
mod mix;
mod moves;
mod rand_augment;
mod recipe;

pub use apply::Augmenter;
pub use moves::{Move, moved};
pub use rand_augment::{RandOp, rand_augment};
pub use recipe::{LocalViews, Op, Recipe, RecipeError};
