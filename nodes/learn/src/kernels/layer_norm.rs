//! Layer normalisation of the rows of a matrix `[rows][dim]` (Ba et al. 2016, 1607.06450): `y = (x - mean) / sqrt(variance + eps) * weight + bias`.
//!
//! Mean and biased variance are each row's own. The parameters' gradients are summed in blocks of a fixed number of rows.

use pulp::Simd;
use rayon::prelude::*;

use super::simd::{Lanes, RowSum, Vectorised, with_lanes};

/// Rows of a block: a function of the dimension alone, some 64 KiB.
fn block_rows(dim: usize) -> usize {
    (16_384 / dim.max(1)).clamp(4, 1024)
}

/// What backward needs of a row: its mean and `1 / sqrt(variance + eps)`.
pub type RowMoments = [f32; 2];

/// Overwrites `y`, `[rows][dim]`, and each row's moments.
///
/// # Panics
/// With `BUG:` if the slices do not fit.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32], moments: &mut [RowMoments]) {
    let dim = weight.len();
    check(dim, &[bias.len() / dim, x.len() / y.len().max(1)], x.len());
    let block = block_rows(dim);
    assert_eq!(
        moments.len(),
        x.len() / dim,
        "BUG: moments do not fit the layer norm's rows"
    );
    x.par_chunks(block * dim)
        .zip(y.par_chunks_mut(block * dim))
        .zip(moments.par_chunks_mut(block))
        .for_each(|((x, y), moments)| {
            with_lanes(Forward {
                x,
                weight,
                bias,
                eps,
                y,
                moments,
            });
        });
}

/// Overwrites `dy` with the gradient of the input and adds to those of `weight` and `bias`.
///
/// # Panics
/// With `BUG:` if the slices do not fit.
pub fn backward(
    x: &[f32],
    moments: &[RowMoments],
    weight: &[f32],
    dy: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let dim = weight.len();
    check(
        dim,
        &[dweight.len() / dim, dbias.len() / dim, x.len() / dy.len().max(1)],
        x.len(),
    );
    let block = block_rows(dim);
    let sums: Vec<Vec<f32>> = x
        .par_chunks(block * dim)
        .zip(dy.par_chunks_mut(block * dim))
        .zip(moments.par_chunks(block))
        .map(|((x, dy), moments)| {
            let mut sums = vec![0.0f32; 2 * dim];
            let (dweight, dbias) = sums.split_at_mut(dim);
            with_lanes(Backward {
                x,
                moments,
                weight,
                dy,
                dweight,
                dbias,
            });
            sums
        })
        .collect();
    for sums in sums {
        dweight.iter_mut().zip(&sums[..dim]).for_each(|(d, s)| *d += s);
        dbias.iter_mut().zip(&sums[dim..]).for_each(|(d, s)| *d += s);
    }
}

/// `ratios` of lengths that must be equal, and whole rows.
fn check(dim: usize, ratios: &[usize], len: usize) {
    assert!(
        len.is_multiple_of(dim) && ratios.iter().all(|r| *r == 1),
        "BUG: slices do not fit the layer norm's dimension"
    );
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
    moments: &'a mut [RowMoments],
}

impl Vectorised for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (dim, lanes) = (self.weight.len(), Lanes::<S>::COUNT);
        let rows = self.x.chunks_exact(dim).zip(self.y.chunks_exact_mut(dim));
        for ((x, y), moments) in rows.zip(self.moments) {
            let mut sum = RowSum::new(simd);
            sum.add(
                dim,
                #[inline(always)]
                |at, count| Lanes::load_some(simd, &x[at..], count),
            );
            let mean = sum.total() / dim as f32;
            let centre = Lanes::splat(simd, mean);
            // The deviations are kept in the output for a moment, so that lanes past the row's end count as zero.
            for at in (0..dim).step_by(lanes) {
                let count = lanes.min(dim - at);
                (Lanes::load_some(simd, &x[at..], count) - centre).store_some(&mut y[at..], count);
            }
            let mut squares = RowSum::new(simd);
            squares.add(
                dim,
                #[inline(always)]
                |at, count| {
                    let d = Lanes::load_some(simd, &y[at..], count);
                    d * d
                },
            );
            let inverse_deviation = 1.0 / (squares.total() / dim as f32 + self.eps).sqrt();
            for at in (0..dim).step_by(lanes) {
                let count = lanes.min(dim - at);
                let normalised = inverse_deviation * Lanes::load_some(simd, &y[at..], count);
                let scaled = normalised * Lanes::load_some(simd, &self.weight[at..], count);
                (scaled + Lanes::load_some(simd, &self.bias[at..], count)).store_some(&mut y[at..], count);
            }
            *moments = [mean, inverse_deviation];
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    moments: &'a [RowMoments],
    weight: &'a [f32],
    dy: &'a mut [f32],
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl Vectorised for Backward<'_> {
    /// With `g = dy * weight` and `z` the normalised row: `dx = (g - mean(g) - z mean(g z)) / deviation`.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (dim, lanes) = (self.weight.len(), Lanes::<S>::COUNT);
        let rows = self.x.chunks_exact(dim).zip(self.dy.chunks_exact_mut(dim));
        for ((x, dy), [mean, inverse_deviation]) in rows.zip(self.moments) {
            let centre = Lanes::splat(simd, *mean);
            let (mut sum, mut product) = (RowSum::new(simd), RowSum::new(simd));
            for at in (0..dim).step_by(lanes) {
                let count = lanes.min(dim - at);
                let d = Lanes::load_some(simd, &dy[at..], count);
                let z = *inverse_deviation * (Lanes::load_some(simd, &x[at..], count) - centre);
                let dweight = Lanes::load_some(simd, &self.dweight[at..], count) + d * z;
                dweight.store_some(&mut self.dweight[at..], count);
                (Lanes::load_some(simd, &self.dbias[at..], count) + d).store_some(&mut self.dbias[at..], count);
                (d * Lanes::load_some(simd, &self.weight[at..], count)).store_some(&mut dy[at..], count);
            }
            // `dy` now holds g; past the row's end it is zero, so that nothing else need be.
            let gradient = &*dy;
            sum.add(
                dim,
                #[inline(always)]
                |at, count| Lanes::load_some(simd, &gradient[at..], count),
            );
            product.add(
                dim,
                #[inline(always)]
                |at, count| {
                    let z = *inverse_deviation * (Lanes::load_some(simd, &x[at..], count) - centre);
                    Lanes::load_some(simd, &gradient[at..], count) * z
                },
            );
            let mean = Lanes::splat(simd, sum.total() / dim as f32);
            let along = product.total() / dim as f32;
            for at in (0..dim).step_by(lanes) {
                let count = lanes.min(dim - at);
                let z = *inverse_deviation * (Lanes::load_some(simd, &x[at..], count) - centre);
                let dx = Lanes::load_some(simd, &dy[at..], count) - mean - along * z;
                (*inverse_deviation * dx).store_some(&mut dy[at..], count);
            }
        }
    }
}
