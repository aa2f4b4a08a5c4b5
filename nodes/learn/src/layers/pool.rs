//! Pooling layers: maximum over windows, and average over the cells of a grid (global average pooling at grid 1).

use super::{FeatureMap, Layer, MapShape, Pass, tensors};
use crate::kernels::pool::{self, PoolShape};

/// Maximum over windows, as in a ResNet's ImageNet stem.
pub struct MaxPool {
    /// Window height and width.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Border, at most half the kernel.
    pub padding: usize,
}

impl MaxPool {
    fn shape(&self, input: MapShape) -> PoolShape {
        let Self {
            kernel,
            stride,
            padding,
        } = *self;
        PoolShape {
            h: input.h,
            w: input.w,
            c: input.c,
            kernel,
            stride,
            padding,
        }
    }
}

impl Layer for MaxPool {
    fn output_shape(&self, input: MapShape) -> MapShape {
        let shape = self.shape(input);
        MapShape {
            h: shape.out_h(),
            w: shape.out_w(),
            c: input.c,
        }
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let mut chosen = vec![0u32; y.data.len()];
        pool::max_forward(&self.shape(x.shape), &x.data, &mut y.data, &mut chosen);
        pass.push((chosen, x.shape));
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let (chosen, input): (Vec<u32>, MapShape) = pass.pop();
        let mut dx = pass.map(dy.n, input);
        pool::max_backward(&self.shape(input), &dy.data, &chosen, &mut dx.data);
        Some(dx)
    }
}

tensors!(MaxPool:);

/// Average over the cells of a `grid x grid` division; the output is a vector of `grid * grid * c`, cell by cell.
///
/// A grid of 2 keeps where things are, roughly, which small images with a fixed framing profit from.
pub struct GridPool {
    /// Cells per side, at least 1.
    pub grid: usize,
}

impl Layer for GridPool {
    fn output_shape(&self, input: MapShape) -> MapShape {
        MapShape::vector(self.grid * self.grid * input.c)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        pool::grid_forward((x.shape.h, x.shape.w, x.shape.c), self.grid, &x.data, &mut y.data);
        pass.push(x.shape);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let input: MapShape = pass.pop();
        let mut dx = pass.map(dy.n, input);
        pool::grid_backward((input.h, input.w, input.c), self.grid, &dy.data, &mut dx.data);
        Some(dx)
    }
}

tensors!(GridPool:);
