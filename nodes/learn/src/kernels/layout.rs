//! How a convolution's operands lie in memory for [`super::tile`]: images with a border, weights in panels.

/// A few images with a border, `[image][h + before + after][w + before + after][c]`.
pub(super) struct Bordered {
    pub(super) data: Vec<f32>,
    h: usize,
    w: usize,
    c: usize,
    before: usize,
    full_h: usize,
    full_w: usize,
}

impl Bordered {
    pub(super) fn new(images: usize, h: usize, w: usize, c: usize, before: usize, after: usize) -> Self {
        let (full_h, full_w) = (h + before + after, w + before + after);
        Self {
            data: vec![0.0; images * full_h * full_w * c],
            h,
            w,
            c,
            before,
            full_h,
            full_w,
        }
    }

    /// Copies images inside the border; the border stays zero.
    pub(super) fn fill(&mut self, images: &[f32]) {
        let (row, full_row) = (self.w * self.c, self.full_w * self.c);
        let image = self.h * row;
        for (i, source) in images.chunks_exact(image).enumerate() {
            let start = i * self.full_h * full_row + self.before * full_row + self.before * self.c;
            for (y, line) in source.chunks_exact(row).enumerate() {
                self.data[start + y * full_row..][..row].copy_from_slice(line);
            }
        }
    }

    pub(super) fn at(&self, image: usize, y: usize, x: usize) -> usize {
        ((image * self.full_h + y) * self.full_w + x) * self.c
    }
}

/// A matrix cut into panels of adjacent columns, so that a tile's rows of B lie close together in memory.
pub(super) struct Panels {
    data: Vec<f32>,
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

    /// Panels with their first column and number of columns.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[f32], usize, usize)> {
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

/// `[position][ci][co]` to `[position][co within group][ci over all groups]`: the weights as the input's gradient reads them.
pub(super) fn flip(weight: &[f32], positions: usize, cin_g: usize, c_out: usize, cout_g: usize) -> Vec<f32> {
    let groups = c_out / cout_g;
    let c_in = cin_g * groups;
    let mut flipped = vec![0.0f32; weight.len()];
    for p in 0..positions {
        for ci in 0..cin_g {
            for co in 0..c_out {
                let (g, within) = (co / cout_g, co % cout_g);
                flipped[(p * cout_g + within) * c_in + g * cin_g + ci] = weight[(p * cin_g + ci) * c_out + co];
            }
        }
    }
    flipped
}
