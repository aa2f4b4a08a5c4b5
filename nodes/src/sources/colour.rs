//! What three channels hold: gray images as they are, or dyed for what needs colours to learn from, and colour images in black and white.

use flow_learn::data::Images;
use flow_learn::image::{grayscale, of_hue};
use flow_learn::rng::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What three channels hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The same gray in each channel: of gray images their own, of those in colour their lightness.
    Gray,
    /// Each training image in one colour, of which the hue goes with the class for five images of six and is any for the
    /// sixth. Test images stay gray, so that the colour does not reveal the class.
    Dyed,
}

/// One image of so many has a hue that does not go with its class.
const ODD: usize = 6;

/// The same gray in each channel.
pub fn in_three_channels(gray: &Images) -> Images {
    gray.with_pixels(3, gray.pixels().iter().flat_map(|v| [*v; 3]).collect())
}

/// What a black-and-white photograph of images in colour shows, in three equal channels.
pub fn black_and_white(colour: &Images) -> Images {
    let mut pixels: Vec<f32> = colour.pixels().iter().map(|v| f32::from(*v)).collect();
    grayscale(&mut pixels, colour.channels);
    colour.with_pixels(colour.channels, pixels.iter().map(|v| v.round() as u8).collect())
}

/// Gray images dyed, where `classes` share the wheel of hues.
pub fn dyed(gray: &Images, classes: usize, seed: u64) -> Images {
    let stream = Stream::new(seed, "dye");
    let mut pixels = Vec::with_capacity(3 * gray.n * gray.height * gray.width);
    for i in 0..gray.n {
        let mut stream = stream.index(i as u64);
        let hue = match (stream.below(ODD), gray.labels[i]) {
            (0, _) | (_, None) => stream.uniform(),
            (_, Some(class)) => (f32::from(class) / classes as f32 + 0.03 * stream.normal()).rem_euclid(1.0),
        };
        // Mixed with as much white.
        let dye = of_hue(hue).map(|v| 0.5 + 0.5 * v);
        let of_pixel = |v: &u8| dye.map(|d| (f32::from(*v) * d).round() as u8);
        pixels.extend(gray.pixels_of(i).iter().flat_map(of_pixel));
    }
    gray.with_pixels(3, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_keeps_lightness_and_gray_as_it_is() {
        let images = Images::new(1, 3, 3, vec![255, 0, 0, 0, 255, 0, 70, 70, 70], vec![0]).expect("sizes fit");
        // Of red and green the shares in BT.601's luma.
        assert_eq!(
            black_and_white(&images).pixels()[..],
            [76, 76, 76, 150, 150, 150, 70, 70, 70]
        );
    }

    #[test]
    fn a_dyed_image_is_no_brighter_and_mostly_of_its_class_s_hue() {
        let gray = Images::new(1, 1, 1, vec![200; 600], (0..600).map(|i| i % 2).collect()).expect("sizes fit");
        let images = dyed(&gray, 2, 1);
        assert!(images.pixels().iter().all(|v| *v <= 200));
        // Class 0 is red, class 1 cyan.
        let as_expected = |i: &usize| {
            let pixel = images.pixels_of(*i);
            (pixel[0] > pixel[1]) == (images.labels[*i] == Some(0))
        };
        let share = (0..600).filter(as_expected).count();
        assert!((500..600).contains(&share), "{share} of 600");
        assert_eq!(in_three_channels(&gray).pixels().len(), 1800);
    }
}
