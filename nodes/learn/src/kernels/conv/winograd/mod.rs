//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3): 36 products for 16 outputs where the plain sum
//! has 144.
//!
//! Images are cut into tiles of 4x4 outputs, which take 6x6 inputs; behind the transform, each of the tile's 36 points is a
//! matrix product over channels. The gradient of the input is the same convolution with turned weights; the gradient of the
//! weights has the transposed transforms around products that reduce over tiles ([`gradient`]).
//!
//! Stride 2 was tried with the even inputs as a two-tap convolution, 25 products instead of 36: the transforms cost what that saves.

mod gradient;
mod grid;
mod transform;

use pulp::Simd;
use rayon::prelude::*;

use super::super::layout::turn;
use super::super::scratch;
use super::super::simd::{Lanes, MOST_LANES, Vectorised, with_lanes};
use super::super::tile::{self, Row, Run, Runs, Store};
use super::ConvShape;
pub(super) use gradient::backward_weight;
use grid::{Band, Grid, TransformResults, TransformSources};
use transform::{Weight, both_axes};

/// Points, inputs and outputs along a tile's side.
const P: usize = 6;
const I: usize = 6;
const O: usize = 4;

/// Whether this way is the faster one. Tiles that are cut off cost as much as whole ones, and the transforms about as much as half
/// the products that remain.
pub(super) fn suits(shape: &ConvShape) -> bool {
    let ConvShape {
        kernel,
        stride,
        padding,
        groups,
        c_in,
        c_out,
        ..
    } = *shape;
    let lanes =
        c_in.is_multiple_of(MOST_LANES) && c_out.is_multiple_of(MOST_LANES) && c_in.min(c_out) >= 2 * MOST_LANES;
    if !(kernel == 3 && stride == 1 && padding <= 2 && groups == 1 && lanes) {
        return false;
    }
    // Products of the plain sum along an axis: 3 for each output, less those that fall outside.
    let plain = |size: usize, out: usize| -> usize {
        let inside = |o: usize, tap: &usize| (o + tap).checked_sub(padding).is_some_and(|i| i < size);
        (0..out).map(|o| (0..3).filter(|tap| inside(o, tap)).count()).sum()
    };
    let (oh, ow) = (shape.out_h(), shape.out_w());
    2 * plain(shape.h, oh) * plain(shape.w, ow) > 3 * P * P * oh.div_ceil(O) * ow.div_ceil(O)
}

/// Forward pass; `y` is overwritten.
pub(super) fn forward(shape: &ConvShape, x: &[f32], weight: &[f32], y: &mut [f32]) {
    convolve(&Grid::of(shape), (shape.c_in, shape.c_out), x, weight, y);
}

/// Gradient of the input; `dx` is overwritten.
pub(super) fn backward_input(shape: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let turned = turn(weight, 9, shape.c_in, shape.c_out, shape.c_out);
    let back = ConvShape {
        h: shape.out_h(),
        w: shape.out_w(),
        c_in: shape.c_out,
        c_out: shape.c_in,
        padding: 2 - shape.padding,
        ..*shape
    };
    convolve(&Grid::of(&back), (back.c_in, back.c_out), dy, &turned, dx);
}

/// Rows of tiles, through all images, that a task takes: so many that each weight serves for several tiles of registers, so
/// few that what is between the transforms stays in the second-level cache (or, with many channels, the third).
fn rows_per_task((c_in, c_out): (usize, usize), grid: &Grid) -> usize {
    let tiles = if c_in * c_out <= 64 * 64 { 28 } else { 56 };
    let tasks = (grid.rows * grid.across).div_ceil(tiles).max(1);
    grid.rows.div_ceil(tasks)
}

/// A convolution from `(c_in, c_out)` channels; `y` is overwritten.
fn convolve(grid: &Grid, channels: (usize, usize), x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (c_in, c_out) = channels;
    let width = if c_out.is_multiple_of(2 * MOST_LANES) {
        2 * MOST_LANES
    } else {
        MOST_LANES
    };
    let panel_len = P * P * c_in * width;
    let pieces = grid.split_results(c_out, rows_per_task(channels, grid), y);
    scratch::with(panel_len * (c_out / width), |panels| {
        panels.par_chunks_mut(panel_len).enumerate().for_each(|(i, panel)| {
            let weights = Weights {
                values: weight,
                channels,
                first: i * width,
                width,
            };
            with_lanes(TransformWeights { weights, panel });
        });
        let mut runs = Runs::default();
        runs.push(Run {
            a: 0,
            a_step: 1,
            b: 0,
            b_step: width,
            len: c_in,
        });
        pieces.into_par_iter().for_each(|(rows, y)| {
            let tiles = rows.len() * grid.across;
            let (v_step, m_step) = (point_step(tiles, c_in), point_step(tiles, c_out));
            scratch::with(P * P * (v_step + m_step), |memory| {
                let (v, m) = memory.split_at_mut(P * P * v_step);
                let band = Band {
                    grid,
                    channels: c_in,
                    rows: rows.clone(),
                    step: v_step,
                };
                with_lanes(TransformSources {
                    band,
                    from: x,
                    points: v,
                });
                let tile_rows: Vec<Row> = (0..tiles)
                    .map(|t| Row {
                        a: t * c_in,
                        c: t * c_out,
                    })
                    .collect();
                for point in 0..P * P {
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
                let band = Band {
                    grid,
                    channels: c_out,
                    rows,
                    step: m_step,
                };
                with_lanes(TransformResults { band, points: m, to: y });
            });
        });
    });
}

/// Distance between the values of two points: a little more than they take, lest all points fall into the same cache sets.
fn point_step(tiles: usize, channels: usize) -> usize {
    tiles * channels + MOST_LANES
}

/// Some output channels of `[9][c_in][c_out]` weights.
struct Weights<'a> {
    values: &'a [f32],
    channels: (usize, usize),
    first: usize,
    width: usize,
}

/// Weights to their points, `[P * P][c_in][width]`.
struct TransformWeights<'a> {
    weights: Weights<'a>,
    panel: &'a mut [f32],
}

impl Vectorised for TransformWeights<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { weights, panel } = self;
        let Weights {
            values,
            channels: (c_in, c_out),
            first,
            width,
        } = weights;
        for ci in 0..c_in {
            for at in (0..width).step_by(Lanes::<S>::COUNT) {
                let mut taps = [[Lanes::splat(simd, 0.0); 3]; 3];
                for (tap, lanes) in taps.as_flattened_mut().iter_mut().enumerate() {
                    *lanes = Lanes::load(simd, &values[(tap * c_in + ci) * c_out + first + at..]);
                }
                let points = both_axes::<Weight, S, 3, P>(simd, &taps);
                for (point, lanes) in points.as_flattened().iter().enumerate() {
                    lanes.store(&mut panel[(point * c_in + ci) * width + at..]);
                }
            }
        }
    }
}
