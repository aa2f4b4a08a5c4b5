//! How images are cut into tiles, and the transforms from images to tiles' points and back.

use std::ops::Range;

use pulp::Simd;

use super::super::super::simd::{Lanes, Vectorised};
use super::super::ConvShape;
use super::transform::{Input, Output, OutputGradient, both_axes};
use super::{I, O, P};

/// A grid of square tiles over the results of a convolution. Rows of tiles are counted through all images.
pub(super) struct Grid {
    /// Rows of tiles of all images.
    pub(super) rows: usize,
    /// Rows of tiles of an image.
    down: usize,
    /// Tiles in a row.
    pub(super) across: usize,
    /// Height and width of what the results are made from.
    source: (usize, usize),
    /// Height and width of the results.
    result: (usize, usize),
    /// Zeros around the source.
    padding: usize,
}

impl Grid {
    pub(super) fn of(shape: &ConvShape) -> Self {
        let (source, result) = ((shape.h, shape.w), (shape.out_h(), shape.out_w()));
        let (down, across) = (result.0.div_ceil(O), result.1.div_ceil(O));
        Self {
            rows: shape.n * down,
            down,
            across,
            source,
            result,
            padding: shape.padding,
        }
    }

    /// Rows of result pixels of a row of tiles: the last of an image may be cut off.
    fn height(&self, row: usize) -> usize {
        O.min(self.result.0 - row % self.down * O)
    }

    /// The results in pieces of `step` rows of tiles.
    pub(super) fn split_results<'a>(
        &self,
        channels: usize,
        step: usize,
        mut results: &'a mut [f32],
    ) -> Vec<(Range<usize>, &'a mut [f32])> {
        let mut pieces = Vec::with_capacity(self.rows.div_ceil(step));
        for first in (0..self.rows).step_by(step) {
            let rows = first..(first + step).min(self.rows);
            let height: usize = rows.clone().map(|row| self.height(row)).sum();
            let (piece, rest) = results.split_at_mut(height * self.result.1 * channels);
            pieces.push((rows, piece));
            results = rest;
        }
        pieces
    }
}

/// Some rows of tiles, whose points lie as `[point][tile][channel]`, `step` values from point to point.
pub(super) struct Band<'a> {
    pub(super) grid: &'a Grid,
    pub(super) channels: usize,
    pub(super) rows: Range<usize>,
    pub(super) step: usize,
}

/// Whole source images to the points of a band's tiles.
pub(super) struct TransformSources<'a> {
    pub(super) band: Band<'a>,
    pub(super) from: &'a [f32],
    pub(super) points: &'a mut [f32],
}

impl Vectorised for TransformSources<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { band, from, points } = self;
        let Band {
            grid,
            channels,
            rows,
            step,
        } = band;
        let (h, w) = grid.source;
        for (at, row) in rows.enumerate() {
            let image = &from[row / grid.down * h * w * channels..][..h * w * channels];
            let top = row % grid.down * O;
            for across in 0..grid.across {
                let left = across * O;
                let to = (at * grid.across + across) * channels;
                let (starts, ends) = (
                    top.min(left) >= grid.padding,
                    (
                        (top + I).saturating_sub(grid.padding),
                        (left + I).saturating_sub(grid.padding),
                    ),
                );
                let inside = starts && ends.0 <= h && ends.1 <= w;
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut inputs = [[Lanes::splat(simd, 0.0); I]; I];
                    if inside {
                        let corner = &image[((top - grid.padding) * w + left - grid.padding) * channels + c..];
                        for (i, line) in inputs.iter_mut().enumerate() {
                            for (j, lanes) in line.iter_mut().enumerate() {
                                *lanes = Lanes::load(simd, &corner[(i * w + j) * channels..]);
                            }
                        }
                    } else {
                        for (i, line) in inputs.iter_mut().enumerate() {
                            for (j, lanes) in line.iter_mut().enumerate() {
                                let (y, x) = (
                                    (top + i).wrapping_sub(grid.padding),
                                    (left + j).wrapping_sub(grid.padding),
                                );
                                if y < h && x < w {
                                    *lanes = Lanes::load(simd, &image[(y * w + x) * channels + c..]);
                                }
                            }
                        }
                    }
                    let transformed = both_axes::<Input, S, I, P>(simd, &inputs);
                    for (point, lanes) in transformed.as_flattened().iter().enumerate() {
                        lanes.store(&mut points[point * step + to + c..]);
                    }
                }
            }
        }
    }
}

/// The points of a band's tiles to its piece of the results.
pub(super) struct TransformResults<'a> {
    pub(super) band: Band<'a>,
    pub(super) points: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Vectorised for TransformResults<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { band, points, mut to } = self;
        let Band {
            grid,
            channels,
            rows,
            step,
        } = band;
        let line = grid.result.1 * channels;
        for (at, row) in rows.enumerate() {
            let height = grid.height(row);
            let (lines, rest) = std::mem::take(&mut to).split_at_mut(height * line);
            to = rest;
            for across in 0..grid.across {
                let from = (at * grid.across + across) * channels;
                let columns = O.min(grid.result.1 - across * O);
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut square = [[Lanes::splat(simd, 0.0); P]; P];
                    for (point, lanes) in square.as_flattened_mut().iter_mut().enumerate() {
                        *lanes = Lanes::load(simd, &points[point * step + from + c..]);
                    }
                    let results = both_axes::<Output, S, P, O>(simd, &square);
                    for (i, results) in results.iter().enumerate().take(height) {
                        for (j, lanes) in results.iter().enumerate().take(columns) {
                            lanes.store(&mut lines[i * line + (across * O + j) * channels + c..]);
                        }
                    }
                }
            }
        }
    }
}

/// Whole images of results' gradients to the gradients of a band's points.
pub(super) struct TransformResultGradients<'a> {
    pub(super) band: Band<'a>,
    pub(super) from: &'a [f32],
    pub(super) points: &'a mut [f32],
}

impl Vectorised for TransformResultGradients<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { band, from, points } = self;
        let Band {
            grid,
            channels,
            rows,
            step,
        } = band;
        let line = grid.result.1 * channels;
        for (at, row) in rows.enumerate() {
            let start = (row / grid.down * grid.result.0 + row % grid.down * O) * line;
            let height = grid.height(row);
            for across in 0..grid.across {
                let to = (at * grid.across + across) * channels;
                let columns = O.min(grid.result.1 - across * O);
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut square = [[Lanes::splat(simd, 0.0); O]; O];
                    for (i, lanes) in square.iter_mut().enumerate().take(height) {
                        for (j, lanes) in lanes.iter_mut().enumerate().take(columns) {
                            *lanes = Lanes::load(simd, &from[start + i * line + (across * O + j) * channels + c..]);
                        }
                    }
                    let transformed = both_axes::<OutputGradient, S, O, P>(simd, &square);
                    for (point, lanes) in transformed.as_flattened().iter().enumerate() {
                        lanes.store(&mut points[point * step + to + c..]);
                    }
                }
            }
        }
    }
}
