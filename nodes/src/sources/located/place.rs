//! Boxes and masks of an image that is made a square of another size.

use flow_learn::data::{IGNORE, Located, Object};

use crate::pictures::Fit;

/// Where an image's pixels come to lie.
pub(super) struct Placing {
    /// Height and width of the image.
    from: [usize; 2],
    /// Resized.
    to: [usize; 2],
    /// Of the resized image, where the square begins; negative for bars.
    top: isize,
    left: isize,
    side: usize,
}

impl Placing {
    pub(super) fn new(fit: Fit, from: [usize; 2], side: usize) -> Self {
        let (to_w, to_h) = fit.scaled(from[1], from[0], side);
        Self {
            from,
            to: [to_h, to_w],
            top: Fit::offset(to_h, side),
            left: Fit::offset(to_w, side),
            side,
        }
    }

    /// Boxes are cut at the border, and gone where less than a pixel is left; masks take the nearest pixel, and bars count nowhere.
    pub(super) fn located(&self, located: Located) -> Located {
        let objects = located
            .objects
            .into_iter()
            .filter_map(|object| self.object(object))
            .collect();
        Located {
            mask: if located.mask.is_empty() {
                Vec::new()
            } else {
                self.mask(&located.mask)
            },
            soft: Vec::new(),
            objects,
        }
    }

    fn mask(&self, mask: &[u8]) -> Vec<u8> {
        let at = |place: usize| {
            let (y, x) = (
                (place / self.side) as isize + self.top,
                (place % self.side) as isize + self.left,
            );
            let inside = (0..self.to[0] as isize).contains(&y) && (0..self.to[1] as isize).contains(&x);
            if !inside {
                return IGNORE;
            }
            let row = y as usize * self.from[0] / self.to[0];
            let column = x as usize * self.from[1] / self.to[1];
            mask[row * self.from[1] + column]
        };
        (0..self.side * self.side).map(at).collect()
    }

    fn object(&self, object: Object) -> Option<Object> {
        let [scale_y, scale_x] = [0, 1].map(|axis| self.to[axis] as f32 / self.from[axis] as f32);
        let (x, y, side) = (self.left as f32, self.top as f32, self.side as f32);
        let [left, top, right, bottom] = object.bounds;
        let moved = [
            left * scale_x - x,
            top * scale_y - y,
            right * scale_x - x,
            bottom * scale_y - y,
        ];
        let bounds = moved.map(|v| v.clamp(0.0, side));
        let extent = |[left, top, right, bottom]: [f32; 4]| (right - left) * (bottom - top);
        let visible = bounds[2] - bounds[0] >= 1.0 && bounds[3] - bounds[1] >= 1.0;
        visible.then(|| Object {
            bounds,
            area: object.area * extent(bounds) / extent(object.bounds).max(f32::MIN_POSITIVE),
            ..object
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_masks_go_where_the_pixels_go() {
        let object = Object {
            class: 0,
            bounds: [4.0, 2.0, 8.0, 6.0],
            area: 16.0,
            ignore: false,
            sure: 1.0,
        };
        let mut mask = vec![0u8; 8 * 16];
        (2..6).for_each(|y| mask[y * 16 + 4..y * 16 + 8].fill(1));
        for (fit, bounds) in [
            (Fit::Squash, [2.0, 2.0, 4.0, 6.0]),
            (Fit::Crop, [0.0, 2.0, 4.0, 6.0]),
            (Fit::Pad, [2.0, 3.0, 4.0, 5.0]),
        ] {
            let located = Located {
                mask: mask.clone(),
                objects: vec![object],
                ..Located::default()
            };
            let moved = Placing::new(fit, [8, 16], 8).located(located);
            assert_eq!(moved.objects[0].bounds, bounds, "{fit:?}");
            let inside: Vec<bool> = moved.mask.iter().map(|pixel| *pixel == 1).collect();
            assert_eq!(super::super::draw::around(&inside, 8), Some(bounds), "{fit:?}");
            assert_eq!(moved.mask[0] == IGNORE, fit == Fit::Pad, "bars count nowhere");
        }
    }
}
