//! How a convolution's weights lie in memory for [`super::tile`].

use rayon::prelude::*;

use super::bf16;

/// A matrix cut into panels of adjacent columns, so that a tile's rows of B lie close together in memory.
pub(super) struct Panels<T = f32> {
    data: Vec<T>,
    depth: usize,
    columns: usize,
    per_group: usize,
    /// Columns per panel, also the distance between its rows.
    pub(super) width: usize,
}

impl Panels {
    /// `matrix` is `[depth][columns]`; a panel never spans two groups of `per_group` columns.
    pub(super) fn new(matrix: &[f32], depth: usize, columns: usize, per_group: usize) -> Self {
        let width = per_group.min(32);
        let mut data = Vec::with_capacity(matrix.len());
        for group in (0..columns).step_by(per_group) {
            for first in (group..group + per_group).step_by(width) {
                let wide = width.min(group + per_group - first);
                for row in matrix.chunks_exact(columns) {
                    data.extend_from_slice(&row[first..first + wide]);
                    data.resize(data.len() + width - wide, 0.0);
                }
            }
        }
        Self {
            data,
            depth,
            columns,
            per_group,
            width,
        }
    }

    /// As bf16, two rows at a time: a value's lower half is the upper row's. `depth` must be even.
    pub(super) fn in_pairs(&self) -> Panels<u32> {
        let mut data = vec![0; self.data.len() / 2];
        let rows = data
            .par_chunks_mut(self.width)
            .zip(self.data.par_chunks(2 * self.width));
        rows.for_each(|(pairs, rows)| {
            let (upper, lower) = rows.split_at(self.width);
            bf16::pairs(upper, lower, pairs);
        });
        Panels {
            data,
            depth: self.depth / 2,
            columns: self.columns,
            per_group: self.per_group,
            width: self.width,
        }
    }
}

impl<T> Panels<T> {
    /// Panels with their first column and number of columns.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[T], usize, usize)> {
        let per_group = self.per_group.div_ceil(self.width);
        self.data
            .chunks_exact(self.depth * self.width)
            .enumerate()
            .map(move |(i, panel)| {
                let first = i / per_group * self.per_group + i % per_group * self.width;
                let group_end = (i / per_group + 1) * self.per_group;
                (
                    panel,
                    first,
                    self.width.min(group_end - first).min(self.columns - first),
                )
            })
    }
}

/// `[tap][ci][co]` to `[tap, last first][co within group][ci over all groups]`: the weights as the input's gradient reads them.
pub(super) fn turn(weight: &[f32], taps: usize, cin_g: usize, c_out: usize, cout_g: usize) -> Vec<f32> {
    let c_in = cin_g * (c_out / cout_g);
    let mut turned = vec![0.0f32; weight.len()];
    let chunks = turned
        .par_chunks_mut(cout_g * c_in)
        .zip(weight.par_chunks(cin_g * c_out).rev());
    debug_assert_eq!(chunks.len(), taps);
    chunks.for_each(|(turned, weight)| {
        for (co, group) in (0..c_out).map(|co| (co, co / cout_g)) {
            for ci in 0..cin_g {
                turned[co % cout_g * c_in + group * cin_g + ci] = weight[ci * c_out + co];
            }
        }
    });
    turned
}
