//! Bilinear resizing with antialiasing, of a whole image or of a crop, as torchvision's tensor path does it: a triangle filter
//! that widens with the scale, separably, rows of weights that sum to one.

use super::Size;
use crate::kernels::simd::{Vectorised, with_lanes};

/// A rectangle of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Crop {
    /// The whole image.
    pub fn whole(size: Size) -> Self {
        Self {
            top: 0,
            left: 0,
            height: size.h,
            width: size.w,
        }
    }
}

/// Weights of one output position: the first input position and its weights' place.
#[derive(Clone, Copy, Debug, Default)]
struct Tap {
    first: usize,
    start: usize,
    count: usize,
}

/// Taps of one axis.
#[derive(Clone, Debug, Default)]
struct Axis {
    taps: Vec<Tap>,
    weights: Vec<f32>,
}

impl Axis {
    /// Taps that map `from` pixels to `to`.
    fn set(&mut self, from: usize, to: usize) {
        self.taps.clear();
        self.weights.clear();
        let scale = from as f32 / to as f32;
        let widened = scale.max(1.0);
        for o in 0..to {
            let centre = (o as f32 + 0.5) * scale;
            let first = (centre - widened + 0.5).max(0.0) as usize;
            let end = ((centre + widened + 0.5) as usize).min(from);
            let start = self.weights.len();
            let mut sum = 0.0;
            for i in first..end {
                let weight = (1.0 - ((i as f32 - centre + 0.5) / widened).abs()).max(0.0);
                self.weights.push(weight);
                sum += weight;
            }
            self.weights[start..].iter_mut().for_each(|w| *w /= sum);
            self.taps.push(Tap {
                first,
                start,
                count: end - first,
            });
        }
    }

    fn weights(&self, tap: &Tap) -> &[f32] {
        &self.weights[tap.start..tap.start + tap.count]
    }

    /// A line of pixels of `c` channels, and one value more, at another length.
    fn mix_any(&self, line: &[f32], to: &mut [f32], c: usize) {
        match c {
            1 => self.mix(line, to),
            3 => self.mix_three(line, to),
            c => (0..c).for_each(|channel| {
                let one: Vec<f32> = line.iter().skip(channel).step_by(c).copied().collect();
                let mut mixed = vec![0.0; self.taps.len()];
                self.mix(&one, &mut mixed);
                let to = to.iter_mut().skip(channel).step_by(c);
                to.zip(mixed).for_each(|(t, v)| *t = v);
            }),
        }
    }

    /// A line of pixels of one channel at another length.
    fn mix(&self, line: &[f32], to: &mut [f32]) {
        for (tap, to) in self.taps.iter().zip(to) {
            let values = self.weights(tap).iter().zip(&line[tap.first..]);
            *to = values.fold(0.0, |sum, (weight, value)| sum + value * weight);
        }
    }

    /// A line of pixels of three channels at another length. Four values are added at once, which is what a vector holds: the fourth is the
    /// next pixel's, and dropped.
    fn mix_three(&self, line: &[f32], to: &mut [f32]) {
        for (tap, to) in self.taps.iter().zip(to.as_chunks_mut::<3>().0) {
            let mut sum = [0.0; 4];
            let pixels = line[3 * tap.first..].windows(4).step_by(3);
            for (weight, pixel) in self.weights(tap).iter().zip(pixels) {
                sum.iter_mut().zip(pixel).for_each(|(s, v)| *s += v * weight);
            }
            to.copy_from_slice(&sum[..3]);
        }
    }
}

/// Resizes with buffers that are reused from image to image.
#[derive(Clone, Debug, Default)]
pub struct Resizer {
    rows: Axis,
    columns: Axis,
    between: Vec<f32>,
}

impl Resizer {
    /// Resizes `crop` of `image` to `out`'s size; `flip` mirrors the result from left to right.
    ///
    /// # Panics
    /// With `BUG:` if the crop is empty or reaches outside, or a slice does not fit its size.
    pub fn crop(
        &mut self,
        image: &[f32],
        size: Size,
        crop: Crop,
        flip: bool,
        out: &mut [f32],
        (oh, ow): (usize, usize),
    ) {
        let c = size.c;
        assert!(crop.height > 0 && crop.width > 0, "BUG: an empty crop");
        assert!(
            crop.top + crop.height <= size.h && crop.left + crop.width <= size.w,
            "BUG: a crop outside its image"
        );
        assert!(
            image.len() == size.len() && out.len() == oh * ow * c,
            "BUG: slices do not fit the sizes"
        );
        self.columns.set(crop.width, ow);
        self.rows.set(crop.height, oh);
        self.between.clear();
        self.between.resize(crop.height * ow * c, 0.0);
        for y in 0..crop.height {
            let line = &image[((crop.top + y) * size.w + crop.left) * c..][..crop.width * c];
            let to = &mut self.between[y * ow * c..][..ow * c];
            for (o, tap) in self.columns.taps.iter().enumerate() {
                let at = if flip { ow - 1 - o } else { o };
                for (k, weight) in self.columns.weights(tap).iter().enumerate() {
                    let from = &line[(tap.first + k) * c..][..c];
                    to[at * c..][..c]
                        .iter_mut()
                        .zip(from)
                        .for_each(|(t, v)| *t += v * weight);
                }
            }
        }
        for (tap, to) in self.rows.taps.iter().zip(out.chunks_exact_mut(ow * c)) {
            to.fill(0.0);
            for (k, weight) in self.rows.weights(tap).iter().enumerate() {
                let from = &self.between[(tap.first + k) * ow * c..][..ow * c];
                to.iter_mut().zip(from).for_each(|(t, v)| *t += v * weight);
            }
        }
    }
}

/// Adds up rows of `line`'s length, each times its weight, in order.
struct Mix<'a, V> {
    line: &'a mut [f32],
    rows: &'a [V],
    weights: &'a [f32],
}

impl<V: Copy + Into<f32>> Vectorised for Mix<'_, V> {
    /// Plain loops, compiled for the vectors that the CPU has: nothing is fused, so the bits are the same with any. Four rows at a time, so that the
    /// sums are not written as often as there are rows.
    #[inline(always)]
    fn run<S: pulp::Simd>(self, _simd: S) {
        let length = self.line.len();
        self.line.fill(0.0);
        let (fours, rest) = self.weights.as_chunks::<4>();
        let (many, few) = self.rows.split_at(fours.len() * 4 * length);
        for ([a, b, c, d], rows) in fours.iter().zip(many.chunks_exact(4 * length)) {
            let (first, second) = rows.split_at(2 * length);
            let ((p, q), (r, s)) = (first.split_at(length), second.split_at(length));
            for ((((t, p), q), r), s) in self.line.iter_mut().zip(p).zip(q).zip(r).zip(s) {
                *t = (((*t + (*p).into() * a) + (*q).into() * b) + (*r).into() * c) + (*s).into() * d;
            }
        }
        for (weight, row) in rest.iter().zip(few.chunks_exact(length)) {
            for (t, v) in self.line.iter_mut().zip(row) {
                *t += (*v).into() * weight;
            }
        }
    }
}

/// A part of an image of 8 or 16 bits as it is at another size, `[part.height][part.width][c]`, as [`resize`] has it up to rounding. Rows are mixed
/// first, which are long, and then the columns of those that are left: of a photograph that becomes a small image this takes a fraction of the
/// time.
///
/// # Panics
/// With `BUG:` if the slice does not fit the size, or the part reaches outside of the resized image.
pub fn resize_part<V: Copy + Into<f32>>(image: &[V], size: Size, (oh, ow): (usize, usize), part: Crop) -> Vec<f32> {
    assert!(image.len() == size.len(), "BUG: slices do not fit the sizes");
    let inside = part.top + part.height <= oh && part.left + part.width <= ow;
    assert!(inside, "BUG: a part outside its image");
    let (mut rows, mut columns) = (Axis::default(), Axis::default());
    rows.set(size.h, oh);
    columns.set(size.w, ow);
    columns.taps.drain(..part.left);
    columns.taps.truncate(part.width);
    let length = size.w * size.c;
    let mut line = vec![0.0; length + 1];
    let mut out = vec![0.0; part.height * part.width * size.c];
    let to = out.chunks_exact_mut((part.width * size.c).max(1));
    for (tap, to) in rows.taps[part.top..].iter().zip(to) {
        with_lanes(Mix {
            line: &mut line[..length],
            rows: &image[tap.first * length..][..tap.count * length],
            weights: rows.weights(tap),
        });
        columns.mix_any(&line, to, size.c);
    }
    out
}

/// The whole image at another size, `[oh][ow][c]`.
pub fn resize(image: &[f32], size: Size, (oh, ow): (usize, usize)) -> Vec<f32> {
    let mut out = vec![0.0; oh * ow * size.c];
    Resizer::default().crop(image, size, Crop::whole(size), false, &mut out, (oh, ow));
    out
}
