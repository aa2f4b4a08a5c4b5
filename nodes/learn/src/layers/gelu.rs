//! GELU in its exact form, as PyTorch's default.

use super::{Constant, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, tensors};

/// `x Phi(x)`, with the standard normal's cumulative distribution `Phi`.
#[derive(Debug, Default)]
pub struct Gelu;

impl Layer for Gelu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let (device, shape) = (pass.device(), x.shape);
        let label = move || format!("gelu {}", shape.c);
        if !pass.records() {
            pass.timed("forward", 0.0, label, || device.gelu(&mut x.data));
            return x;
        }
        let mut y = pass.map(x.n, x.shape);
        pass.timed("forward", 0.0, label, || {
            device.gelu_with_derivative(&mut x.data, &mut y.data);
        });
        // What was the input is the derivative now.
        pass.push(x);
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let (device, derivative): (_, FeatureMap) = (pass.device(), pass.pop());
        let label = || format!("gelu {}", derivative.shape.c);
        pass.timed("backward", 0.0, label, || {
            device.multiply(&mut dy.data, &derivative.data);
        });
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        let [half, one, root] = [0.5, 1.0, std::f32::consts::SQRT_2].map(|c| graph.constant(Constant::Float(c)));
        let scaled = graph.apply("Div", &[&x, &root]);
        let erf = graph.apply("Erf", &[&scaled]);
        let twice = graph.apply("Add", &[&erf, &one]);
        let share = graph.apply("Mul", &[&twice, &half]);
        Ok(graph.apply("Mul", &[&x, &share]))
    }
}

tensors!(Gelu:);
