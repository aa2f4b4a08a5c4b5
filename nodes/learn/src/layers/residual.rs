//! A residual block: `relu(body(x) + shortcut(x))` (He et al. 2015, 1512.03385).

use super::{Entry, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Tensors, Value, join};

/// Body and optional projection; without a projection the shortcut is the identity.
pub struct Residual {
    body: Vec<Box<dyn Layer>>,
    shortcut: Option<Box<dyn Layer>>,
}

impl Residual {
    /// A block; the shortcut's parameters are named `downsample` as torchvision does.
    pub fn new(body: Vec<Box<dyn Layer>>, shortcut: Option<Box<dyn Layer>>) -> Self {
        Self { body, shortcut }
    }
}

impl Layer for Residual {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.body.iter().fold(input, |shape, layer| layer.output_shape(shape))
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let device = pass.device();
        let other = x.clone();
        let mut y = self.body.iter_mut().fold(x, |x, layer| layer.forward(x, pass));
        let other = match &mut self.shortcut {
            Some(shortcut) => shortcut.forward(other, pass),
            None => other,
        };
        timed(pass, "forward", y.shape, || {
            device.add_relu(&mut y.data, &other.data);
        });
        pass.push(y.clone());
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let (device, y): (_, FeatureMap) = (pass.device(), pass.pop());
        timed(pass, "backward", y.shape, || {
            device.relu_backward(&mut dy.data, &y.data);
        });
        let other = match &mut self.shortcut {
            Some(shortcut) => shortcut.backward(dy.clone(), pass, need_dx),
            None => Some(dy.clone()),
        };
        let mut dx = Some(dy);
        for (i, layer) in self.body.iter_mut().enumerate().rev() {
            dx = layer.backward(dx?, pass, need_dx || i > 0);
        }
        let (mut dx, other) = (dx?, other?);
        timed(pass, "backward", dx.shape, || {
            device.add(&mut dx.data, &other.data);
        });
        Some(dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let other = match &self.shortcut {
            Some(shortcut) => shortcut.describe(graph, x.clone(), input, &join(prefix, "downsample"))?,
            None => x.clone(),
        };
        let (mut y, mut shape) = (x, input);
        for layer in &self.body {
            y = layer.describe(graph, y, shape, prefix)?;
            shape = layer.output_shape(shape);
        }
        let sum = graph.apply("Add", &[&y, &other]);
        Ok(graph.apply("Relu", &[&sum]))
    }
}

/// Does a part of the sum's work, under its name where passes are measured.
fn timed(pass: &mut Pass, part: &'static str, shape: MapShape, work: impl FnOnce()) {
    let MapShape { h, w, c } = shape;
    pass.timed(part, 0.0, || format!("residual sum {c} at {h}x{w}"), work);
}

impl Tensors for Residual {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.body.iter_mut().for_each(|layer| layer.entries(prefix, out));
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.entries(&join(prefix, "downsample"), out);
        }
    }
}
