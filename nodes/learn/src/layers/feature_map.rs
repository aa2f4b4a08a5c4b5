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
        let values = reused.unwrap_or_else(|| vec![0.0; len]);
        Buffer(Arc::new(Values {
            values,
            pool: Some(Arc::clone(self)),
        }))
    }
}

/// Values that go back to their pool when the last reference is dropped. Clones share them until one is written to, which then
/// gets a copy of its own.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Values>);

#[derive(Debug)]
struct Values {
    values: Vec<f32>,
    pool: Option<Arc<BufferPool>>,
}

impl Clone for Values {
    fn clone(&self) -> Self {
        match &self.pool {
            Some(pool) => {
                let mut copy = pool.take(self.values.len());
                copy.copy_from_slice(&self.values);
                Arc::try_unwrap(copy.0).expect("BUG: a buffer just taken is shared")
            }
            None => Self {
                values: self.values.clone(),
                pool: None,
            },
        }
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self(Arc::new(Values { values, pool: None }))
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut Arc::make_mut(&mut self.0).values
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let values = std::mem::take(&mut self.values);
            pool.free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(values.len())
                .or_default()
                .push(values);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_its_values_until_one_is_written_to() {
        let pool: Arc<BufferPool> = Arc::default();
        let mut first = pool.take(3);
        first.copy_from_slice(&[1.0, 2.0, 3.0]);
        let mut second = first.clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        second[0] = 9.0;
        assert_eq!((&first[..], &second[..]), (&[1.0, 2.0, 3.0][..], &[9.0, 2.0, 3.0][..]));
    }

    #[test]
    fn a_buffer_goes_back_when_its_last_holder_is_gone() {
        let pool: Arc<BufferPool> = Arc::default();
        let first = pool.take(4);
        let (second, place) = (first.clone(), first.as_ptr());
        drop(first);
        let other = pool.take(4);
        assert_ne!(other.as_ptr(), place, "it is still held");
        drop(second);
        assert_eq!(pool.take(4).as_ptr(), place);
    }
}
