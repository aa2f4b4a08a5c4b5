//! Convolution without bias, batch norm and, if asked, ReLU: the block that backbones are made of.

use super::{
    BatchNorm, Conv2d, ConvSettings, Entry, FeatureMap, Graph, Layer, MapShape, NoGraph, NormSettings, Pass, Tensors,
    Value, join,
};
use crate::rng::Stream;

/// `relu(batch_norm(conv(x)))`; the ReLU runs inside the normalisation's loops.
pub struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    conv_name: String,
    norm_name: String,
}

impl ConvNorm {
    /// A block whose parameters carry the given names, e.g. `conv1` and `bn1`.
    pub fn new(settings: ConvSettings, relu: bool, names: (&str, &str), stream: &mut Stream) -> Self {
        Self {
            conv: Conv2d::new(settings, false, stream),
            norm: BatchNorm::new(settings.c_out, relu, NormSettings::default()),
            conv_name: names.0.to_owned(),
            norm_name: names.1.to_owned(),
        }
    }
}

impl Layer for ConvNorm {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.conv.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let y = self.conv.forward(x, pass);
        self.norm.forward(y, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dy = self.norm.backward(dy, pass, true)?;
        self.conv.backward(dy, pass, need_dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let y = self.conv.describe(graph, x, input, &join(prefix, &self.conv_name))?;
        self.norm
            .describe(graph, y, self.conv.output_shape(input), &join(prefix, &self.norm_name))
    }
}

impl Tensors for ConvNorm {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.conv.entries(&join(prefix, &self.conv_name), out);
        self.norm.entries(&join(prefix, &self.norm_name), out);
    }
}
