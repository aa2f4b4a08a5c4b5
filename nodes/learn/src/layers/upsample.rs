//! Enlarging feature maps by repeating pixels, and folding vectors into maps: the way back from features to images.

use super::{FeatureMap, Layer, MapShape, Pass, tensors};

/// Each pixel becomes `factor x factor` equal ones (nearest neighbour). Followed by a convolution, it leaves no checkerboard, as a transposed
/// convolution does (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
pub struct Upsample {
    /// How many times larger, at least 1.
    pub factor: usize,
}

impl Layer for Upsample {
    fn output_shape(&self, input: MapShape) -> MapShape {
        MapShape {
            h: input.h * self.factor,
            w: input.w * self.factor,
            c: input.c,
        }
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        pass.device().upsample(x.shape, self.factor, &x.data, &mut y.data);
        pass.push(x.shape);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let from: MapShape = pass.pop();
        let mut dx = pass.map(dy.n, from);
        pass.device()
            .upsample_backward(from, self.factor, &dy.data, &mut dx.data);
        Some(dx)
    }
}

tensors!(Upsample:);

/// A vector as a feature map of the given shape, channel-last; the values stay in place.
pub struct Unflatten {
    /// The map's shape.
    pub shape: MapShape,
}

impl Layer for Unflatten {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(input.len(), self.shape.len(), "BUG: the vector does not fit the map");
        self.shape
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        pass.push(x.shape);
        FeatureMap::new(x.n, self.shape, x.data)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let input: MapShape = pass.pop();
        Some(FeatureMap::new(dy.n, input, dy.data))
    }
}

tensors!(Unflatten:);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::{BufferPool, Mode};

    #[test]
    fn pixels_are_repeated_and_their_gradients_summed() {
        let pool: Arc<BufferPool> = Arc::default();
        let mut pass = Pass::recording(Mode::Train, &pool);
        let shape = MapShape { h: 1, w: 2, c: 2 };
        let x = FeatureMap::new(1, shape, vec![1.0, 2.0, 3.0, 4.0]);
        let mut layer = Upsample { factor: 2 };
        let y = layer.forward(x, &mut pass);
        let row = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(y.data[..], [row, row].concat());
        let dy = FeatureMap::new(1, y.shape, (0..16).map(|i| i as f32).collect::<Vec<_>>());
        let dx = layer.backward(dy, &mut pass, true).expect("wanted");
        assert_eq!(dx.data[..], [20.0, 24.0, 36.0, 40.0]);
    }
}
