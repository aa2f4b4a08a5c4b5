//! A part of an image at another size.

use super::{Size, resize};

/// The image resized to `to`, seen through a window of its first size whose top left pixel is the resized image's at `(top, left)`, which may lie
/// outside of it: there it is black.
pub fn window(image: &[f32], size: Size, to: (usize, usize), (top, left): (isize, isize), out: &mut [f32]) {
    let (resized, c) = (resize(image, size, to), size.c);
    out.fill(0.0);
    for (y, line) in out.chunks_exact_mut(size.w * c).enumerate() {
        let row = y as isize + top;
        if !(0..to.0 as isize).contains(&row) {
            continue;
        }
        let first = (-left).max(0) as usize;
        let end = (to.1 as isize - left).clamp(0, size.w as isize) as usize;
        if first < end {
            let from = (row as usize * to.1 + (first as isize + left) as usize) * c;
            line[first * c..end * c].copy_from_slice(&resized[from..from + (end - first) * c]);
        }
    }
}
