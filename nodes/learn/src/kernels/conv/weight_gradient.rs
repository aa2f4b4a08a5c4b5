//! The gradient of a convolution's weights: for every tap, `dw[ci][co] = sum over pixels of x[pixel under the tap][ci] dy[pixel][co]`.

use std::ops::Range;

use rayon::prelude::*;

use super::super::scratch;
use super::super::tile::{self, Row, Run, Runs, Store};
use super::ConvShape;

/// Weights up to which each group of images has sums of its own: more would not stay in the second-level cache.
const OWN_SUMS: usize = 96 * 1024;
/// Groups of images, each with sums of its own.
const GROUPS: usize = 16;
/// Pixels that are reduced before sums go back to memory.
const DEPTH: usize = 256;
/// Input channels below which a tap has too few rows to fill a tile.
const NARROW: usize = 8;

/// Adds the gradient of the weights to `dweight` and, if there is one, of the bias to `dbias`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32], dbias: Option<&mut [f32]>) {
    shape.check(x.len(), dy.len(), dweight.len());
    let pass = WeightPass {
        shape,
        x,
        dy,
        cin_g: shape.c_in / shape.groups,
        cout_g: shape.c_out / shape.groups,
    };
    let tap_len = pass.cin_g * shape.c_out;
    if pass.cin_g < NARROW {
        by_images(shape.n, dweight, |images, sums| pass.add_padded(images, sums));
    } else if dweight.len() <= OWN_SUMS {
        by_images(shape.n, dweight, |images, sums| {
            for (tap, sums) in sums.chunks_exact_mut(tap_len).enumerate() {
                pass.add(images.clone(), tap, 0..pass.cin_g, sums);
            }
        });
    } else {
        let rows = pass.cin_g.div_ceil(4).clamp(32, 64).min(pass.cin_g);
        dweight.par_chunks_mut(tap_len).enumerate().for_each(|(tap, sums)| {
            sums.par_chunks_mut(rows * shape.c_out)
                .enumerate()
                .for_each(|(part, sums)| {
                    let first = part * rows;
                    pass.add(0..shape.n, tap, first..first + sums.len() / shape.c_out, sums);
                });
        });
    }
    if let Some(dbias) = dbias {
        add_column_sums(dy, shape.c_out, dbias);
    }
}

/// Lets `add` sum up groups of images, each into sums of its own, and adds these in order.
fn by_images(n: usize, dweight: &mut [f32], add: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let (groups, width) = (GROUPS.min(n), dweight.len());
    scratch::with(groups * width, |sums| {
        sums.par_chunks_mut(width).enumerate().for_each(|(group, sums)| {
            sums.fill(0.0);
            add(group * n / groups..(group + 1) * n / groups, sums);
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
    /// Adds some images' part of some input channels' weights of a tap to `sums`, `[channels][c_out]`.
    fn add(&self, images: Range<usize>, tap: usize, channels: Range<usize>, sums: &mut [f32]) {
        let shape = self.shape;
        let (x_image, y_image) = (
            shape.h * shape.w * shape.c_in,
            shape.out_h() * shape.out_w() * shape.c_out,
        );
        let rows: Vec<Row> = channels
            .clone()
            .map(|ci| Row {
                a: ci,
                c: (ci - channels.start) * shape.c_out,
            })
            .collect();
        let at_once = (DEPTH / (shape.out_h() * shape.out_w())).clamp(1, images.len().max(1));
        let mut runs = self.runs(tap, at_once);
        for first in images.clone().step_by(at_once) {
            let count = at_once.min(images.end - first);
            if count < at_once {
                runs = self.runs(tap, count);
            }
            let (x, dy) = (
                &self.x[first * x_image..][..count * x_image],
                &self.dy[first * y_image..][..count * y_image],
            );
            for group in 0..shape.groups {
                let (x, dy, sums) = (
                    &x[group * self.cin_g..],
                    &dy[group * self.cout_g..],
                    &mut sums[group * self.cout_g..],
                );
                tile::product(x, dy, sums, &rows, self.cout_g, &runs, Store::Add);
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

/// Adds the sum of every column of a `[rows][columns]` matrix to `sums`, in blocks of a fixed size.
fn add_column_sums(matrix: &[f32], columns: usize, sums: &mut [f32]) {
    let blocks: Vec<Vec<f32>> = matrix
        .par_chunks(columns * 1024)
        .map(|block| {
            let mut sum = vec![0.0f32; columns];
            for row in block.chunks_exact(columns) {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sum
        })
        .collect();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(s, v)| *s += v);
    }
}
