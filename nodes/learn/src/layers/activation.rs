//! ReLU on its own, for where no normalisation stands before it.

use super::{FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, tensors};

/// `max(x, 0)`.
#[derive(Debug, Default)]
pub struct Relu;

impl Layer for Relu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        pass.device().relu(&mut x.data);
        pass.push(x.clone());
        x
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let y: FeatureMap = pass.pop();
        pass.device().relu_backward(&mut dy.data, &y.data);
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        Ok(graph.apply("Relu", &[&x]))
    }
}

tensors!(Relu:);
