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
    pub fn backward_below(&mut self, depth: usize, dy: FeatureMap, pass: &mut Pass) -> Option<FeatureMap> {
        let mut first = self.layers.iter_mut().take(depth).rev();
        first.try_fold(dy, |dy, (_, layer)| layer.backward(dy, pass, true))
    }
}

/// A network as a trunk of which several maps are looked at: the last ones of each size, finest first.
impl Sequential {
    /// How many layers there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Of the first `layers` layers, the places of those whose map is the last of its size, with its shape.
    pub fn stages(&self, input: MapShape, layers: usize) -> Vec<(usize, MapShape)> {
        let mut stages: Vec<(usize, MapShape)> = Vec::new();
        let mut shape = input;
        for (place, (_, layer)) in self.layers[..layers].iter().enumerate() {
            shape = layer.output_shape(shape);
            let size = |shape: MapShape| (shape.h, shape.w);
            stages.pop_if(|(_, before)| size(*before) == size(shape));
            stages.push((place, shape));
        }
        stages
    }

    /// The maps behind the layers at `places`, which ascend.
    pub fn forward_to(&mut self, mut x: FeatureMap, places: &[usize], pass: &mut Pass) -> Vec<FeatureMap> {
        let mut maps = Vec::with_capacity(places.len());
        let last = places.last().map_or(0, |last| last + 1);
        for (place, (_, layer)) in self.layers[..last].iter_mut().enumerate() {
            x = layer.forward(x, pass);
            if places.contains(&place) {
                maps.push(x.clone());
            }
        }
        maps
    }

    /// The way back of [`Sequential::forward_to`], from the gradients of its maps, of which that of the last must be there.
    pub fn backward_from(&mut self, gradients: Vec<Option<FeatureMap>>, places: &[usize], pass: &mut Pass) {
        let last = places.last().map_or(0, |last| last + 1);
        let mut waiting: Vec<(usize, Option<FeatureMap>)> = places.iter().copied().zip(gradients).collect();
        let mut gradient: Option<FeatureMap> = None;
        for (place, (_, layer)) in self.layers[..last].iter_mut().enumerate().rev() {
            let own = waiting.pop_if(|(at, _)| *at == place).and_then(|(_, own)| own);
            gradient = match (gradient, own) {
                (Some(mut sum), Some(own)) => {
                    pass.device().add(&mut sum.data, &own.data);
                    Some(sum)
                }
                (sum, own) => sum.or(own),
            };
            gradient = gradient.and_then(|dy| layer.backward(dy, pass, place > 0));
        }
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
