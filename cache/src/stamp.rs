//! What the file system says of a file or directory without reading it: enough to see that it changed.

use std::fs::Metadata;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::unix_ms;
use crate::layout::Layout;

/// Changes this close before the file system was asked are not distinguished by every file system.
const RACY_MS: u64 = 2_000;

/// Size, times and inode of a file or directory, and when they were asked for.
///
/// Take it before the content is read. Content that was read then is what lies there as long as a new stamp
/// [is one of the same file, unchanged](Stamp::is_unchanged).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Bytes.
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// Seconds and nanoseconds since 1970; no program can set it.
    changed: (i64, i64),
    inode: u64,
    /// When it was taken, in milliseconds since 1970.
    taken_unix_ms: u64,
}

impl Stamp {
    /// The stamp of what lies there; `None` if nothing does, or if the system has no time that a program cannot set.
    pub fn of(path: &Path) -> Option<Self> {
        Self::from_metadata(&std::fs::metadata(path).ok()?)
    }

    /// The same of metadata that were asked for just now.
    #[cfg(unix)]
    pub fn from_metadata(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            taken_unix_ms: unix_ms(),
        })
    }

    /// Elsewhere there is no time that a program cannot set: nothing is taken for unchanged.
    #[cfg(not(unix))]
    pub fn from_metadata(_metadata: &Metadata) -> Option<Self> {
        None
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When its content was changed last, in seconds and nanoseconds since 1970.
    pub fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// Whether `now` is a stamp of the same file, and nothing has changed it since `self` was taken. If it had changed within
    /// a tick of the clock before that, a change within the same tick after it would not show: then it is not trusted (git
    /// calls such a file racily clean).
    pub fn is_unchanged(&self, now: &Self) -> bool {
        self.is_same(now) && self.last_change_ms().saturating_add(RACY_MS) < self.taken_unix_ms
    }

    /// Whether both are of the same file with the same times, which a change within a tick of the clock does not alter.
    pub fn is_same(&self, other: &Self) -> bool {
        let taken_unix_ms = self.taken_unix_ms;
        *self
            == Self {
                taken_unix_ms,
                ..*other
            }
    }

    fn last_change_ms(&self) -> u64 {
        let (s, ns) = self.modified.max(self.changed);
        u64::try_from(s.saturating_mul(1000).saturating_add(ns / 1_000_000)).unwrap_or(0)
    }

    /// As if it had been taken long after the last change.
    #[cfg(test)]
    pub(crate) fn settled(self) -> Self {
        Self {
            taken_unix_ms: self.last_change_ms() + 10 * RACY_MS,
            ..self
        }
    }
}

/// The directories of the records, as they were at a time: records come and go by renames, which their directory's times tell. What
/// is written into a record where it lies, they do not tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FolderStamps(Vec<Option<Stamp>>);

impl FolderStamps {
    /// As they are now. To be taken before what is to be written down with them: what comes later is a change.
    pub(crate) fn now(layout: &Layout) -> Self {
        Self(
            (0..=u8::MAX)
                .map(|first| Stamp::of(&layout.records_from(first)))
                .collect(),
        )
    }

    /// Whether no record whose key begins with that byte came or went from `self` to `now`.
    pub(crate) fn is_unchanged(&self, first: u8, now: &Self) -> bool {
        match (self.0.get(usize::from(first)), now.0.get(usize::from(first))) {
            (Some(Some(then)), Some(Some(now))) => then.is_unchanged(now),
            (Some(None), Some(None)) => cfg!(unix),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_within_the_clocks_tick_is_not_told_apart_and_so_nothing_is_trusted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [then, now] = [(); 2].map(|()| Stamp::of(file.path()).unwrap());
        assert!(!then.is_unchanged(&now), "made just now: it may change unseen");
        assert!(then.settled().is_unchanged(&now));
    }

    #[test]
    fn a_file_with_other_times_or_another_size_is_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let then = Stamp::of(file.path()).unwrap().settled();
        file.as_file().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(!then.is_unchanged(&Stamp::of(file.path()).unwrap()));
        let then = Stamp::of(file.path()).unwrap().settled();
        file.as_file().set_len(1).unwrap();
        assert!(!then.is_unchanged(&Stamp::of(file.path()).unwrap()));
    }
}
