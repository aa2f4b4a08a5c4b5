//! Fully connected layer on the flattened features of each image: `y = x W + b`.

use super::{FeatureMap, Graph, Layer, MapShape, NoGraph, Parameter, Pass, TokenLinear, Value, tensors};
use crate::rng::Stream;

/// `[n][in]` to `[n][out]`; a feature map is flattened in its channel-last order.
pub struct Linear {
    flat: TokenLinear,
}

impl Linear {
    /// Uniform in `+-1 / sqrt(in)`, as PyTorch's default.
    pub fn new(inputs: usize, outputs: usize, bias: bool, stream: &mut Stream) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = Parameter::uniform(inputs * outputs, bound, stream);
        let bias = bias.then(|| Parameter::uniform(outputs, bound, stream));
        Self {
            flat: TokenLinear::new(inputs, outputs, weight, bias),
        }
    }

    /// A layer with the given weights, `[in][out]`, and biases, `[out]`.
    pub fn from_weights(weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let (inputs, outputs) = (weight.len() / bias.len().max(1), bias.len());
        let bias = Some(Parameter::new(bias));
        Self {
            flat: TokenLinear::new(inputs, outputs, Parameter::new(weight), bias),
        }
    }
}

impl Layer for Linear {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.flat.output_shape(MapShape::vector(input.len()))
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        pass.push(x.shape);
        let shape = MapShape::vector(x.shape.len());
        self.flat.forward(FeatureMap { shape, ..x }, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dx = self.flat.backward(dy, pass, need_dx);
        let shape: MapShape = pass.pop();
        dx.map(|dx| FeatureMap { shape, ..dx })
    }

    /// Of vectors; a map would have to be flattened in channel-last order first.
    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        self.flat.describe(graph, x, input, prefix)
    }
}

tensors!(Linear: flat as "");
