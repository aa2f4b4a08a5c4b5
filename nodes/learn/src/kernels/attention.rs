//! Scaled dot-product attention with several heads (Vaswani et al. 2017, 1706.03762, eq. 1): `softmax(q k^T / sqrt(d)) v`.
//!
//! Queries, keys and values lie beside each other in each token's row, `[n][tokens][3][heads][head_dim]`, as one matrix makes them;
//! only keys and values are copied, to turn them. Rows of different lengths are given by `lengths`: a token past its row's length
//! is padding, which no token looks at, whose output is zero and through which no gradient flows.
//!
//! An image (or text) is a task, its heads one after the other: the bits do not depend on the number of threads.

use pulp::Simd;
use rayon::prelude::*;

use super::scratch;
use super::simd::{Lanes, RowSum, Vectorised, with_lanes};
use super::tile::{self, Row, Run, Runs, Store};

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images or texts.
    pub n: usize,
    /// Tokens of each, with padding.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Values of a token's output: all heads.
    pub fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of queries, keys and values together: `[n][tokens][3][heads][head_dim]`.
    pub fn inputs(&self) -> usize {
        3 * self.outputs()
    }

    /// Values of the output: `[n][tokens][heads][head_dim]`.
    pub fn outputs(&self) -> usize {
        self.n * self.tokens * self.dim()
    }

    /// Values of the weights that backward needs: `[n][heads][tokens][tokens]`.
    pub fn weights(&self) -> usize {
        self.n * self.heads * self.tokens * self.tokens
    }

    /// Floating-point operations of the forward pass, a multiply-add being two; the backward pass has twice as many.
    pub fn flops(&self) -> f64 {
        4.0 * self.weights() as f64 * self.head_dim as f64
    }

    fn check(&self, lengths: Option<&[usize]>, found: [usize; 3]) {
        assert!(
            found == [self.inputs(), self.weights(), self.outputs()] && self.tokens > 0,
            "BUG: slices do not fit the attention's shape"
        );
        if let Some(lengths) = lengths {
            let fit = lengths.len() == self.n && lengths.iter().all(|l| (1..=self.tokens).contains(l));
            assert!(fit, "BUG: every row has between 1 and {} valid tokens", self.tokens);
        }
    }

    /// `count` rows that are `a` apart in the left operand and `c` apart in the result.
    fn rows(count: usize, a: usize, c: usize) -> Vec<Row> {
        (0..count).map(|i| Row { a: i * a, c: i * c }).collect()
    }
}

/// A sum of `len` steps.
fn runs(a_step: usize, b_step: usize, len: usize) -> Runs {
    let mut runs = Runs::default();
    runs.push(Run {
        a: 0,
        a_step,
        b: 0,
        b_step,
        len,
    });
    runs
}

/// Overwrites `out`, `[n][tokens][heads][head_dim]`, and `weights`, `[n][heads][tokens][tokens]`: row `i` holds how much token `i`
/// takes of each token. `lengths` are the valid tokens of each row of the batch, at least 1; none means all.
///
/// # Panics
/// With `BUG:` if a slice or a length does not fit the shape.
pub fn forward(shape: &AttentionShape, qkv: &[f32], lengths: Option<&[usize]>, weights: &mut [f32], out: &mut [f32]) {
    shape.check(lengths, [qkv.len(), weights.len(), out.len()]);
    let AttentionShape {
        tokens,
        heads,
        head_dim,
        ..
    } = *shape;
    let dim = shape.dim();
    let scale = 1.0 / (head_dim as f32).sqrt();
    qkv.par_chunks(tokens * 3 * dim)
        .zip(weights.par_chunks_mut(heads * tokens * tokens))
        .zip(out.par_chunks_mut(tokens * dim))
        .enumerate()
        .for_each(|(i, ((qkv, weights), out))| {
            let valid = lengths.map_or(tokens, |lengths| lengths[i]);
            let score_rows = AttentionShape::rows(valid, 3 * dim, tokens);
            let score_runs = runs(1, valid, head_dim);
            let out_rows = AttentionShape::rows(valid, tokens, dim);
            let out_runs = runs(1, 3 * dim, valid);
            out[valid * dim..].fill(0.0);
            for (head, weights) in weights.chunks_exact_mut(tokens * tokens).enumerate() {
                let (q, k, v) = parts(qkv, head, shape);
                scratch::with(head_dim * valid, |turned| {
                    turn(k, 3 * dim, valid, head_dim, turned);
                    tile::product(q, turned, weights, &score_rows, valid, &score_runs, Store::Overwrite);
                });
                with_lanes(Softmax {
                    rows: weights,
                    width: tokens,
                    valid,
                    scale,
                });
                tile::product(
                    weights,
                    v,
                    &mut out[head * head_dim..],
                    &out_rows,
                    head_dim,
                    &out_runs,
                    Store::Overwrite,
                );
            }
        });
}

/// The gradient of `qkv`, overwriting `dqkv`; `weights` are those that [`forward`] made with the same `lengths`.
///
/// # Panics
/// With `BUG:` if a slice or a length does not fit the shape.
pub fn backward(
    shape: &AttentionShape,
    qkv: &[f32],
    weights: &[f32],
    lengths: Option<&[usize]>,
    dout: &[f32],
    dqkv: &mut [f32],
) {
    shape.check(lengths, [qkv.len(), weights.len(), dout.len()]);
    assert_eq!(dqkv.len(), qkv.len(), "BUG: the gradient does not fit its values");
    let AttentionShape {
        tokens,
        heads,
        head_dim,
        ..
    } = *shape;
    let dim = shape.dim();
    let scale = 1.0 / (head_dim as f32).sqrt();
    let images = qkv
        .par_chunks(tokens * 3 * dim)
        .zip(weights.par_chunks(heads * tokens * tokens))
        .zip(dout.par_chunks(tokens * dim))
        .zip(dqkv.par_chunks_mut(tokens * 3 * dim));
    images.enumerate().for_each(|(i, (((qkv, weights), dout), dqkv))| {
        let valid = lengths.map_or(tokens, |lengths| lengths[i]);
        // Rows are tokens. Sums over queries read a column of the weights, sums over keys a row.
        let over_queries = |b_step: usize| (AttentionShape::rows(valid, 1, 3 * dim), runs(tokens, b_step, valid));
        let over_keys = (AttentionShape::rows(valid, tokens, 3 * dim), runs(1, 3 * dim, valid));
        let (by_out, by_query) = (over_queries(dim), over_queries(3 * dim));
        let (dweight_rows, dweight_runs) = (AttentionShape::rows(valid, dim, tokens), runs(1, valid, head_dim));
        dqkv[valid * 3 * dim..].fill(0.0);
        for (head, weights) in weights.chunks_exact(tokens * tokens).enumerate() {
            let (q, k, v) = parts(qkv, head, shape);
            let dout = &dout[head * head_dim..];
            let [dq, dk, dv] = [0, 1, 2].map(|part| part * dim + head * head_dim);
            scratch::with(tokens * tokens, |dscores| {
                scratch::with(head_dim * valid, |turned| {
                    turn(v, 3 * dim, valid, head_dim, turned);
                    let rows = &dweight_rows;
                    tile::product(dout, turned, dscores, rows, valid, &dweight_runs, Store::Overwrite);
                });
                with_lanes(SoftmaxBackward {
                    weights,
                    rows: dscores,
                    width: tokens,
                    valid,
                    scale,
                });
                let (rows, sum) = &by_out;
                tile::product(weights, dout, &mut dqkv[dv..], rows, head_dim, sum, Store::Overwrite);
                let (rows, sum) = &over_keys;
                tile::product(dscores, k, &mut dqkv[dq..], rows, head_dim, sum, Store::Overwrite);
                let (rows, sum) = &by_query;
                tile::product(dscores, q, &mut dqkv[dk..], rows, head_dim, sum, Store::Overwrite);
            });
        }
    });
}

/// A head's queries, keys and values, each from its first token's on.
fn parts<'a>(qkv: &'a [f32], head: usize, shape: &AttentionShape) -> (&'a [f32], &'a [f32], &'a [f32]) {
    let part = |i: usize| &qkv[i * shape.dim() + head * shape.head_dim..];
    (part(0), part(1), part(2))
}

/// `[tokens][head_dim]`, `step` apart, to `[head_dim][tokens]`.
fn turn(from: &[f32], step: usize, tokens: usize, head_dim: usize, turned: &mut [f32]) {
    for token in 0..tokens {
        for (d, value) in from[token * step..][..head_dim].iter().enumerate() {
            turned[d * tokens + token] = *value;
        }
    }
}

/// Rows `width` apart, of which the first `valid` values of the first `valid` rows become weights; all others become zero.
struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
    valid: usize,
    scale: f32,
}

impl Vectorised for Softmax<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lanes, valid) = (Lanes::<S>::COUNT, self.valid);
        let (rows, padding) = self.rows.split_at_mut(valid * self.width);
        padding.fill(0.0);
        for row in rows.chunks_exact_mut(self.width) {
            let (row, padding) = row.split_at_mut(valid);
            padding.fill(0.0);
            // Scaling keeps the order, so the largest product is the largest score.
            let most = Lanes::splat(simd, largest(simd, row));
            for at in (0..valid).step_by(lanes) {
                let count = lanes.min(valid - at);
                let score = self.scale * (Lanes::load_some(simd, &row[at..], count) - most);
                score.exp_of_negative().store_some(&mut row[at..], count);
            }
            let scores = &*row;
            let mut sum = RowSum::new(simd);
            sum.add(
                valid,
                #[inline(always)]
                |at, count| Lanes::load_some(simd, &scores[at..], count),
            );
            let inverse = 1.0 / sum.total();
            for at in (0..valid).step_by(lanes) {
                let count = lanes.min(valid - at);
                (inverse * Lanes::load_some(simd, &row[at..], count)).store_some(&mut row[at..], count);
            }
        }
    }
}

/// The largest value of a row; the last vector overlaps the one before.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let lanes = Lanes::<S>::COUNT;
    if row.len() < lanes {
        return row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    }
    let mut most = Lanes::load(simd, &row[row.len() - lanes..]);
    for part in row.chunks_exact(lanes) {
        most = most.max(Lanes::load(simd, part));
    }
    most.largest()
}

/// Turns gradients of weights into those of the products `q k^T`: `w (dw - sum(w dw)) scale`, row by row.
struct SoftmaxBackward<'a> {
    weights: &'a [f32],
    rows: &'a mut [f32],
    width: usize,
    valid: usize,
    scale: f32,
}

impl Vectorised for SoftmaxBackward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lanes, valid) = (Lanes::<S>::COUNT, self.valid);
        let rows = self
            .rows
            .chunks_exact_mut(self.width)
            .zip(self.weights.chunks_exact(self.width));
        for (row, weights) in rows.take(valid) {
            let (gradient, mut along) = (&*row, RowSum::new(simd));
            along.add(
                valid,
                #[inline(always)]
                |at, count| {
                    Lanes::load_some(simd, &weights[at..], count) * Lanes::load_some(simd, &gradient[at..], count)
                },
            );
            let along = Lanes::splat(simd, along.total());
            for at in (0..valid).step_by(lanes) {
                let count = lanes.min(valid - at);
                let weight = self.scale * Lanes::load_some(simd, &weights[at..], count);
                let change = weight * (Lanes::load_some(simd, &row[at..], count) - along);
                change.store_some(&mut row[at..], count);
            }
        }
    }
}
