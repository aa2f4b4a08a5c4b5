//! Products of matrices that lie anyhow, many at a time.

use super::{Arg, Done, Kernels, int, perhaps};
use crate::device::cuda::memory::Block;

/// As `BatchedProduct` in product.cu.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Product {
    /// Rows, columns, depth.
    pub(super) sizes: [usize; 3],
    /// Outer and inner products: steps are given for each.
    pub(super) batch: [usize; 2],
    /// Steps of a row, of the depth, of the outer and of the inner product.
    pub(super) left: [usize; 4],
    /// Steps of the depth, of a column, of the outer and of the inner product.
    pub(super) right: [usize; 4],
    /// Steps of a row, of the outer and of the inner product.
    pub(super) out: [usize; 3],
    /// Which of rows (1), columns (2) and depth (4) end at the valid length.
    pub(super) limits: i32,
    /// Whether it is added to what is there.
    pub(super) accumulate: bool,
}

impl Product {
    /// Of matrices that are not many, with `sizes`, and the steps of their rows and columns.
    pub(super) fn plain(sizes: [usize; 3], left: [usize; 2], right: [usize; 2], out: usize) -> Self {
        Self {
            sizes,
            batch: [1, 1],
            left: [left[0], left[1], 0, 0],
            right: [right[0], right[1], 0, 0],
            out: [out, 0, 0],
            limits: 0,
            accumulate: false,
        }
    }
}

/// Bytes of shared memory.
const SHARED: usize = 4 * 2 * 16 * 68;

impl Kernels {
    /// `out = factor left right`, each operand from a value on.
    pub(super) fn product(
        &self,
        s: &Product,
        factor: f32,
        left: (&Block, usize),
        right: (&Block, usize),
        lengths: Option<&Block>,
        out: (&Block, usize),
    ) -> Done {
        let [rows, columns, _] = s.sizes;
        let mut ints: Vec<i32> = s.sizes.map(int).into();
        ints.push(int(s.batch[1]));
        ints.extend(s.left.iter().chain(&s.right).chain(&s.out).copied().map(int));
        ints.extend([s.limits, i32::from(s.accumulate)]);
        let [left, right, out] = [left, right, out].map(|(block, at)| Arg::From(block, at));
        let args = [Arg::Ints(&ints), Arg::Float(factor), left, right, perhaps(lengths), out];
        let grid = [rows.div_ceil(64), columns.div_ceil(64), s.batch[0] * s.batch[1]];
        self.blocks("batched_product", grid, SHARED, &args)
    }
}
