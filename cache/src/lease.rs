//! Leases: the entries that a run under way counts on. A collection of another process leaves them alone.
//!
//! A file under `leases/`, locked as long as the run lasts, with the keys one after another, 32 bytes each. The system gives
//! the lock back when a process ends: a file that is not locked is no lease, and removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::files::Files;
use crate::key::ActionKey;
use crate::lock;

/// The entries that one run counts on, until it is dropped. On a disk without locks, or one that is full, there is none: an
/// entry that is collected during a run is recomputed by it.
#[derive(Debug)]
pub struct Lease {
    held: Option<(File, PathBuf)>,
}

impl Lease {
    pub(crate) fn begin(files: &Files) -> Self {
        if !files.writable() {
            return Self { held: None };
        }
        let folder = files.layout.leases();
        let made = files.sharing.create_dir_all(&folder);
        let held = made.and_then(|()| lock::own_file(&folder, files.sharing));
        let held = held.inspect_err(|error| tracing::debug!(%error, "this run has no lease"));
        Self { held: held.ok() }
    }

    /// Counts on more entries.
    pub fn add<'a>(&mut self, keys: impl IntoIterator<Item = &'a ActionKey>) {
        let Some((file, _)) = &mut self.held else { return };
        let bytes: Vec<u8> = keys.into_iter().flat_map(|key| *key.digest().as_bytes()).collect();
        if let Err(error) = file.write_all(&bytes) {
            tracing::debug!(%error, "the lease is not whole");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((_lock, path)) = &self.held {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The keys of all leases that are held; files of the dead are removed.
pub(crate) fn leased(files: &Files) -> BTreeSet<ActionKey> {
    let mut keys = BTreeSet::new();
    for entry in std::fs::read_dir(files.layout.leases()).into_iter().flatten().flatten() {
        if let Some(mut file) = lock::of_the_living(&entry.path()) {
            let mut bytes = Vec::new();
            let _ = file.read_to_end(&mut bytes);
            keys.extend(decode(&bytes));
        }
    }
    keys
}

/// The keys in a lease; the last one may be half written.
pub(crate) fn decode(bytes: &[u8]) -> impl Iterator<Item = ActionKey> {
    let whole = bytes.chunks_exact(32).filter_map(|key| <[u8; 32]>::try_from(key).ok());
    whole.map(|key| ActionKey::from(Digest::from(key)))
}
