//! Layers one after the other, each with the name that its parameters carry.

use super::{Entry, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Tensors, Value, join};

/// Named layers in order. An empty name adds nothing to the parameters' names.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Sequential {
    /// Appends a layer.
    #[must_use]
    pub fn with(mut self, name: &str, layer: impl Layer + 'static) -> Self {
        self.layers.push((name.to_owned(), Box::new(layer)));
        self
    }

    /// Its layers with their names.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), &**layer))
    }

    /// What the first `depth` layers make of a batch.
    pub fn forward_until(&mut self, depth: usize, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let first = self.layers.iter_mut().take(depth);
        first.fold(x, |x, (_, layer)| layer.forward(x, pass))
    }

    /// The gradient of the batch, from that of what the first `depth` layers made of it.
    pub fn backward_from(&mut self, depth: usize, dy: FeatureMap, pass: &mut Pass) -> Option<FeatureMap> {
        let mut first = self.layers.iter_mut().take(depth).rev();
        first.try_fold(dy, |dy, (_, layer)| layer.backward(dy, pass, true))
    }
}

impl Layer for Sequential {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.layers
            .iter()
            .fold(input, |shape, (_, layer)| layer.output_shape(shape))
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.layers.iter_mut().fold(x, |x, (_, layer)| layer.forward(x, pass))
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let mut gradient = Some(dy);
        for (i, (_, layer)) in self.layers.iter_mut().enumerate().rev() {
            gradient = layer.backward(gradient?, pass, need_dx || i > 0);
        }
        gradient
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let (mut y, mut shape) = (x, input);
        for (name, layer) in &self.layers {
            y = layer.describe(graph, y, shape, &join(prefix, name))?;
            shape = layer.output_shape(shape);
        }
        Ok(y)
    }
}

impl Tensors for Sequential {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        for (name, layer) in &mut self.layers {
            layer.entries(&join(prefix, name), out);
        }
    }
}
