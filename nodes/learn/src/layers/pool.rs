//! Pooling layers: maximum over windows, and average over the cells of a grid (global average pooling at grid 1).

use super::{Attribute, Buffer, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, as_int, tensors};
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
        let mut chosen = pass.buffer(y.data.len());
        pass.device()
            .max_pool(&self.shape(x.shape), &x.data, &mut y.data, &mut chosen);
        pass.push((chosen, x.shape));
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let (chosen, input): (Buffer, MapShape) = pass.pop();
        let mut dx = pass.map(dy.n, input);
        pass.device()
            .max_pool_backward(&self.shape(input), &dy.data, &chosen, &mut dx.data);
        Some(dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(as_int);
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
            ("strides", Attribute::Ints(vec![stride; 2])),
            ("pads", Attribute::Ints(vec![padding; 4])),
        ];
        Ok(graph.apply_with("MaxPool", &[&x], attributes))
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
        pass.device().grid_pool(x.shape, self.grid, &x.data, &mut y.data);
        pass.push(x.shape);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let input: MapShape = pass.pop();
        let mut dx = pass.map(dy.n, input);
        pass.device()
            .grid_pool_backward(input, self.grid, &dy.data, &mut dx.data);
        Some(dx)
    }

    /// The mean of each cell, one cell's channels after the other's.
    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        let means: Vec<Value> = (0..self.grid * self.grid)
            .map(|cell| {
                let part = |i, size| pool::cell(i, size, self.grid);
                let rows = graph.slice(&x, 2, part(cell / self.grid, input.h));
                let cell = graph.slice(&rows, 3, part(cell % self.grid, input.w));
                let attributes = vec![("axes", Attribute::Ints(vec![2, 3])), ("keepdims", Attribute::Int(0))];
                graph.apply_with("ReduceMean", &[&cell], attributes)
            })
            .collect();
        match means.as_slice() {
            [mean] => Ok(mean.clone()),
            several => {
                let several: Vec<&Value> = several.iter().collect();
                Ok(graph.apply_with("Concat", &several, vec![("axis", Attribute::Int(1))]))
            }
        }
    }
}

tensors!(GridPool:);
