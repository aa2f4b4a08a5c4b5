//! A residual block: `relu(body(x) + shortcut(x))` (He et al. 2015, 1512.03385).

use super::pool::copy;
use super::{Entry, FeatureMap, Layer, MapShape, Pass, Relu, Tensors, join};

/// Body and optional projection; without a projection the shortcut is the identity.
pub struct Residual {
    body: Vec<Box<dyn Layer>>,
    shortcut: Option<Box<dyn Layer>>,
    relu: Relu,
}

impl Residual {
    /// A block; the shortcut's parameters are named `downsample` as torchvision does.
    pub fn new(body: Vec<Box<dyn Layer>>, shortcut: Option<Box<dyn Layer>>) -> Self {
        Self {
            body,
            shortcut,
            relu: Relu,
        }
    }
}

fn add(to: &mut FeatureMap, from: &FeatureMap) {
    to.data.iter_mut().zip(&*from.data).for_each(|(a, b)| *a += b);
}

impl Layer for Residual {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.body.iter().fold(input, |shape, layer| layer.output_shape(shape))
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let other = copy(&x, pass);
        let mut y = self.body.iter_mut().fold(x, |x, layer| layer.forward(x, pass));
        let other = match &mut self.shortcut {
            Some(shortcut) => shortcut.forward(other, pass),
            None => other,
        };
        add(&mut y, &other);
        self.relu.forward(y, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dy = self.relu.backward(dy, pass, true)?;
        let other = copy(&dy, pass);
        let other = match &mut self.shortcut {
            Some(shortcut) => shortcut.backward(other, pass, need_dx),
            None => Some(other),
        };
        let mut dx = Some(dy);
        for (i, layer) in self.body.iter_mut().enumerate().rev() {
            dx = layer.backward(dx?, pass, need_dx || i > 0);
        }
        let mut dx = dx?;
        add(&mut dx, &other?);
        Some(dx)
    }
}

impl Tensors for Residual {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.body.iter_mut().for_each(|layer| layer.entries(prefix, out));
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.entries(&join(prefix, "downsample"), out);
        }
    }
}
