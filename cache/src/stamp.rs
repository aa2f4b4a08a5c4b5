//! What the file system says of a file or folder without reading it: enough to see that it changed.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::layout::Layout;

/// Changes this close, in seconds, before they are written down are not told apart by every file system.
const RACY_S: i64 = 2;

/// Size, times and inode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Stamp {
    /// The stamp of what lies there; `None` if nothing does.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::from_metadata(&std::fs::metadata(path).ok()?)
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        })
    }

    /// Elsewhere there is no time that a program cannot set: nothing is taken for unchanged.
    #[cfg(not(unix))]
    fn from_metadata(_metadata: &Metadata) -> Option<Self> {
        None
    }
}

/// The folders of the records, as they were at a time: records come and go by renames, which their folder's times tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FolderStamps {
    unix_s: i64,
    by_first_byte: BTreeMap<u8, Stamp>,
}

impl FolderStamps {
    /// As they are now. To be taken before what is to be written down with them: what comes later is a change.
    pub(crate) fn now(layout: &Layout) -> Self {
        let stamp = |first: u8| Some((first, Stamp::of(&layout.records_from(first))?));
        Self {
            unix_s: unix_s(),
            by_first_byte: (0..=u8::MAX).filter_map(stamp).collect(),
        }
    }

    /// Whether the folder of that byte has not changed from `self` to `now`. One that changed within a tick of the clock
    /// before it was written down is not trusted.
    pub(crate) fn is_unchanged(&self, first: u8, now: &Self) -> bool {
        match (self.by_first_byte.get(&first), now.by_first_byte.get(&first)) {
            (Some(then), Some(now)) => then == now && then.changed.0 + RACY_S < self.unix_s,
            (None, None) => cfg!(unix) && self.unix_s != 0,
            _ => false,
        }
    }
}

fn unix_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
