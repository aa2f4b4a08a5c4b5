//! Gaussian blur with reflected borders, separably.

use super::Size;

/// Blurs with a `kernel x kernel` Gaussian of deviation `sigma` pixels; the border is mirrored without repeating the edge.
///
/// # Panics
/// With `BUG:` if the kernel is even or reaches over more than the whole image.
pub fn gaussian_blur(image: &[f32], size: Size, kernel: usize, sigma: f32) -> Vec<f32> {
    let half = kernel / 2;
    assert!(
        kernel % 2 == 1 && half < size.h && half < size.w,
        "BUG: a blur needs an odd kernel smaller than the image"
    );
    let mut weights: Vec<f32> = (0..kernel)
        .map(|i| (-0.5 * ((i as f32 - half as f32) / sigma).powi(2)).exp())
        .collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    let Size { h, w, c } = size;
    let mut between = vec![0.0f32; image.len()];
    for y in 0..h {
        for x in 0..w {
            for (k, weight) in weights.iter().enumerate() {
                let from = (y * w + reflect(x as isize + k as isize - half as isize, w)) * c;
                for i in 0..c {
                    between[(y * w + x) * c + i] += image[from + i] * weight;
                }
            }
        }
    }
    let mut out = vec![0.0f32; image.len()];
    let line = w * c;
    for y in 0..h {
        for (k, weight) in weights.iter().enumerate() {
            let from = reflect(y as isize + k as isize - half as isize, h) * line;
            out[y * line..][..line]
                .iter_mut()
                .zip(&between[from..][..line])
                .for_each(|(o, v)| *o += v * weight);
        }
    }
    out
}

/// A position mirrored at the first and last pixel, which are not repeated.
pub(crate) fn reflect(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    if last == 0 {
        return 0;
    }
    let i = i.rem_euclid(2 * last);
    (if i > last { 2 * last - i } else { i }) as usize
}
