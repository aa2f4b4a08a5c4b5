//! The gradient of a convolution's weights: for every tap, `dw[ci][co] = sum over pixels of x[pixel under the tap][ci] dy[pixel][co]`.

use std::ops::Range;

use rayon::prelude::*;

use super::super::scratch;
use super::super::tile::{self, Row, Run, Runs, Store};
use super::ConvShape;

/// The most groups of images, each with sums of its own.
const GROUPS: usize = 16;
/// Values that the groups' sums may take together.
const SUMS: usize = 2 << 20;
/// Pixels that are reduced before sums go back to memory.
const DEPTH: usize = 256;
/// Input channels below which a tap has too few rows to fill a tile.
const NARROW: usize = 8;

/// Adds the gradient of the weights to `dweight`.
pub(super) fn direct(shape: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let pass = WeightPass {
        shape,
        x,
        dy,
        cin_g: shape.c_in / shape.groups,
        cout_g: shape.c_out / shape.groups,
    };
    let (groups, part) = division(shape);
    let (all_taps, tap_len) = (shape.kernel * shape.kernel, pass.cin_g * shape.c_out);
    if pass.cin_g < NARROW {
        by_groups(shape.n, groups, dweight.len(), dweight, |images, _, sums| {
            pass.add_padded(images, sums);
        });
    } else if part == dweight.len() {
        by_groups(shape.n, groups, part, dweight, |images, _, sums| {
            pass.add(images, 0..all_taps, 0..pass.cin_g, sums);
        });
    } else {
        by_groups(shape.n, groups, part, dweight, |images, place, sums| {
            let (tap, first) = (place / tap_len, place % tap_len / shape.c_out);
            pass.add(images, tap..tap + 1, first..first + sums.len() / shape.c_out, sums);
        });
    }
}

/// How many groups of images have sums of their own, and the weights of a part of these. Of many weights the few groups' sums are cut up
/// too, each tap in two.
pub(super) fn division(shape: &ConvShape) -> (usize, usize) {
    let (.., weights) = shape.lengths();
    let groups = (SUMS / weights.max(1)).clamp(1, GROUPS).min(shape.n);
    let half = (shape.c_in / shape.groups).div_ceil(2) * shape.c_out;
    (groups, if 2 * groups >= GROUPS { weights } else { half })
}

/// Images whose pixels are reduced before sums go back to memory.
pub(super) fn at_once(shape: &ConvShape) -> usize {
    (DEPTH / (shape.out_h() * shape.out_w())).clamp(1, shape.n.max(1))
}

/// Lets `add(images, place, sums)` sum up each group of images, into sums of its own for each part of `part` weights, and adds
/// these in order.
pub(super) fn by_groups(
    n: usize,
    groups: usize,
    part: usize,
    dweight: &mut [f32],
    add: impl Fn(Range<usize>, usize, &mut [f32]) + Sync,
) {
    if groups == 1 {
        dweight
            .par_chunks_mut(part)
            .enumerate()
            .for_each(|(i, sums)| add(0..n, i * part, sums));
        return;
    }
    let width = dweight.len();
    scratch::with(groups * width, |sums| {
        sums.par_chunks_mut(width).enumerate().for_each(|(group, sums)| {
            let images = group * n / groups..(group + 1) * n / groups;
            sums.par_chunks_mut(part).enumerate().for_each(|(i, sums)| {
                sums.fill(0.0);
                add(images.clone(), i * part, sums);
            });
        });
        let block = width.div_ceil(GROUPS);
        dweight.par_chunks_mut(block).enumerate().for_each(|(at, dweight)| {
            for sums in sums.chunks_exact(width) {
                dweight.iter_mut().zip(&sums[at * block..]).for_each(|(d, s)| *d += s);
            }
        });
    });
}

/// What the gradient is made from.
struct WeightPass<'a> {
    shape: &'a ConvShape,
    x: &'a [f32],
    dy: &'a [f32],
    /// Input channels of a group.
    cin_g: usize,
    /// Output channels of a group.
    cout_g: usize,
}

impl WeightPass<'_> {
    /// Adds some images' part of some taps' and input channels' weights to `sums`, `[taps][channels][c_out]`.
    fn add(&self, images: Range<usize>, taps: Range<usize>, channels: Range<usize>, sums: &mut [f32]) {
        let shape = self.shape;
        let (x_image, y_image) = (
            shape.h * shape.w * shape.c_in,
            shape.out_h() * shape.out_w() * shape.c_out,
        );
        let row = |ci: usize| Row {
            a: ci,
            c: (ci - channels.start) * shape.c_out,
        };
        let rows: Vec<Row> = channels.clone().map(row).collect();
        let at_once = at_once(shape).min(images.len().max(1));
        let runs_of = |count: usize| -> Vec<Runs> { taps.clone().map(|tap| self.runs(tap, count)).collect() };
        let mut runs = runs_of(at_once);
        for first in images.clone().step_by(at_once) {
            let count = at_once.min(images.end - first);
            if count < at_once {
                runs = runs_of(count);
            }
            let (x, dy) = (
                &self.x[first * x_image..][..count * x_image],
                &self.dy[first * y_image..][..count * y_image],
            );
            for (runs, sums) in runs.iter().zip(sums.chunks_exact_mut(rows.len() * shape.c_out)) {
                for group in 0..shape.groups {
                    let (x, dy, sums) = (
                        &x[group * self.cin_g..],
                        &dy[group * self.cout_g..],
                        &mut sums[group * self.cout_g..],
                    );
                    tile::product(x, dy, sums, &rows, self.cout_g, runs, Store::Add);
                }
            }
        }
    }

    /// The pixels of `images` images whose patch has `tap` inside the image, with what lies under it.
    fn runs(&self, tap: usize, images: usize) -> Runs {
        let ConvShape {
            h,
            w,
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            ..
        } = *self.shape;
        let (oh, ow) = (self.shape.out_h(), self.shape.out_w());
        let (ky, kx) = (tap / kernel, tap % kernel);
        // Output positions o with 0 <= o * stride + k - padding < size.
        let inside = |k: usize, size: usize, out: usize| {
            let first = padding.saturating_sub(k).div_ceil(stride);
            first..(size + padding).saturating_sub(k).div_ceil(stride).min(out).max(first)
        };
        let (ys, xs) = (inside(ky, h, oh), inside(kx, w, ow));
        let mut runs = Runs::default();
        if xs.is_empty() {
            return runs;
        }
        for image in 0..images {
            for oy in ys.clone() {
                let (iy, ix) = (oy * stride + ky - padding, xs.start * stride + kx - padding);
                runs.push(Run {
                    a: ((image * h + iy) * w + ix) * c_in,
                    a_step: stride * c_in,
                    b: ((image * oh + oy) * ow + xs.start) * c_out,
                    b_step: c_out,
                    len: xs.len(),
                });
            }
        }
        runs
    }

    /// Adds some images' part of all weights to `sums`, from copies with a border of zeros, so that all taps see all pixels and
    /// the few rows of each fill tiles together.
    fn add_padded(&self, images: Range<usize>, sums: &mut [f32]) {
        let ConvShape {
            h,
            w,
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            groups,
            ..
        } = *self.shape;
        let (oh, ow) = (self.shape.out_h(), self.shape.out_w());
        let full_w = w + 2 * padding;
        let rows: Vec<Row> = (0..kernel * kernel * self.cin_g)
            .map(|row| {
                let (tap, ci) = (row / self.cin_g, row % self.cin_g);
                Row {
                    a: (tap / kernel * full_w + tap % kernel) * c_in + ci,
                    c: row * c_out,
                }
            })
            .collect();
        let mut runs = Runs::default();
        for oy in 0..oh {
            let (a, b) = (oy * stride * full_w * c_in, oy * ow * c_out);
            runs.push(Run {
                a,
                a_step: stride * c_in,
                b,
                b_step: c_out,
                len: ow,
            });
        }
        scratch::with((h + 2 * padding) * full_w * c_in, |bordered| {
            bordered.fill(0.0);
            for image in images {
                let x = &self.x[image * h * w * c_in..][..h * w * c_in];
                for (y, line) in x.chunks_exact(w * c_in).enumerate() {
                    bordered[((y + padding) * full_w + padding) * c_in..][..line.len()].copy_from_slice(line);
                }
                let dy = &self.dy[image * oh * ow * c_out..][..oh * ow * c_out];
                for group in 0..groups {
                    let (x, dy) = (&bordered[group * self.cin_g..], &dy[group * self.cout_g..]);
                    let sums = &mut sums[group * self.cout_g..];
                    tile::product(x, dy, sums, &rows, self.cout_g, &runs, Store::Add);
                }
            }
        });
    }
}
