//! Noise of training: dropout of single values (Srivastava et al. 2014) and of a block's whole output (stochastic depth, Huang et al. 2016,
//! 1603.09382).

use super::{Buffer, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Value, tensors};

/// Leaves each part out with probability `p` and scales the others by `1 / (1 - p)`, in passes that have noise; in others nothing happens.
#[derive(Debug)]
pub struct Dropout {
    p: f32,
    /// Whether a part is all of an image, and not one value.
    images: bool,
}

impl Dropout {
    /// Of single values; `p` is in `[0, 1)`.
    pub fn values(p: f32) -> Self {
        Self { p, images: false }
    }

    /// Of all of an image's values: at the end of a residual block's body, this leaves the block out.
    pub fn images(p: f32) -> Self {
        Self { p, images: true }
    }
}

impl Layer for Dropout {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, mut x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let noise = if self.p > 0.0 { pass.noise() } else { None };
        let factors: Option<Buffer> = noise.map(|mut noise| {
            let (parts, kept) = (if self.images { x.n } else { x.data.len() }, 1.0 / (1.0 - self.p));
            let factor = |_| if noise.bernoulli(self.p) { 0.0 } else { kept };
            (0..parts).map(factor).collect::<Vec<f32>>().into()
        });
        if let Some(factors) = &factors {
            pass.device().scale_parts(&mut x.data, factors);
        }
        pass.push(factors);
        x
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let factors: Option<Buffer> = pass.pop();
        if let Some(factors) = factors {
            pass.device().scale_parts(&mut dy.data, &factors);
        }
        Some(dy)
    }

    fn describe(&self, _graph: &mut Graph, x: Value, _input: MapShape, _prefix: &str) -> Result<Value, NoGraph> {
        Ok(x)
    }
}

tensors!(Dropout:);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::{BufferPool, Mode};
    use crate::rng::Stream;

    fn ones() -> FeatureMap {
        FeatureMap::new(40, MapShape { h: 2, w: 2, c: 5 }, vec![1.0; 800])
    }

    #[test]
    fn what_is_left_is_scaled_and_gradients_go_the_same_way() {
        let pool: Arc<BufferPool> = Arc::default();
        for (mut layer, part) in [(Dropout::values(0.25), 1), (Dropout::images(0.25), 20)] {
            let mut pass = Pass::recording(Mode::Train, &pool).noisy(Stream::new(1, "noise"));
            let y = layer.forward(ones(), &mut pass);
            assert!(y.data.chunks_exact(part).all(|part| part.iter().all(|v| *v == part[0])));
            let left = y.data.iter().filter(|v| **v > 0.0).count() as f32 / 800.0;
            assert!((0.55..0.95).contains(&left), "{left}");
            let dx = layer.backward(ones(), &mut pass, true).expect("a gradient");
            assert_eq!(&dx.data[..], &y.data[..]);
        }
    }

    #[test]
    fn a_pass_without_noise_changes_nothing() {
        let pool: Arc<BufferPool> = Arc::default();
        let y = Dropout::values(0.5).forward(ones(), &mut Pass::inference(&pool));
        assert!(y.data.iter().all(|v| *v == 1.0));
    }
}
