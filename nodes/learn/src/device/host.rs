//! Operations of the host that are short enough to have no kernel of their own.

use rayon::prelude::*;

use super::LossValue;
use crate::layers::{Buffer, MapShape};
use crate::losses::{LossError, Traced, TracedScalar, value_and_grads};

/// Values of a piece that a thread takes.
const PIECE: usize = 16 * 1024;

/// A loss of matrices of `columns` columns, on dfdx's tape, and its gradients.
pub(super) fn loss<const N: usize>(
    of: [&[f32]; N],
    columns: usize,
    loss: impl FnOnce([Traced; N]) -> Result<TracedScalar, LossError>,
) -> Result<(LossValue, [Buffer; N]), LossError> {
    let inputs = of.map(|values| (values.to_vec(), (values.len() / columns, columns)));
    let (value, gradients) = value_and_grads(inputs, loss)?;
    Ok((value.into(), gradients.map(Buffer::from)))
}

pub(super) fn fill(to: &mut [f32], value: f32) {
    to.par_chunks_mut(4 * PIECE).for_each(|to| to.fill(value));
}

pub(super) fn follow(to: &mut [f32], from: &[f32], factor: f32, share: f32) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += share * (from * factor - *to));
}

pub(super) fn leaky_relu(slope: f32, x: &mut [f32]) {
    x.par_chunks_mut(PIECE).for_each(|x| {
        // The larger of the two, as the slope is below 1.
        x.iter_mut().for_each(|v| *v = v.max(slope * *v));
    });
}

pub(super) fn leaky_relu_backward(slope: f32, dy: &mut [f32], y: &[f32]) {
    let pieces = dy.par_chunks_mut(PIECE).zip(y.par_chunks(PIECE));
    pieces.for_each(|(dy, y)| {
        let pairs = dy.iter_mut().zip(y);
        pairs.for_each(|(d, y)| *d *= if *y > 0.0 { 1.0 } else { slope });
    });
}

pub(super) fn add_row(x: &mut [f32], row: &[f32]) {
    x.par_chunks_mut(row.len() * (PIECE / row.len().max(1)).max(1))
        .for_each(|x| {
            for values in x.chunks_exact_mut(row.len()) {
                values.iter_mut().zip(row).for_each(|(v, r)| *v += r);
            }
        });
}

/// Pieces of a fixed size, whose sums are added in order.
pub(super) fn add_rows_to(x: &[f32], sum: &mut [f32]) {
    let channels = sum.len();
    let of_piece = |piece: &[f32]| {
        let mut sums = vec![0.0f32; channels];
        for row in piece.chunks_exact(channels) {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        sums
    };
    let sums: Vec<Vec<f32>> = x
        .par_chunks(channels * (PIECE / channels.max(1)).max(1))
        .map(of_piece)
        .collect();
    for piece in sums {
        sum.iter_mut().zip(piece).for_each(|(s, v)| *s += v);
    }
}

pub(super) fn scale_parts(x: &mut [f32], factors: &[f32]) {
    let len = x.len() / factors.len().max(1);
    for (part, factor) in x.chunks_exact_mut(len.max(1)).zip(factors) {
        part.iter_mut().for_each(|v| *v *= factor);
    }
}

/// The number of each row of an enlarged map, and of the row that it repeats.
fn rows(input: MapShape, factor: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..input.h * factor).map(move |row| (row, row / factor))
}

pub(super) fn upsample(input: MapShape, factor: usize, x: &[f32], y: &mut [f32]) {
    let (line, wide, c) = (input.w * input.c, factor * input.w * input.c, input.c);
    let images = y
        .par_chunks_mut(factor * factor * input.len())
        .zip(x.par_chunks(input.len()));
    images.for_each(|(y, x)| {
        for (row, source) in rows(input, factor) {
            let pixels = x[source * line..][..line].chunks_exact(c);
            let pixels = pixels.zip(y[row * wide..][..wide].chunks_exact_mut(c * factor));
            for (pixel, repeated) in pixels {
                repeated.chunks_exact_mut(c).for_each(|to| to.copy_from_slice(pixel));
            }
        }
    });
}

pub(super) fn upsample_backward(input: MapShape, factor: usize, dy: &[f32], dx: &mut [f32]) {
    let (line, wide, c) = (input.w * input.c, factor * input.w * input.c, input.c);
    let images = dx
        .par_chunks_mut(input.len())
        .zip(dy.par_chunks(factor * factor * input.len()));
    images.for_each(|(dx, dy)| {
        dx.fill(0.0);
        for (row, target) in rows(input, factor) {
            let pixels = dx[target * line..][..line].chunks_exact_mut(c);
            let pixels = pixels.zip(dy[row * wide..][..wide].chunks_exact(c * factor));
            for (pixel, repeated) in pixels {
                for part in repeated.chunks_exact(c) {
                    pixel.iter_mut().zip(part).for_each(|(p, d)| *p += d);
                }
            }
        }
    });
}

pub(super) fn gather_rows(dim: usize, from: &[f32], index: &[usize], to: &mut [f32]) {
    for (to, row) in to.chunks_exact_mut(dim).zip(index) {
        to.copy_from_slice(&from[row * dim..][..dim]);
    }
}

/// One row after the other: the order of a sum is part of its value.
pub(super) fn scatter_rows(dim: usize, from: &[f32], index: &[usize], to: &mut [f32]) {
    for (from, row) in from.chunks_exact(dim).zip(index) {
        let to = &mut to[row * dim..][..dim];
        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    }
}
