//! What operations do to places: the same flips, crops and turns for masks and boxes as for pixels. Masks take the nearest pixel and boxes the
//! rectangle around what became of their corners, cut at the border, as torchvision's `transforms.v2` do.

use crate::data::{IGNORE, Located, Object};
use crate::image::{Crop, Size, reflect};

/// A change of places by an operation, with what was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// A part of the image at full size.
    Crop(Crop),
    /// From left to right.
    Flip,
    /// By whole pixels; the border of pixels and masks is mirrored, boxes are cut.
    Shift {
        /// Rows.
        down: isize,
        /// Columns.
        right: isize,
    },
    /// Each output pixel is from `(a x + b y + c, d x + e y + f)`, both relative to the image's centre; what comes from outside is background.
    Affine([f32; 6]),
    /// Resized, then seen through a window of the image's size; what lies outside of the resized image counts nowhere.
    Window {
        /// Height and width when resized.
        to: (usize, usize),
        /// Row of the resized image at the window's top; negative where it begins below.
        top: isize,
        /// Likewise, column.
        left: isize,
    },
}

/// What a pixel of a mask is after a move.
enum Source {
    /// What the pixel of that number was.
    Pixel(usize),
    /// Background.
    Background,
    /// Nothing that counts.
    Nothing,
}

impl Move {
    /// A turn counter-clockwise.
    pub fn rotation(degrees: f32) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self::Affine([cos, -sin, 0.0, sin, cos, 0.0])
    }

    /// As [`crate::image::shear`].
    pub fn shear(size: Size, along_x: f32, along_y: f32) -> Self {
        let (cx, cy) = (size.w as f32 / 2.0, size.h as f32 / 2.0);
        Self::Affine([1.0, along_x, along_x * cy, along_y, 1.0, along_y * cx])
    }

    /// As [`crate::image::translate`].
    pub fn translation(right: f32, down: f32) -> Self {
        Self::Affine([1.0, 0.0, -right.trunc(), 0.0, 1.0, -down.trunc()])
    }

    /// Where a pixel of a mask, `[h][w]`, comes from.
    fn source(&self, at: usize, Size { h, w, .. }: Size) -> Source {
        let (y, x) = (at / w, at % w);
        match *self {
            Self::Crop(crop) => Source::Pixel((crop.top + y * crop.height / h) * w + crop.left + x * crop.width / w),
            Self::Flip => Source::Pixel(y * w + w - 1 - x),
            Self::Shift { down, right } => {
                Source::Pixel(reflect(y as isize - down, h) * w + reflect(x as isize - right, w))
            }
            Self::Affine([a, b, c, d, e, f]) => {
                let (cx, cy) = (w as f32 / 2.0, h as f32 / 2.0);
                let (u, v) = (x as f32 + 0.5 - cx, y as f32 + 0.5 - cy);
                let place = |value: f32, centre: f32| (value + centre - 0.5).round_ties_even() as isize;
                let (px, py) = (place(a * u + b * v + c, cx), place(d * u + e * v + f, cy));
                let inside = (0..w as isize).contains(&px) && (0..h as isize).contains(&py);
                if inside {
                    Source::Pixel(py as usize * w + px as usize)
                } else {
                    Source::Background
                }
            }
            Self::Window { to, top, left } => {
                let (py, px) = (y as isize + top, x as isize + left);
                let inside = (0..to.0 as isize).contains(&py) && (0..to.1 as isize).contains(&px);
                let from = |p: isize, long: usize, to: usize| p as usize * long / to;
                if inside {
                    Source::Pixel(from(py, h, to.0) * w + from(px, w, to.1))
                } else {
                    Source::Nothing
                }
            }
        }
    }

    /// What becomes of a mask, `[h][w]`.
    pub fn of_mask(&self, mask: &[u8], size: Size) -> Vec<u8> {
        let pixel = |at: usize| match self.source(at, size) {
            Source::Pixel(from) => mask[from],
            Source::Background => 0,
            Source::Nothing => IGNORE,
        };
        (0..mask.len()).map(pixel).collect()
    }

    /// What becomes of a soft mask, `[h][w][classes + 1]`.
    fn of_soft(&self, soft: &[u8], size: Size) -> Vec<u8> {
        let classes = soft.len() / (size.h * size.w);
        let mut moved = vec![0; soft.len()];
        for (at, row) in moved.chunks_exact_mut(classes).enumerate() {
            match self.source(at, size) {
                Source::Pixel(from) => row.copy_from_slice(&soft[from * classes..][..classes]),
                Source::Background => row[0] = u8::MAX,
                Source::Nothing => {}
            }
        }
        moved
    }

    /// What becomes of left, top, right and bottom; empty where nothing of it is left.
    pub fn of_bounds(&self, bounds: [f32; 4], size: Size) -> [f32; 4] {
        let (w, h) = (size.w as f32, size.h as f32);
        let [left, top, right, bottom] = bounds;
        let cut = |[left, top, right, bottom]: [f32; 4], w: f32, h: f32| {
            [
                left.clamp(0.0, w),
                top.clamp(0.0, h),
                right.clamp(0.0, w),
                bottom.clamp(0.0, h),
            ]
        };
        match *self {
            Self::Crop(crop) => {
                let (x, y) = (crop.left as f32, crop.top as f32);
                let (width, height) = (crop.width as f32, crop.height as f32);
                let [l, t, r, b] = cut([left - x, top - y, right - x, bottom - y], width, height);
                [l * w / width, t * h / height, r * w / width, b * h / height]
            }
            Self::Flip => [w - right, top, w - left, bottom],
            Self::Shift { down, right: by } => {
                let (x, y) = (by as f32, down as f32);
                cut([left + x, top + y, right + x, bottom + y], w, h)
            }
            Self::Affine([a, b, c, d, e, f]) => {
                // Outputs are mapped to inputs: a corner goes the other way.
                let (cx, cy, determinant) = (w / 2.0, h / 2.0, a * e - b * d);
                let corner = |x: f32, y: f32| {
                    let (u, v) = (x - cx - c, y - cy - f);
                    [(e * u - b * v) / determinant + cx, (a * v - d * u) / determinant + cy]
                };
                let corners = [
                    corner(left, top),
                    corner(right, top),
                    corner(left, bottom),
                    corner(right, bottom),
                ];
                let least = |axis: usize| corners.iter().map(|corner| corner[axis]).fold(f32::INFINITY, f32::min);
                let most = |axis: usize| {
                    corners
                        .iter()
                        .map(|corner| corner[axis])
                        .fold(f32::NEG_INFINITY, f32::max)
                };
                cut([least(0), least(1), most(0), most(1)], w, h)
            }
            Self::Window { to, top: y, left: x } => {
                let (sx, sy) = (to.1 as f32 / w, to.0 as f32 / h);
                let (x, y) = (x as f32, y as f32);
                cut([left * sx - x, top * sy - y, right * sx - x, bottom * sy - y], w, h)
            }
        }
    }
}

/// The narrowest side of a box that is kept, in pixels.
const NARROWEST: f32 = 1.0;

/// What becomes of masks and boxes by some changes in order. Boxes of which less than a pixel's width is left are gone.
pub fn moved(mut located: Located, moves: &[Move], size: Size) -> Located {
    for one in moves {
        if !located.mask.is_empty() {
            located.mask = one.of_mask(&located.mask, size);
        }
        if !located.soft.is_empty() {
            located.soft = one.of_soft(&located.soft, size);
        }
    }
    let of = |object: Object| {
        let mut bounds = object.bounds;
        for one in moves {
            bounds = one.of_bounds(bounds, size);
        }
        let [left, top, right, bottom] = bounds;
        let extent = |[left, top, right, bottom]: [f32; 4]| (right - left) * (bottom - top);
        let visible = right - left >= NARROWEST && bottom - top >= NARROWEST;
        visible.then(|| Object {
            bounds,
            area: object.area * extent([left, top, right, bottom]) / extent(object.bounds),
            ..object
        })
    };
    located.objects = located.objects.into_iter().filter_map(of).collect();
    located
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { h: 6, w: 8, c: 1 };

    /// A rectangle of ones, and its box.
    fn rectangle() -> Located {
        let mut mask = vec![0; 48];
        for y in 1..4 {
            mask[y * 8 + 2..y * 8 + 5].fill(1);
        }
        let object = Object {
            class: 0,
            bounds: [2.0, 1.0, 5.0, 4.0],
            area: 9.0,
            ignore: false,
            sure: 1.0,
        };
        Located {
            mask,
            objects: vec![object],
            ..Located::default()
        }
    }

    /// The box around what a mask shows.
    fn around(mask: &[u8]) -> [f32; 4] {
        let places = || {
            mask.iter()
                .enumerate()
                .filter(|(_, m)| **m == 1)
                .map(|(at, _)| ((at % 8) as f32, (at / 8) as f32))
        };
        places().fold([8.0f32, 6.0, 0.0, 0.0], |[l, t, r, b], (x, y)| {
            [l.min(x), t.min(y), r.max(x + 1.0), b.max(y + 1.0)]
        })
    }

    #[test]
    fn boxes_stay_around_what_their_masks_show() {
        let crop = Crop {
            top: 0,
            left: 0,
            height: 3,
            width: 4,
        };
        let window = Move::Window {
            to: (12, 16),
            top: 2,
            left: 3,
        };
        let small = Move::Window {
            to: (3, 4),
            top: -2,
            left: -1,
        };
        for one in [
            Move::Crop(crop),
            Move::Flip,
            // Without a border that would show the rectangle once more.
            Move::Shift { down: 0, right: -2 },
            Move::translation(2.0, 1.0),
            Move::rotation(180.0),
            window,
        ] {
            let after = moved(rectangle(), &[one], SIZE);
            let (shown, bounds) = (around(&after.mask), after.objects[0].bounds);
            let close = shown.iter().zip(&bounds).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close, "{one:?}: {shown:?} are shown, the box is {bounds:?}");
        }
        let after = moved(rectangle(), &[small], SIZE);
        assert_eq!(after.objects[0].bounds, [2.0, 2.5, 3.5, 4.0]);
        assert_eq!(after.mask[0], IGNORE, "what lies outside of the image counts nowhere");
        assert_eq!(after.objects[0].area, 2.25);
    }

    #[test]
    fn what_leaves_the_image_is_gone() {
        let after = moved(rectangle(), &[Move::translation(6.0, 0.0)], SIZE);
        assert!(
            after.objects.is_empty() && after.mask.iter().all(|m| *m == 0),
            "{after:?}"
        );
    }

    #[test]
    fn soft_masks_go_where_masks_go() {
        let mut located = rectangle();
        let row = |pixel: &u8| if *pixel == 1 { [55, 200] } else { [250, 5] };
        located.soft = located.mask.iter().flat_map(row).collect();
        let window = Move::Window {
            to: (9, 12),
            top: 2,
            left: -1,
        };
        for one in [
            Move::Flip,
            Move::Shift { down: 1, right: -2 },
            Move::rotation(20.0),
            window,
        ] {
            let after = moved(located.clone(), &[one], SIZE);
            for (pixel, row) in after.mask.iter().zip(after.soft.as_chunks::<2>().0) {
                let expected: &[[u8; 2]] = match *pixel {
                    1 => &[[55, 200]],
                    IGNORE => &[[0, 0]],
                    // What an affine move brings in from outside is background.
                    _ => &[[250, 5], [255, 0]],
                };
                assert!(expected.contains(row), "{one:?}: {row:?} of {pixel}");
            }
        }
    }
}
