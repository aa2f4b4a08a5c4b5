//! A part of an image at another size, as [`resize`](super::resize) has it up to rounding, for photographs that become small: rows are mixed first,
//! which are long, then the columns of the few that are left, and only what the part needs is looked at.

use std::ops::Range;

use super::resize::Axis;
use super::{Crop, Size};
use crate::kernels::simd::{Vectorised, with_lanes};

/// Rows whose columns are mixed together, so that not each addition waits for the one before.
const TOGETHER: usize = 4;

/// What the values of an image are.
pub trait Value: Copy + Default + Into<f32> {
    /// The nearest to a mixture of values, which is at least 0 and, as weights sum to one up to rounding, may be a little more than the largest.
    fn nearest(mixed: f32) -> Self;
}

/// The nearest whole number to one from 0 to 2^22, but at most `most`; halves are rounded up. In operations that there are vectors for, as there are
/// none for `as`, which looks for numbers that do not fit.
#[inline(always)]
fn nearest(mixed: f32, most: f32) -> u32 {
    /// From here on floats are whole numbers, whose low bits count them.
    const WHOLE: f32 = (1 << 23) as f32;
    let value = mixed + 0.5;
    let value = if value < most { value } else { most };
    let near = (value + WHOLE) - WHOLE;
    let below = if near > value { near - 1.0 } else { near };
    (below + WHOLE).to_bits() & ((1 << 23) - 1)
}

impl Value for u8 {
    #[inline(always)]
    fn nearest(mixed: f32) -> Self {
        nearest(mixed, 255.0) as Self
    }
}

impl Value for u16 {
    #[inline(always)]
    fn nearest(mixed: f32) -> Self {
        nearest(mixed, 65_535.0) as Self
    }
}

impl Value for f32 {
    #[inline(always)]
    fn nearest(mixed: f32) -> Self {
        mixed
    }
}

/// A part of an image as it is at another size, `[part.height][part.width][c]`.
///
/// # Panics
/// With `BUG:` if the slice does not fit the size, or the part reaches outside of the resized image.
pub fn resize_part<V: Value>(image: &[V], size: Size, (oh, ow): (usize, usize), part: Crop) -> Vec<V> {
    assert!(image.len() == size.len(), "BUG: slices do not fit the sizes");
    let inside = part.top + part.height <= oh && part.left + part.width <= ow;
    assert!(inside, "BUG: a part outside its image");
    let c = size.c;
    let mut out = vec![V::default(); part.height * part.width * c];
    if out.is_empty() {
        return out;
    }
    let (mut rows, mut columns) = (Axis::default(), Axis::default());
    rows.set(size.h, oh);
    columns.set(size.w, ow);
    let used = keep(&mut columns, part.left..part.left + part.width);
    // One value more, which a vector of four may reach over to behind the last pixel.
    let (width, length) = (part.width * c, used.len() * c + 1);
    let mut lines = vec![0.0; TOGETHER * length];
    let mut mixed = vec![0.0; TOGETHER * width];
    let taps = rows.taps[part.top..][..part.height].chunks(TOGETHER);
    for (taps, to) in taps.zip(out.chunks_mut(TOGETHER * width)) {
        for (tap, line) in taps.iter().zip(lines.chunks_exact_mut(length)) {
            with_lanes(MixRows {
                rows: &image[tap.first * size.w * c..][..tap.count * size.w * c],
                used: used.start * c..used.end * c,
                weights: rows.weights(tap),
                line: &mut line[..length - 1],
            });
        }
        match c {
            3 => mix_colours(&columns, &lines, &mut mixed),
            _ => lines
                .chunks_exact(length)
                .zip(mixed.chunks_exact_mut(width))
                .for_each(|(line, to)| mix_channels(&columns, line, to, c)),
        }
        with_lanes(Round { mixed: &mixed, to });
    }
    out
}

/// Leaves the taps of these output positions, and counts their input positions from the first that any of them needs: which these are.
fn keep(axis: &mut Axis, outputs: Range<usize>) -> Range<usize> {
    axis.taps.truncate(outputs.end);
    axis.taps.drain(..outputs.start);
    let start = axis.taps.iter().map(|tap| tap.first).min().unwrap_or(0);
    let end = axis.taps.iter().map(|tap| tap.first + tap.count).max().unwrap_or(0);
    axis.taps.iter_mut().for_each(|tap| tap.first -= start);
    start..end
}

/// Columns of the lines of `TOGETHER` rows of pixels of three channels. Four values are added at once, which is what a vector holds: the fourth is
/// the next pixel's, and dropped.
fn mix_colours(columns: &Axis, lines: &[f32], mixed: &mut [f32]) {
    let (length, width) = (lines.len() / TOGETHER, mixed.len() / TOGETHER);
    for (o, tap) in columns.taps.iter().enumerate() {
        let weights = columns.weights(tap);
        let line = |row: usize| &lines[row * length + 3 * tap.first..][..=3 * weights.len()];
        let [a, b, c, d] = [line(0), line(1), line(2), line(3)];
        let [mut p, mut q, mut r, mut s] = [[0.0; 4]; TOGETHER];
        for (k, weight) in weights.iter().enumerate() {
            add_four(&mut p, a, 3 * k, *weight);
            add_four(&mut q, b, 3 * k, *weight);
            add_four(&mut r, c, 3 * k, *weight);
            add_four(&mut s, d, 3 * k, *weight);
        }
        for (row, sum) in [p, q, r, s].iter().enumerate() {
            mixed[row * width + 3 * o..][..3].copy_from_slice(&sum[..3]);
        }
    }
}

/// Adds the four values at a place of a line, each times a weight.
#[inline(always)]
fn add_four(sum: &mut [f32; 4], line: &[f32], at: usize, weight: f32) {
    if let Some(pixel) = line[at..].first_chunk::<4>() {
        *sum = [
            sum[0] + pixel[0] * weight,
            sum[1] + pixel[1] * weight,
            sum[2] + pixel[2] * weight,
            sum[3] + pixel[3] * weight,
        ];
    }
}

/// Columns of a line of pixels of `c` channels.
fn mix_channels(columns: &Axis, line: &[f32], mixed: &mut [f32], c: usize) {
    for (tap, pixel) in columns.taps.iter().zip(mixed.chunks_exact_mut(c)) {
        pixel.fill(0.0);
        for (weight, from) in columns.weights(tap).iter().zip(line[tap.first * c..].chunks_exact(c)) {
            pixel.iter_mut().zip(from).for_each(|(p, v)| *p += v * weight);
        }
    }
}

/// Adds up a range of rows' values, each times its row's weight, in order.
struct MixRows<'a, V> {
    /// As many as there are weights.
    rows: &'a [V],
    used: Range<usize>,
    weights: &'a [f32],
    line: &'a mut [f32],
}

impl<V: Value> Vectorised for MixRows<'_, V> {
    /// Plain loops, compiled for the vectors that the CPU has: nothing is fused, so the bits are the same with any. Four rows at a time, so that the
    /// sums are not written as often as there are rows.
    #[inline(always)]
    fn run<S: pulp::Simd>(self, _simd: S) {
        let length = self.rows.len() / self.weights.len().max(1);
        let row = |k: usize| &self.rows[k * length..][..length][self.used.clone()];
        self.line.fill(0.0);
        let (fours, rest) = self.weights.as_chunks::<4>();
        for (k, [a, b, c, d]) in fours.iter().enumerate() {
            let [p, q, r, s] = [0, 1, 2, 3].map(|i| row(4 * k + i));
            for ((((t, p), q), r), s) in self.line.iter_mut().zip(p).zip(q).zip(r).zip(s) {
                *t = (((*t + (*p).into() * a) + (*q).into() * b) + (*r).into() * c) + (*s).into() * d;
            }
        }
        for (k, weight) in rest.iter().enumerate() {
            for (t, v) in self.line.iter_mut().zip(row(4 * fours.len() + k)) {
                *t += (*v).into() * weight;
            }
        }
    }
}

/// Rounds mixtures to values, as many as there are of these.
struct Round<'a, V> {
    mixed: &'a [f32],
    to: &'a mut [V],
}

impl<V: Value> Vectorised for Round<'_, V> {
    #[inline(always)]
    fn run<S: pulp::Simd>(self, _simd: S) {
        self.to
            .iter_mut()
            .zip(self.mixed)
            .for_each(|(to, mixed)| *to = V::nearest(*mixed));
    }
}
