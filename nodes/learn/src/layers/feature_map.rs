//! Batches of feature maps, channel-last.

use super::Buffer;

/// Height, width and channels of one image's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Height in pixels; 1 for vectors.
    pub h: usize,
    /// Width in pixels; 1 for vectors.
    pub w: usize,
    /// Channels, or the vector's dimension.
    pub c: usize,
}

impl MapShape {
    /// Values per image.
    pub fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a vector.
    pub fn vector(dim: usize) -> Self {
        Self { h: 1, w: 1, c: dim }
    }
}

/// `n` images of features, `[n][h][w][c]`. A clone is cheap: see [`Buffer`].
#[derive(Clone, Debug)]
pub struct FeatureMap {
    /// Images.
    pub n: usize,
    /// Shape of each.
    pub shape: MapShape,
    /// The values.
    pub data: Buffer,
}

impl FeatureMap {
    /// Wraps values.
    ///
    /// # Panics
    /// With `BUG:` if there are not `n * shape.len()` of them.
    pub fn new(n: usize, shape: MapShape, data: impl Into<Buffer>) -> Self {
        let data = data.into();
        assert_eq!(
            data.len(),
            n * shape.len(),
            "BUG: values do not fit the feature map's shape"
        );
        Self { n, shape, data }
    }

    /// Rows of the matrix `[n * h * w][c]` that it is.
    pub fn rows(&self) -> usize {
        self.n * self.shape.h * self.shape.w
    }
}
