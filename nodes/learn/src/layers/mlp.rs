//! The two linear layers with GELU between them that follow attention in a transformer block, under timm's names.

use super::{FeatureMap, Gelu, Graph, Layer, MapShape, NoGraph, Pass, TokenLinear, Value, join, tensors};
use crate::rng::Stream;

/// `fc2(gelu(fc1(x)))` on every token.
pub struct Mlp {
    fc1: TokenLinear,
    act: Gelu,
    fc2: TokenLinear,
}

impl Mlp {
    /// `dim` to `hidden` and back, with fresh weights.
    pub fn new(dim: usize, hidden: usize, stream: &mut Stream) -> Self {
        Self {
            fc1: TokenLinear::normal(dim, hidden, stream),
            act: Gelu,
            fc2: TokenLinear::normal(hidden, dim, stream),
        }
    }
}

impl Layer for Mlp {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.fc2.output_shape(self.fc1.output_shape(input))
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let hidden = self.fc1.forward(x, pass);
        let hidden = self.act.forward(hidden, pass);
        self.fc2.forward(hidden, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dhidden = self.fc2.backward(dy, pass, true)?;
        let dhidden = self.act.backward(dhidden, pass, true)?;
        self.fc1.backward(dhidden, pass, need_dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let x = self.fc1.describe(graph, x, input, &join(prefix, "fc1"))?;
        let x = self.act.describe(graph, x, input, "")?;
        self.fc2
            .describe(graph, x, self.fc1.output_shape(input), &join(prefix, "fc2"))
    }
}

tensors!(Mlp: fc1, fc2);
