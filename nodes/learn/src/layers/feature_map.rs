//! Batches of feature maps, channel-last, in buffers that are reused from step to step.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Buffers given back, by length. Fresh pages cost a fault each, which a training step would pay for every activation.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Mutex<BTreeMap<usize, Vec<Vec<f32>>>>,
}

impl BufferPool {
    /// A buffer of `len` values with unspecified contents.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let reused = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&len)
            .and_then(Vec::pop);
        Buffer {
            data: reused.unwrap_or_else(|| vec![0.0; len]),
            pool: Some(Arc::clone(self)),
        }
    }
}

/// Values that go back to their pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    data: Vec<f32>,
    pool: Option<Arc<BufferPool>>,
}

impl From<Vec<f32>> for Buffer {
    fn from(data: Vec<f32>) -> Self {
        Self { data, pool: None }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let data = std::mem::take(&mut self.data);
            pool.free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(data.len())
                .or_default()
                .push(data);
        }
    }
}

/// `n` images of features, `[n][h][w][c]`.
#[derive(Debug)]
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
