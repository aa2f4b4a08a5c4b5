//! What is behind things: gray images on a ground of noise, where raw pixels tell less and a denoiser has something to learn.

use flow_learn::data::Images;
use flow_learn::rng::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is behind things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// Each black pixel is of any brightness instead, as in `mnist-back-rand` (Larochelle et al. 2007), which denoising
    /// autoencoders were first judged on.
    Noise,
}

/// Images on a ground of noise, which is another for each image, and the same for the same `stream`.
pub fn on_noise(images: &Images, stream: &Stream) -> Images {
    let mut pixels = images.pixels().into_owned();
    for (i, image) in pixels.chunks_exact_mut(images.pixels_of(0).len()).enumerate() {
        let mut stream = stream.index(i as u64);
        for pixel in image.iter_mut().filter(|v| **v == 0) {
            *pixel = stream.below(256) as u8;
        }
    }
    images.with_pixels(images.channels, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_stay_and_their_ground_is_any_brightness_another_in_each_image() {
        let mut pixels = vec![0; 2 * 28 * 28];
        pixels[..100].fill(90);
        let plain = Images::new(28, 28, 1, pixels, vec![0, 1]).expect("sizes fit");
        let images = on_noise(&plain, &Stream::new(1, "test"));
        assert_eq!(images.pixels_of(0)[..100], [90; 100]);
        let ground = images.pixels_of(1);
        let mean = ground.iter().map(|v| f64::from(*v)).sum::<f64>() / ground.len() as f64;
        assert!((117.0..138.0).contains(&mean), "{mean}");
        assert!(ground.contains(&0) && ground.contains(&255));
        assert_ne!(images.pixels_of(0)[100..], ground[100..]);
        assert_eq!(images, on_noise(&plain, &Stream::new(1, "test")));
    }
}
