//! Boxes and masks drawn over an image.

use flow_learn::data::IGNORE;
use image::{Rgb, RgbImage, imageops};

/// Colours of classes, with their names; the ninth class begins anew. People who see few colours can tell them apart (Okabe & Ito 2008).
pub const CLASS_COLOURS: [(&str, [u8; 3]); 8] = [
    ("orange", [230, 159, 0]),
    ("sky blue", [86, 180, 233]),
    ("green", [0, 158, 115]),
    ("yellow", [240, 228, 66]),
    ("blue", [0, 114, 178]),
    ("vermilion", [213, 94, 0]),
    ("pink", [204, 121, 167]),
    ("gray", [153, 153, 153]),
];

/// Of what counts nowhere.
const LEFT_OUT: [u8; 3] = [255, 255, 255];

/// What is drawn over an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay<'a> {
    /// As [`flow_learn::data::Located::mask`], of the image's size; may be empty.
    pub(crate) mask: &'a [u8],
    /// Left, top, right and bottom in pixels, and the class; none for a region that is left out.
    pub(crate) boxes: Vec<([f32; 4], Option<usize>)>,
}

/// The colour of a class.
pub(crate) fn colour(class: usize) -> [u8; 3] {
    CLASS_COLOURS[class % CLASS_COLOURS.len()].1
}

impl Overlay<'_> {
    /// The image, each side `times` as long, with masks as a veil that has an edge, and boxes as lines on dark ones.
    pub(crate) fn over(&self, image: &RgbImage, times: u32) -> RgbImage {
        let (width, height) = image.dimensions();
        let mut drawn = imageops::resize(image, width * times, height * times, imageops::FilterType::Nearest);
        if self.mask.len() == (width * height) as usize {
            self.veil(&mut drawn, width, times);
        }
        for ([left, top, right, bottom], class) in &self.boxes {
            let colour = class.map_or(LEFT_OUT, colour);
            let corners = [*left, *top, *right, *bottom].map(|v| (v * times as f32).round() as i64);
            frame(&mut drawn, corners, 1, [0, 0, 0]);
            frame(&mut drawn, corners, 0, colour);
            frame(&mut drawn, corners, -1, colour);
        }
        drawn
    }

    fn veil(&self, drawn: &mut RgbImage, width: u32, times: u32) {
        let (across, down) = drawn.dimensions();
        let at = |x: u32, y: u32| self.mask[(y / times * width + x / times) as usize];
        for (x, y, pixel) in drawn.enumerate_pixels_mut() {
            let class = at(x, y);
            if class == 0 {
                continue;
            }
            let colour = if class == IGNORE {
                LEFT_OUT
            } else {
                colour(usize::from(class) - 1)
            };
            let other = |x: u32, y: u32| x < across && y < down && at(x, y) != class;
            let edge = other(x + 1, y) || other(x, y + 1) || (x > 0 && other(x - 1, y)) || (y > 0 && other(x, y - 1));
            let share = if edge { 0.95 } else { 0.4 };
            for (value, colour) in pixel.0.iter_mut().zip(colour) {
                *value = (f32::from(*value) * (1.0 - share) + f32::from(colour) * share).round() as u8;
            }
        }
    }
}

/// The outline of a box, `wider` pixels outside it; what lies outside the image is not drawn.
fn frame(image: &mut RgbImage, [left, top, right, bottom]: [i64; 4], wider: i64, colour: [u8; 3]) {
    let (left, top, right, bottom) = (left - wider, top - wider, right - 1 + wider, bottom - 1 + wider);
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let mut put = |x: i64, y: i64| {
        if (0..width).contains(&x) && (0..height).contains(&y) {
            image.put_pixel(x as u32, y as u32, Rgb(colour));
        }
    };
    for x in left.max(0)..=right.min(width) {
        put(x, top);
        put(x, bottom);
    }
    for y in top.max(0)..=bottom.min(height) {
        put(left, y);
        put(right, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_masks_lie_where_they_are_told_in_the_colours_of_their_classes() {
        let image = RgbImage::new(8, 8);
        let mut mask = [0u8; 64];
        mask[3 * 8 + 3] = 2;
        let overlay = Overlay {
            mask: &mask,
            boxes: vec![([1.0, 1.0, 4.0, 4.0], Some(0)), ([-5.0, 0.0, 99.0, 99.0], None)],
        };
        let drawn = overlay.over(&image, 4);
        assert_eq!(drawn.dimensions(), (32, 32));
        assert_eq!(drawn.get_pixel(4, 8).0, colour(0), "the left side of the box");
        assert_eq!(drawn.get_pixel(15, 8).0, colour(0), "its right side is inside it");
        assert_eq!(drawn.get_pixel(9, 9).0, [0, 0, 0], "nothing inside it");
        let [red, green, blue] = drawn.get_pixel(13, 13).0;
        assert!(
            blue > green && green > red,
            "a veil of the second class: {red} {green} {blue}"
        );
        assert_eq!(drawn.get_pixel(20, 0).0, LEFT_OUT);
    }
}
