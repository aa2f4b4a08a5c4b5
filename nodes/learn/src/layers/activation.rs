//! ReLU on its own, for where no normalisation stands before it.

use super::{Entry, FeatureMap, Layer, MapShape, Pass, Tensors};

/// `max(x, 0)`.
#[derive(Debug, Default)]
pub struct Relu;

impl Layer for Relu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        if pass.records() {
            let mask: Vec<bool> = x.data.iter().map(|v| *v > 0.0).collect();
            pass.push(mask);
        }
        x.data.iter_mut().for_each(|v| *v = v.max(0.0));
        x
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let mask: Vec<bool> = pass.pop();
        dy.data.iter_mut().zip(mask).for_each(|(d, keep)| {
            if !keep {
                *d = 0.0;
            }
        });
        Some(dy)
    }
}

impl Tensors for Relu {
    fn entries<'a>(&'a mut self, _prefix: &str, _out: &mut Vec<Entry<'a>>) {}
}
