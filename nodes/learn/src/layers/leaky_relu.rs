//! ReLU that lets a part of what is below zero through (Maas et al. 2013).

use super::{Attribute, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, tensors};

/// `x` above zero, `slope x` below.
#[derive(Debug)]
pub struct LeakyRelu {
    /// At least 0 and below 1.
    pub slope: f32,
}

impl Layer for LeakyRelu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        pass.device().leaky_relu(self.slope, &mut x.data);
        pass.push(x.clone());
        x
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let y: FeatureMap = pass.pop();
        pass.device().leaky_relu_backward(self.slope, &mut dy.data, &y.data);
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        Ok(graph.apply_with("LeakyRelu", &[&x], vec![("alpha", Attribute::Float(self.slope))]))
    }
}

tensors!(LeakyRelu:);
