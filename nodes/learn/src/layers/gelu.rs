//! GELU in its exact form, as PyTorch's default.

use super::{FeatureMap, Layer, MapShape, Pass, tensors};
use crate::kernels::gelu;

/// `x Phi(x)`, with the standard normal's cumulative distribution `Phi`.
#[derive(Debug, Default)]
pub struct Gelu;

impl Layer for Gelu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let label = move || format!("gelu {}", x.shape.c);
        if !pass.records() {
            pass.timed("forward", 0.0, label, || gelu::forward(&mut x.data));
            return x;
        }
        let mut y = pass.map(x.n, x.shape);
        pass.timed("forward", 0.0, label, || {
            gelu::forward_with_derivative(&mut x.data, &mut y.data);
        });
        // What was the input is the derivative now.
        pass.push(x);
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let derivative: FeatureMap = pass.pop();
        let label = || format!("gelu {}", derivative.shape.c);
        pass.timed("backward", 0.0, label, || {
            gelu::backward(&mut dy.data, &derivative.data)
        });
        Some(dy)
    }
}

tensors!(Gelu:);
