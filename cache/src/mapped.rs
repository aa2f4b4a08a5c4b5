//! A blob's bytes where they lie: mapped into memory, so that all who read it share one copy.

use std::fmt;
use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of an output. They are read when they are looked at, and shared among all threads and processes that map them.
pub struct Mapped(Bytes);

enum Bytes {
    Map(Mmap),
    Owned(Vec<u8>),
}

impl Mapped {
    /// The bytes of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: a mapping is sound as long as nobody changes the file under it. A blob is moved to its place whole and never written to
        // again; its name is the digest of its bytes. Collection unlinks it, which leaves the mapped bytes as they are. Somebody who writes
        // into the cache by hand breaks this as they break every other promise of it.
        unsafe { Mmap::map(file) }.map(|map| Self(Bytes::Map(map)))
    }
}

impl Mapped {
    /// Lets go of what was read into this process's memory: what is looked at again is read again, from the system's own copy as long as there is
    /// one.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Bytes::Map(map) = &self.0 {
            // SAFETY: the mapping is of a file, and nobody can write to it: its pages come back with the bytes that they had.
            let released = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = released {
                tracing::debug!(%error, "cannot let go of mapped memory");
            }
        }
    }
}

impl From<Vec<u8>> for Mapped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Map(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.as_ref().len())
    }
}
