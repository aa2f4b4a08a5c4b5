//! Bytes of pixels that may be somebody else's: a clone is the same bytes, wherever they lie.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where bytes lie: in memory, or in a file that is mapped into it.
pub trait Bytes: AsRef<[u8]> + Send + Sync {
    /// Lets go of the memory of bytes that can be read again from where they came: called from time to time as parts are looked at.
    fn release(&self) {}
}

impl Bytes for Vec<u8> {}

/// So many bytes may be looked at before memory is let go of; what has no more is never.
const MOST_HELD: usize = 64 << 20;

/// What the system may read beside a part, before and after it.
const AROUND: usize = 64 << 10;

struct Held {
    bytes: Box<dyn Bytes>,
    /// Bytes that were looked at since the last release.
    looked_at: AtomicUsize,
}

/// Bytes that are shared, and not changed any more.
#[derive(Clone)]
pub struct Pixels {
    held: Arc<Held>,
    range: Range<usize>,
}

impl Pixels {
    /// The bytes of something that holds them.
    pub fn new(bytes: impl Bytes + 'static) -> Self {
        let range = 0..bytes.as_ref().len();
        Self {
            held: Arc::new(Held {
                bytes: Box::new(bytes),
                looked_at: AtomicUsize::new(0),
            }),
            range,
        }
    }

    /// Those from `start` on, in the same place; none if there are fewer.
    #[must_use]
    pub fn slice(&self, start: usize) -> Self {
        let start = (self.range.start + start).min(self.range.end);
        Self {
            held: Arc::clone(&self.held),
            range: start..self.range.end,
        }
    }

    /// Whether these are the very bytes that others are, in the same place.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held) && self.range == other.range
    }

    /// A part of them. However many parts are looked at, few stay in this process's memory of those that lie in a file.
    ///
    /// # Panics
    /// If it reaches behind the end.
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        let Held { bytes, looked_at } = &*self.held;
        let look = range.len() + AROUND;
        if self.range.len() > MOST_HELD && looked_at.fetch_add(look, Ordering::Relaxed) + look > MOST_HELD {
            looked_at.store(0, Ordering::Relaxed);
            bytes.release();
        }
        &self[range]
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
        &(*self.held.bytes).as_ref()[self.range.clone()]
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
        assert_eq!(part[..], [3, 4]);
        assert_eq!(part.as_ptr(), pixels[2..].as_ptr());
        assert_eq!(part.part(1..2), [4]);
        assert_eq!(pixels.clone().as_ptr(), pixels.as_ptr());
        assert_eq!(pixels.slice(9).len(), 0);
    }

    /// Says how often it was let go of.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Bytes for Counted {
        fn release(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn memory_is_let_go_of_as_parts_of_a_large_file_are_looked_at_and_never_of_a_small_one() {
        let looked = |length: usize| {
            let released = Arc::new(AtomicUsize::new(0));
            // Zeros that nobody writes to take no memory.
            let pixels = Pixels::new(Counted(vec![0; length], Arc::clone(&released)));
            (0..length / AROUND).for_each(|at| assert_eq!(pixels.part(at * AROUND..(at + 1) * AROUND).len(), AROUND));
            released.load(Ordering::Relaxed)
        };
        assert_eq!(looked(MOST_HELD), 0);
        assert_eq!(looked(2 * MOST_HELD), 3, "what lies around a part counts too");
    }
}
