//! Rows that are gathered and scattered, and pixels that are repeated.

use super::{Arg, Block, Done, Kernels, fits, int, long};

impl Kernels {
    /// `to[i] = from[index[i]]`, rows of `dim` values.
    ///
    /// # Errors
    /// The device's.
    pub fn gather_rows(&self, dim: usize, from: &Block, index: &[usize], to: &Block) -> Done {
        fits(to, index.len() * dim);
        inside(index, from.len() / dim);
        let places = self.place_numbers(index.iter().map(|i| *i as u32))?;
        let args = [
            long(to.len()),
            Arg::Int(int(dim)),
            Arg::Block(from),
            Arg::Block(&places),
            Arg::Block(to),
        ];
        self.flat("gather_rows", to.len(), &args)
    }

    /// `to[index[i]] += from[i]`, rows of `dim` values, in order.
    ///
    /// # Errors
    /// The device's.
    pub fn scatter_rows(&self, dim: usize, from: &Block, index: &[usize], to: &Block) -> Done {
        fits(from, index.len() * dim);
        let rows = to.len() / dim;
        inside(index, rows);
        let mut starts = vec![0u32; rows + 1];
        index.iter().for_each(|row| starts[row + 1] += 1);
        (0..rows).for_each(|row| starts[row + 1] += starts[row]);
        // A stable sort keeps the order of what goes to the same row.
        let mut order: Vec<u32> = (0..index.len() as u32).collect();
        order.sort_by_key(|i| index[*i as usize]);
        let (starts, order) = (self.place_numbers(starts)?, self.place_numbers(order)?);
        let numbers = [long(to.len()), Arg::Int(int(dim))];
        let args: Vec<Arg<'_>> = numbers
            .into_iter()
            .chain([from, &starts, &order, to].map(Arg::Block))
            .collect();
        self.flat("scatter_rows", to.len(), &args)
    }

    /// Overwrites `y`: each pixel of maps of height, width and channels becomes `factor x factor` equal ones.
    ///
    /// # Errors
    /// The device's.
    pub fn upsample(&self, hwc: (usize, usize, usize), factor: usize, x: &Block, y: &Block) -> Done {
        fits(y, x.len() * factor * factor);
        self.resample("upsample", hwc, factor, y.len(), [x, y])
    }

    /// Overwrites `dx`, the gradient of [`Kernels::upsample`].
    ///
    /// # Errors
    /// The device's.
    pub fn upsample_backward(&self, hwc: (usize, usize, usize), factor: usize, dy: &Block, dx: &Block) -> Done {
        fits(dy, dx.len() * factor * factor);
        self.resample("upsample_backward", hwc, factor, dx.len(), [dy, dx])
    }

    fn resample(
        &self,
        kernel: &'static str,
        (h, w, c): (usize, usize, usize),
        factor: usize,
        len: usize,
        blocks: [&Block; 2],
    ) -> Done {
        let sizes = [h, w, c, factor].map(|v| Arg::Int(int(v)));
        let args: Vec<Arg<'_>> = [long(len)]
            .into_iter()
            .chain(sizes)
            .chain(blocks.map(Arg::Block))
            .collect();
        self.flat(kernel, len, &args)
    }
}

fn inside(index: &[usize], rows: usize) {
    assert!(index.iter().all(|i| *i < rows), "BUG: a row past the matrix's end");
}
