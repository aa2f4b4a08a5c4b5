//! Pooling.

use super::{Arg, Block, Done, Kernels, fits, int};
use crate::kernels::pool::PoolShape;

/// As `Pool` in pool.cu, for memory of so many values of inputs.
fn sizes(shape: &PoolShape, inputs: usize) -> (usize, [i32; 9]) {
    let images = inputs / (shape.h * shape.w * shape.c);
    let sizes = [
        images,
        shape.h,
        shape.w,
        shape.c,
        shape.kernel,
        shape.stride,
        shape.padding,
        shape.out_h(),
        shape.out_w(),
    ];
    (images * shape.out_h() * shape.out_w() * shape.c, sizes.map(int))
}

impl Kernels {
    /// Overwrites `y` and `chosen`, which are whole numbers: see [`crate::kernels::pool::max_forward`].
    ///
    /// # Errors
    /// The device's.
    pub fn max_pool(&self, shape: &PoolShape, x: &Block, y: &Block, chosen: &Block) -> Done {
        let (outputs, sizes) = sizes(shape, x.len());
        fits(y, outputs);
        fits(chosen, outputs);
        let args = [Arg::Ints(&sizes), Arg::Block(x), Arg::Block(y), Arg::Block(chosen)];
        self.flat("max_pool", outputs, &args)
    }

    /// Overwrites `dx`: see [`crate::kernels::pool::max_backward`].
    ///
    /// # Errors
    /// The device's.
    pub fn max_pool_backward(&self, shape: &PoolShape, dy: &Block, chosen: &Block, dx: &Block) -> Done {
        let (outputs, sizes) = sizes(shape, dx.len());
        fits(dy, outputs);
        fits(chosen, outputs);
        let args = [Arg::Ints(&sizes), Arg::Block(dy), Arg::Block(chosen), Arg::Block(dx)];
        self.flat("max_pool_backward", dx.len(), &args)
    }

    /// Overwrites `y`: see [`crate::kernels::pool::average_forward`].
    ///
    /// # Errors
    /// The device's.
    pub fn average_pool(&self, shape: &PoolShape, x: &Block, y: &Block) -> Done {
        let (outputs, sizes) = sizes(shape, x.len());
        fits(y, outputs);
        self.flat(
            "average_pool",
            outputs,
            &[Arg::Ints(&sizes), Arg::Block(x), Arg::Block(y)],
        )
    }

    /// Overwrites `dx`: see [`crate::kernels::pool::average_backward`].
    ///
    /// # Errors
    /// The device's.
    pub fn average_pool_backward(&self, shape: &PoolShape, dy: &Block, dx: &Block) -> Done {
        let (outputs, sizes) = sizes(shape, dx.len());
        fits(dy, outputs);
        let args = [Arg::Ints(&sizes), Arg::Block(dy), Arg::Block(dx)];
        self.flat("average_pool_backward", dx.len(), &args)
    }

    /// Overwrites `y` with the mean of each cell of a grid: see [`crate::kernels::pool::grid_forward`].
    ///
    /// # Errors
    /// The device's.
    pub fn grid_pool(&self, (h, w, c): (usize, usize, usize), grid: usize, x: &Block, y: &Block) -> Done {
        let images = x.len() / (h * w * c);
        fits(y, images * grid * grid * c);
        let [height, width, channels, cells] = [h, w, c, grid].map(|v| Arg::Int(int(v)));
        let args = [height, width, channels, cells, Arg::Block(x), Arg::Block(y)];
        self.blocks("grid_pool", [images * grid * grid, c.div_ceil(32), 1], 4 * 256, &args)
    }

    /// Overwrites `dx`: see [`crate::kernels::pool::grid_backward`].
    ///
    /// # Errors
    /// The device's.
    pub fn grid_pool_backward(&self, (h, w, c): (usize, usize, usize), grid: usize, dy: &Block, dx: &Block) -> Done {
        let images = dx.len() / (h * w * c);
        fits(dy, images * grid * grid * c);
        let numbers = [images, h, w, c, grid].map(|v| Arg::Int(int(v)));
        let args: Vec<Arg<'_>> = numbers.into_iter().chain([dy, dx].map(Arg::Block)).collect();
        self.flat("grid_pool_backward", dx.len(), &args)
    }
}
