//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3): 36 products for 16 outputs where the plain sum
//! has 144. Images are cut into tiles of 4x4 outputs (6x6 inputs); behind the transform, each of the 36 points is a matrix
//! product over channels.
//!
//! The gradient of the input is the same convolution with turned weights; the gradient of the weights has the transposed
//! transforms around products that reduce over tiles.

mod gradient;
mod transform;

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::super::layout::turn;
use super::super::scratch;
use super::super::simd::{Lanes, MOST_LANES as LANES, Vectorised, with_lanes};
use super::super::tile::{self, Row, Run, Runs, Store};
use super::ConvShape;
pub(super) use gradient::backward_weight;
use transform::{Input, Output, OutputGradient, Weight, both_axes};

/// Points of a tile.
const POINTS: usize = 36;
/// Outputs along a tile's side.
const SIDE: usize = 4;

/// Whether this way is the faster one. Padded tiles cost as much as full ones, and the transforms about as much as half the
/// products that remain.
pub(super) fn suits(shape: &ConvShape) -> bool {
    let ConvShape {
        kernel,
        stride,
        padding,
        groups,
        ..
    } = *shape;
    let lanes = shape.c_in.is_multiple_of(LANES) && shape.c_out.is_multiple_of(LANES);
    if !(kernel == 3 && stride == 1 && padding <= 2 && groups == 1 && lanes && shape.c_in.min(shape.c_out) >= 2 * LANES)
    {
        return false;
    }
    // Products of the plain sum along an axis: 3 for each output, less those that fall outside.
    let plain = |size: usize, out: usize| -> usize {
        let taps = |o: usize| {
            (0..3)
                .filter(|t| (o + t).checked_sub(padding).is_some_and(|i| i < size))
                .count()
        };
        (0..out).map(taps).sum()
    };
    let (oh, ow) = (shape.out_h(), shape.out_w());
    let tiles = oh.div_ceil(SIDE) * ow.div_ceil(SIDE);
    2 * plain(shape.h, oh) * plain(shape.w, ow) > 3 * POINTS * tiles
}

/// Forward pass; `y` is overwritten.
pub(super) fn forward(shape: &ConvShape, x: &[f32], weight: &[f32], y: &mut [f32]) {
    convolve(shape, x, weight, y);
}

/// Gradient of the input; `dx` is overwritten.
pub(super) fn backward_input(shape: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let turned = turn(weight, 9, shape.c_in, shape.c_out, shape.c_out);
    let transposed = ConvShape {
        h: shape.out_h(),
        w: shape.out_w(),
        c_in: shape.c_out,
        c_out: shape.c_in,
        padding: 2 - shape.padding,
        ..*shape
    };
    convolve(&transposed, dy, &turned, dx);
}

/// Rows of tiles, through all images, that a task takes: so many that each weight serves for several tiles of registers, so
/// few that what is between the transforms stays in the second-level cache (or, with many channels, the third).
fn rows_per_task(shape: &ConvShape, grid: &Grid) -> usize {
    let tiles = if shape.c_in * shape.c_out <= 64 * 64 { 28 } else { 56 };
    let tasks = (grid.rows * grid.across).div_ceil(tiles).max(1);
    grid.rows.div_ceil(tasks)
}

fn convolve(shape: &ConvShape, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (c_in, c_out) = (shape.c_in, shape.c_out);
    let grid = Grid::new(shape);
    let width = if c_out.is_multiple_of(2 * LANES) {
        2 * LANES
    } else {
        LANES
    };
    let panel_len = POINTS * c_in * width;
    let rows_per_task = rows_per_task(shape, &grid);
    scratch::with(panel_len * (c_out / width), |panels| {
        panels.par_chunks_mut(panel_len).enumerate().for_each(|(i, panel)| {
            with_lanes(TransformWeights {
                weight,
                c_in,
                c_out,
                first: i * width,
                width,
                panel,
            });
        });
        let mut runs = Runs::default();
        runs.push(Run {
            a: 0,
            a_step: 1,
            b: 0,
            b_step: width,
            len: c_in,
        });
        grid.split_outputs(c_out, rows_per_task, y)
            .into_par_iter()
            .for_each(|(rows, y)| {
                let tiles = rows.len() * grid.across;
                let (v_step, m_step) = (point_step(tiles, c_in), point_step(tiles, c_out));
                scratch::with(POINTS * (v_step + m_step), |memory| {
                    let (v, m) = memory.split_at_mut(POINTS * v_step);
                    with_lanes(TransformInputs {
                        grid: &grid,
                        x,
                        channels: c_in,
                        rows: rows.clone(),
                        v,
                        step: v_step,
                    });
                    let tile_rows: Vec<Row> = (0..tiles)
                        .map(|t| Row {
                            a: t * c_in,
                            c: t * c_out,
                        })
                        .collect();
                    for point in 0..POINTS {
                        for (i, panel) in panels.chunks_exact(panel_len).enumerate() {
                            let weights = &panel[point * c_in * width..];
                            let m = &mut m[point * m_step + i * width..];
                            tile::product(
                                &v[point * v_step..],
                                weights,
                                m,
                                &tile_rows,
                                width,
                                &runs,
                                Store::Overwrite,
                            );
                        }
                    }
                    with_lanes(TransformOutputs {
                        grid: &grid,
                        m,
                        step: m_step,
                        channels: c_out,
                        rows,
                        y,
                    });
                });
            });
    });
}

/// Distance between the values of two points: a little more than they take, lest all 36 fall into the same cache sets.
fn point_step(tiles: usize, channels: usize) -> usize {
    tiles * channels + LANES
}

/// `G g G'` of some output channels, `[36][c_in][width]`.
struct TransformWeights<'a> {
    weight: &'a [f32],
    c_in: usize,
    c_out: usize,
    first: usize,
    width: usize,
    panel: &'a mut [f32],
}

impl Vectorised for TransformWeights<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            weight,
            c_in,
            c_out,
            first,
            width,
            panel,
        } = self;
        for ci in 0..c_in {
            for at in (0..width).step_by(Lanes::<S>::COUNT) {
                let mut taps = [[Lanes::splat(simd, 0.0); 3]; 3];
                for (tap, lanes) in taps.as_flattened_mut().iter_mut().enumerate() {
                    *lanes = Lanes::load(simd, &weight[(tap * c_in + ci) * c_out + first + at..]);
                }
                let points = both_axes::<Weight, S, 3, 6>(simd, &taps);
                for (point, lanes) in points.as_flattened().iter().enumerate() {
                    lanes.store(&mut panel[(point * c_in + ci) * width + at..]);
                }
            }
        }
    }
}

/// How images are cut into tiles. Rows of tiles are counted through all images.
struct Grid {
    /// Rows of tiles of all images.
    rows: usize,
    /// Rows of tiles of an image.
    down: usize,
    /// Tiles in a row.
    across: usize,
    h: usize,
    w: usize,
    out_h: usize,
    out_w: usize,
    padding: usize,
}

impl Grid {
    fn new(shape: &ConvShape) -> Self {
        let (out_h, out_w) = (shape.out_h(), shape.out_w());
        let down = out_h.div_ceil(SIDE);
        Self {
            rows: shape.n * down,
            down,
            across: out_w.div_ceil(SIDE),
            h: shape.h,
            w: shape.w,
            out_h,
            out_w,
            padding: shape.padding,
        }
    }

    /// Rows of pixels of a row of tiles: the last of an image may be cut off.
    fn pixel_rows(&self, row: usize) -> usize {
        SIDE.min(self.out_h - row % self.down * SIDE)
    }

    /// The output in pieces of `step` rows of tiles.
    fn split_outputs<'a>(
        &self,
        channels: usize,
        step: usize,
        mut y: &'a mut [f32],
    ) -> Vec<(Range<usize>, &'a mut [f32])> {
        let mut pieces = Vec::with_capacity(self.rows.div_ceil(step));
        for first in (0..self.rows).step_by(step) {
            let rows = first..(first + step).min(self.rows);
            let pixel_rows: usize = rows.clone().map(|r| self.pixel_rows(r)).sum();
            let (piece, rest) = y.split_at_mut(pixel_rows * self.out_w * channels);
            pieces.push((rows, piece));
            y = rest;
        }
        pieces
    }
}

/// `B' d B` of some rows of tiles to `v`, `[36][tiles][channels]`, points `step` apart.
struct TransformInputs<'a> {
    grid: &'a Grid,
    x: &'a [f32],
    channels: usize,
    rows: Range<usize>,
    v: &'a mut [f32],
    step: usize,
}

impl Vectorised for TransformInputs<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            grid,
            x,
            channels,
            rows,
            v,
            step,
        } = self;
        let Grid { h, w, padding, .. } = *grid;
        for (at, row) in rows.enumerate() {
            let image = &x[row / grid.down * h * w * channels..][..h * w * channels];
            let top = row % grid.down * SIDE;
            for across in 0..grid.across {
                let left = across * SIDE;
                let to = (at * grid.across + across) * channels;
                let inside = top >= padding && left >= padding && top + 6 <= h + padding && left + 6 <= w + padding;
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut d = [[Lanes::splat(simd, 0.0); 6]; 6];
                    if inside {
                        let corner = &image[((top - padding) * w + left - padding) * channels + c..];
                        for i in 0..6 {
                            for j in 0..6 {
                                d[i][j] = Lanes::load(simd, &corner[(i * w + j) * channels..]);
                            }
                        }
                    } else {
                        for i in 0..6 {
                            for j in 0..6 {
                                let (iy, ix) = ((top + i).wrapping_sub(padding), (left + j).wrapping_sub(padding));
                                if iy < h && ix < w {
                                    d[i][j] = Lanes::load(simd, &image[(iy * w + ix) * channels + c..]);
                                }
                            }
                        }
                    }
                    let points = both_axes::<Input, S, 6, 6>(simd, &d);
                    for (point, lanes) in points.as_flattened().iter().enumerate() {
                        lanes.store(&mut v[point * step + to + c..]);
                    }
                }
            }
        }
    }
}

/// `A' m A` of some rows of tiles to their piece of the output.
struct TransformOutputs<'a> {
    grid: &'a Grid,
    m: &'a [f32],
    step: usize,
    channels: usize,
    rows: Range<usize>,
    y: &'a mut [f32],
}

impl Vectorised for TransformOutputs<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            grid,
            m,
            step,
            channels,
            rows,
            mut y,
        } = self;
        let line = grid.out_w * channels;
        for (at, row) in rows.enumerate() {
            let height = grid.pixel_rows(row);
            let (lines, rest) = std::mem::take(&mut y).split_at_mut(height * line);
            y = rest;
            for across in 0..grid.across {
                let from = (at * grid.across + across) * channels;
                let columns = SIDE.min(grid.out_w - across * SIDE);
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut points = [[Lanes::splat(simd, 0.0); 6]; 6];
                    for (i, lanes) in points.as_flattened_mut().iter_mut().enumerate() {
                        *lanes = Lanes::load(simd, &m[i * step + from + c..]);
                    }
                    let outputs = both_axes::<Output, S, 6, 4>(simd, &points);
                    for (i, outputs) in outputs.iter().enumerate().take(height) {
                        for (j, lanes) in outputs.iter().enumerate().take(columns) {
                            lanes.store(&mut lines[i * line + (across * SIDE + j) * channels + c..]);
                        }
                    }
                }
            }
        }
    }
}

/// `A dy A'` of some rows of tiles to `z`, `[36][tiles][channels]`, points `step` apart.
struct TransformOutputGradients<'a> {
    grid: &'a Grid,
    dy: &'a [f32],
    channels: usize,
    rows: Range<usize>,
    z: &'a mut [f32],
    step: usize,
}

impl Vectorised for TransformOutputGradients<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            grid,
            dy,
            channels,
            rows,
            z,
            step,
        } = self;
        let line = grid.out_w * channels;
        for (at, row) in rows.enumerate() {
            let start = (row / grid.down * grid.out_h + row % grid.down * SIDE) * line;
            let height = grid.pixel_rows(row);
            for across in 0..grid.across {
                let to = (at * grid.across + across) * channels;
                let columns = SIDE.min(grid.out_w - across * SIDE);
                for c in (0..channels).step_by(Lanes::<S>::COUNT) {
                    let mut e = [[Lanes::splat(simd, 0.0); SIDE]; SIDE];
                    for (i, e) in e.iter_mut().enumerate().take(height) {
                        for (j, lanes) in e.iter_mut().enumerate().take(columns) {
                            *lanes = Lanes::load(simd, &dy[start + i * line + (across * SIDE + j) * channels + c..]);
                        }
                    }
                    let points = both_axes::<OutputGradient, S, 4, 6>(simd, &e);
                    for (point, lanes) in points.as_flattened().iter().enumerate() {
                        lanes.store(&mut z[point * step + to + c..]);
                    }
                }
            }
        }
    }
}
