//! ReLU that lets a part of what is below zero through (Maas et al. 2013).

use super::{Attribute, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, tensors};

/// `x` above zero, `slope x` below.
#[derive(Debug)]
pub struct LeakyRelu {
    /// At least 0 and below 1.
    pub slope: f32,
}

/// Values of a piece that a thread takes.
const PIECE: usize = 16 * 1024;

impl Layer for LeakyRelu {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        use rayon::prelude::*;
        let slope = self.slope;
        x.data.par_chunks_mut(PIECE).for_each(|x| {
            // The larger of the two, as the slope is below 1.
            x.iter_mut().for_each(|v| *v = v.max(slope * *v));
        });
        pass.push(x.clone());
        x
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        use rayon::prelude::*;
        let (y, slope): (FeatureMap, f32) = (pass.pop(), self.slope);
        dy.data
            .par_chunks_mut(PIECE)
            .zip(y.data.par_chunks(PIECE))
            .for_each(|(dy, y)| {
                let pairs = dy.iter_mut().zip(y);
                pairs.for_each(|(d, y)| *d *= if *y > 0.0 { 1.0 } else { slope });
            });
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        Ok(graph.apply_with("LeakyRelu", &[&x], vec![("alpha", Attribute::Float(self.slope))]))
    }
}

tensors!(LeakyRelu:);
