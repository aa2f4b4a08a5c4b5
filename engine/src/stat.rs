//! Digests of input files, by content, with a memory of what was hashed before so that unchanged files are not read again.
//!
//! A file is taken for unchanged if size, times and inode are the same *and* its last change lay well before it was hashed:
//! a change within the clock's tick of the hashing would otherwise go unseen (git calls such a file racily clean).

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use flow_cache::{Digest, Store};
use serde::{Deserialize, Serialize};

use crate::code::{self, Listing};
use crate::os_path::OsPath;

/// Changes this close before the hashing are not distinguished by every file system.
const RACY_MS: u64 = 2_000;

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

const SCHEMA: u32 = 2;

/// The file in the store.
const MEMORY: &str = "stat.json";

/// Digests of files by path.
#[derive(Default)]
pub struct FileDigests {
    memory: Option<Store>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<PathBuf, Entry>,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    schema: u32,
    files: Vec<(OsPath, Entry)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    stamp: Stamp,
    hashed_unix_ms: u64,
    digest: Digest,
}

/// What the file system says of a file's content without reading it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    size: u64,
    modified_ns: u64,
    changed_ns: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let since_1970 = |time: io::Result<SystemTime>| {
            let since = time
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        let modified_ns = since_1970(metadata.modified());
        #[cfg(unix)]
        let (changed_ns, inode) = {
            use std::os::unix::fs::MetadataExt;
            let ns = metadata
                .ctime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.ctime_nsec());
            (u64::try_from(ns).unwrap_or(0), metadata.ino())
        };
        #[cfg(not(unix))]
        let (changed_ns, inode) = (modified_ns, 0);
        Self {
            size: metadata.len(),
            modified_ns,
            changed_ns,
            inode,
        }
    }

    fn latest_ms(&self) -> u64 {
        self.modified_ns.max(self.changed_ns) / 1_000_000
    }
}

impl FileDigests {
    /// Remembers digests in a file of the store. One that is absent, damaged or of another version is started from scratch.
    pub fn open(store: &Store) -> Self {
        let read = std::fs::read(store.root().join(MEMORY))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<OnDisk>(&bytes).ok());
        let entries = read
            .filter(|read| read.schema == SCHEMA)
            .map(|read| read.files.into_iter().map(|(path, entry)| (path.0, entry)).collect())
            .unwrap_or_default();
        Self {
            memory: Some(store.clone()),
            known: Mutex::new(Known {
                entries,
                changed: false,
            }),
        }
    }

    /// The digest of a file's content, or of a folder's: names and contents of the files that [`Listing`] has of it.
    ///
    /// # Errors
    /// If it cannot be read, is a FIFO or the like, or changes again and again while it is read.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        let metadata = code::regular(path)?;
        if metadata.is_dir() {
            let digest_of = |file: &Path| self.digest(&path.join(file));
            Listing::of(path)?.digest(digest_of)
        } else {
            self.digest_file(path, &metadata)
        }
    }

    fn digest_file(&self, path: &Path, metadata: &Metadata) -> io::Result<Digest> {
        let mut stamp = Stamp::of(metadata);
        let absolute = std::path::absolute(path)?;
        if let Some(entry) = self.lock().entries.get(&absolute)
            && entry.stamp == stamp
            && stamp.latest_ms().saturating_add(RACY_MS) < entry.hashed_unix_ms
        {
            return Ok(entry.digest);
        }
        let _span = tracing::debug_span!("hash", path = %path.display(), bytes = stamp.size).entered();
        for _ in 0..ATTEMPTS {
            let hashed_unix_ms = unix_ms();
            let digest = Digest::of_file(path)?;
            let after = Stamp::of(&std::fs::metadata(path)?);
            if after == stamp {
                let mut known = self.lock();
                known.changed = true;
                known.entries.insert(
                    absolute,
                    Entry {
                        stamp,
                        hashed_unix_ms,
                        digest,
                    },
                );
                return Ok(digest);
            }
            stamp = after;
        }
        Err(io::Error::other("it changes while it is being read"))
    }

    /// Writes down what was hashed. The memory only saves time, so that a failure is a note for developers.
    pub fn save(&self) {
        let Some(memory) = &self.memory else { return };
        let mut known = self.lock();
        if !known.changed {
            return;
        }
        known.changed = false;
        known.entries.retain(|path, _| path.exists());
        let on_disk = OnDisk {
            schema: SCHEMA,
            files: known
                .entries
                .iter()
                .map(|(path, entry)| (OsPath(path.clone()), entry.clone()))
                .collect(),
        };
        let written = serde_json::to_vec(&on_disk)
            .map_err(io::Error::from)
            .and_then(|bytes| memory.place(MEMORY, &bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot save the digests of input files");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970 (UTC).
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_cache::Access;

    #[test]
    fn a_file_rewritten_with_the_same_size_within_a_tick_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let digests = FileDigests::default();
        std::fs::write(&path, "one").unwrap();
        let before = digests.digest(&path).unwrap();
        std::fs::write(&path, "two").unwrap();
        assert_ne!(before, digests.digest(&path).unwrap());
    }

    #[test]
    fn a_folder_is_its_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let digests = FileDigests::default();
        std::fs::create_dir(dir.path().join("cat")).unwrap();
        std::fs::write(dir.path().join("cat/1"), "x").unwrap();
        let before = digests.digest(dir.path()).unwrap();
        std::fs::rename(dir.path().join("cat"), dir.path().join("dog")).unwrap();
        assert_ne!(before, digests.digest(dir.path()).unwrap());
    }

    #[test]
    fn an_old_file_is_remembered_and_a_damaged_memory_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let store = Store::open(&dir.path().join("cache"), Access::ReadWrite).unwrap();
        let memory = store.root().join(MEMORY);
        std::fs::write(&path, "one").unwrap();
        let digests = FileDigests::open(&store);
        let digest = digests.digest(&path).unwrap();
        digests.save();
        assert_eq!(FileDigests::open(&store).lock().entries.len(), 1);
        std::fs::write(&memory, "{").unwrap();
        assert_eq!(FileDigests::open(&store).digest(&path).unwrap(), digest);
    }
}
