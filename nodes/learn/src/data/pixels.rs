//! Bytes of pixels that may be somebody else's: a clone is the same bytes, wherever they lie.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Where bytes lie: in memory, or in a file that is mapped into it.
type Bytes = dyn AsRef<[u8]> + Send + Sync;

/// Bytes that are shared, and not changed any more.
#[derive(Clone)]
pub struct Pixels {
    bytes: Arc<Bytes>,
    range: Range<usize>,
}

impl Pixels {
    /// The bytes of something that holds them.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..bytes.as_ref().len();
        Self {
            bytes: Arc::new(bytes),
            range,
        }
    }

    /// Those from `start` on, in the same place; none if there are fewer.
    #[must_use]
    pub fn slice(&self, start: usize) -> Self {
        let start = (self.range.start + start).min(self.range.end);
        Self {
            bytes: Arc::clone(&self.bytes),
            range: start..self.range.end,
        }
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Pixels {}

impl PartialEq<[u8]> for Pixels {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Pixels {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == other[..]
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_and_a_part_are_the_same_bytes_in_the_same_place() {
        let pixels = Pixels::from(vec![1, 2, 3, 4]);
        let part = pixels.slice(1).slice(1);
        assert_eq!(part, [3, 4]);
        assert_eq!(part.as_ptr(), pixels[2..].as_ptr());
        assert_eq!(pixels.clone().as_ptr(), pixels.as_ptr());
        assert_eq!(pixels.slice(9).len(), 0);
    }
}
