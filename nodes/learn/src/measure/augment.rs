//! How long a view takes on one core.

use serde::Serialize;

use super::{Shape, median_seconds};
use crate::augment::{Augmenter, Recipe, RecipeError};
use crate::data::{Images, Samples};
use crate::rng::Stream;

/// Time of a view.
#[derive(Clone, Debug, Serialize)]
pub struct ViewTimes {
    /// Median microseconds for one view of one image.
    pub median_us: f64,
    /// Views a second on this core.
    pub views_per_s: f64,
}

/// The median time of a view of random `image`s by `recipe` in the calling thread pool, over `repeats` batches of `images`.
///
/// # Errors
/// If the recipe does not fit the images, such as a change of hue on one channel.
pub fn view_times(recipe: &Recipe, image: Shape, images: usize, repeats: usize) -> Result<ViewTimes, RecipeError> {
    let images = random_images(image, images);
    let random = Stream::new(0, "views");
    let (mean, std) = images.channel_statistics();
    let augmenter = Augmenter::new(recipe, &mean, &std, images.height, images.width)?;
    let indices: Vec<u32> = (0..images.n as u32).collect();
    let mut out = vec![0.0f32; images.pixels().len()];
    let samples = Samples::from(images);
    let mut batch = 0;
    let seconds = median_seconds(2, repeats, || {
        batch += 1;
        augmenter.augment_batch(&samples, &indices, &random.index(batch).child("view"), &mut out);
    });
    let view = seconds / indices.len() as f64;
    Ok(ViewTimes {
        median_us: view * 1e6,
        views_per_s: 1.0 / view,
    })
}

/// Images of noise, all of one class.
pub(super) fn random_images(image: Shape, n: usize) -> Images {
    let Shape(shape) = image;
    let mut random = Stream::new(0, "bench");
    let pixels = (0..n * shape.len()).map(|_| random.below(256) as u8).collect();
    Images::new(shape.h, shape.w, shape.c, pixels, vec![0; n]).expect("BUG: a label for each image")
}
