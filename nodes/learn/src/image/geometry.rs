//! Flips, quarter turns, rotation, shear and shifts.

use super::Size;
use super::blur::reflect;

/// Mirrors from left to right, in place.
pub fn horizontal_flip(image: &mut [f32], size: Size) {
    for line in image.chunks_exact_mut(size.w * size.c) {
        for x in 0..size.w / 2 {
            for i in 0..size.c {
                line.swap(x * size.c + i, (size.w - 1 - x) * size.c + i);
            }
        }
    }
}

/// A quarter turn counter-clockwise, exactly: `[h][w][c]` to `[w][h][c]`.
pub fn rotate_90_ccw(image: &[f32], size: Size, out: &mut [f32]) {
    let Size { h, w, c } = size;
    for y in 0..w {
        for x in 0..h {
            let from = (x * w + (w - 1 - y)) * c;
            out[(y * h + x) * c..][..c].copy_from_slice(&image[from..from + c]);
        }
    }
}

/// Rotates counter-clockwise by `degrees` around the centre, bilinearly; what comes from outside is `fill`.
pub fn rotate(image: &[f32], size: Size, degrees: f32, fill: f32) -> Vec<f32> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    sample(image, size, fill, |x, y| (cos * x - sin * y, sin * x + cos * y))
}

/// Shears along x by `degrees` around the centre, bilinearly; what comes from outside is `fill`.
pub fn affine_shear_x(image: &[f32], size: Size, degrees: f32, fill: f32) -> Vec<f32> {
    let tan = degrees.to_radians().tan();
    sample(image, size, fill, |x, y| (x + tan * y, y))
}

/// Shears along x and y around the top left corner, by so many pixels a pixel, bilinearly; what comes from outside is black.
pub fn shear(image: &[f32], size: Size, along_x: f32, along_y: f32) -> Vec<f32> {
    let (cx, cy) = (size.w as f32 / 2.0, size.h as f32 / 2.0);
    sample(image, size, 0.0, |x, y| {
        (x + along_x * (y + cy), y + along_y * (x + cx))
    })
}

/// Moves the image by whole pixels, right and down; what comes from outside is black.
pub fn translate(image: &[f32], size: Size, right: f32, down: f32) -> Vec<f32> {
    sample(image, size, 0.0, |x, y| (x - right.trunc(), y - down.trunc()))
}

/// Each output pixel takes the input at `map(x, y)`, both relative to the image's centre in pixels.
fn sample(image: &[f32], size: Size, fill: f32, map: impl Fn(f32, f32) -> (f32, f32)) -> Vec<f32> {
    let Size { h, w, c } = size;
    let (cx, cy) = (w as f32 / 2.0, h as f32 / 2.0);
    let mut out = vec![0.0f32; image.len()];
    for oy in 0..h {
        for ox in 0..w {
            let (x, y) = map(ox as f32 + 0.5 - cx, oy as f32 + 0.5 - cy);
            let (x, y) = (x + cx - 0.5, y + cy - 0.5);
            let (x0, y0) = (x.floor(), y.floor());
            let pixel = &mut out[(oy * w + ox) * c..][..c];
            let mut covered = 0.0;
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let (px, py) = (x0 as isize + dx, y0 as isize + dy);
                let weight = (1.0 - (x - px as f32).abs()) * (1.0 - (y - py as f32).abs());
                if (0..w as isize).contains(&px) && (0..h as isize).contains(&py) {
                    covered += weight;
                    let from = &image[(py as usize * w + px as usize) * c..][..c];
                    pixel.iter_mut().zip(from).for_each(|(p, v)| *p += v * weight);
                }
            }
            // torchvision blends the sample, which fades to black outside already, once more by how much of it lies inside.
            if fill != 0.0 {
                pixel.iter_mut().for_each(|p| *p = covered * (*p - fill) + fill);
            }
        }
    }
    out
}

/// Moves the image by whole pixels, down and right; the border is mirrored.
pub fn shift_reflect(image: &[f32], size: Size, down: isize, right: isize, out: &mut [f32]) {
    let Size { h, w, c } = size;
    for y in 0..h {
        let from_y = reflect(y as isize - down, h);
        for x in 0..w {
            let from = (from_y * w + reflect(x as isize - right, w)) * c;
            out[(y * w + x) * c..][..c].copy_from_slice(&image[from..from + c]);
        }
    }
}
