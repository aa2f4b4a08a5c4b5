//! The gradient of the weights: transformed inputs times transformed output gradients, summed over tiles, transformed back.

use pulp::Simd;
use rayon::prelude::*;

use super::super::super::scratch;
use super::super::super::simd::{Lanes, Vectorised, with_lanes};
use super::super::super::tile::{self, Row, Run, Runs, Store};
use super::super::ConvShape;
use super::grid::{Band, Grid, TransformResultGradients, TransformSources};
use super::transform::{WeightGradient, both_axes};
use super::{P, point_step};

/// Values of transformed tiles that are held at a time.
const HELD: usize = 2 << 20;
/// Tiles that a task transforms.
const TILES_PER_TASK: usize = 16;

/// Adds the gradient of the weights to `dweight`, `[9][c_in][c_out]`.
pub(in super::super) fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (c_in, c_out) = (shape.c_in, shape.c_out);
    let grid = &Grid::of(shape);
    let points = P * P;
    // Some rows of tiles are transformed side by side, each task's into memory of its own; then the points are summed side by side.
    let task_rows = TILES_PER_TASK.div_ceil(grid.across).min(grid.rows);
    let task_tiles = task_rows * grid.across;
    let (v_step, z_step) = (point_step(task_tiles, c_in), point_step(task_tiles, c_out));
    let task_len = points * (v_step + z_step);
    let tasks_held = (HELD / task_len).clamp(1, grid.rows.div_ceil(task_rows));
    let point_rows: Vec<Row> = (0..c_in).map(|ci| Row { a: ci, c: ci * c_out }).collect();
    let sums_step = c_in * c_out;
    scratch::with(points * sums_step + tasks_held * task_len, |memory| {
        let (sums, held) = memory.split_at_mut(points * sums_step);
        for (turn, first) in (0..grid.rows).step_by(tasks_held * task_rows).enumerate() {
            let last = (first + tasks_held * task_rows).min(grid.rows);
            let tasks = (last - first).div_ceil(task_rows);
            let rows_of = |task: usize| first + task * task_rows..(first + (task + 1) * task_rows).min(last);
            held.par_chunks_mut(task_len)
                .enumerate()
                .take(tasks)
                .for_each(|(task, memory)| {
                    let (v, z) = memory.split_at_mut(points * v_step);
                    let band = Band {
                        grid,
                        channels: c_in,
                        rows: rows_of(task),
                        step: v_step,
                    };
                    with_lanes(TransformSources {
                        band,
                        from: x,
                        points: v,
                    });
                    let band = Band {
                        grid,
                        channels: c_out,
                        rows: rows_of(task),
                        step: z_step,
                    };
                    with_lanes(TransformResultGradients {
                        band,
                        from: dy,
                        points: z,
                    });
                });
            let mut runs = Runs::default();
            for task in 0..tasks {
                let start = task * task_len;
                let len = rows_of(task).len() * grid.across;
                runs.push(Run {
                    a: start,
                    a_step: c_in,
                    b: start,
                    b_step: c_out,
                    len,
                });
            }
            let store = if turn == 0 { Store::Overwrite } else { Store::Add };
            let held = &*held;
            sums.par_chunks_mut(sums_step).enumerate().for_each(|(point, sums)| {
                let (v, z) = (&held[point * v_step..], &held[points * v_step + point * z_step..]);
                tile::product(v, z, sums, &point_rows, c_out, &runs, store);
            });
        }
        transform_sums(sums, (c_in, c_out), dweight);
    });
}

/// Adds the sums of the points, `[P * P][c_in][c_out]`, to the gradient of the taps.
fn transform_sums(sums: &[f32], (c_in, c_out): (usize, usize), dweight: &mut [f32]) {
    let rows = c_in.div_ceil(16);
    let mut parts: Vec<Vec<&mut [f32]>> = (0..c_in.div_ceil(rows)).map(|_| Vec::with_capacity(9)).collect();
    for tap in dweight.chunks_exact_mut(c_in * c_out) {
        for (part, piece) in parts.iter_mut().zip(tap.chunks_mut(rows * c_out)) {
            part.push(piece);
        }
    }
    parts.into_par_iter().enumerate().for_each(|(i, taps)| {
        let first = i * rows * c_out;
        with_lanes(TransformSums {
            sums,
            step: c_in * c_out,
            first,
            taps,
        });
    });
}

/// Some weights' points, added to their nine taps' gradients.
struct TransformSums<'a> {
    sums: &'a [f32],
    step: usize,
    first: usize,
    taps: Vec<&'a mut [f32]>,
}

impl Vectorised for TransformSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self {
            sums,
            step,
            first,
            mut taps,
        } = self;
        for at in (0..taps[0].len()).step_by(Lanes::<S>::COUNT) {
            let mut points = [[Lanes::splat(simd, 0.0); P]; P];
            for (point, lanes) in points.as_flattened_mut().iter_mut().enumerate() {
                *lanes = Lanes::load(simd, &sums[point * step + first + at..]);
            }
            let gradients = both_axes::<WeightGradient, S, P, 3>(simd, &points);
            for (tap, lanes) in taps.iter_mut().zip(gradients.as_flattened()) {
                (Lanes::load(simd, &tap[at..]) + *lanes).store(&mut tap[at..]);
            }
        }
    }
}
