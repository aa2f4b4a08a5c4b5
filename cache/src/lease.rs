//! Leases: the entries that a run under way counts on. A collection of another process leaves them alone.
//!
//! A file under `leases/`, locked as long as the run lasts, with the keys one after another, 32 bytes each. The system gives
//! the lock back when a process ends: a file that is not locked is no lease, and removed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::files::Files;
use crate::key::ActionKey;

/// The entries that one run counts on, until it is dropped. On a disk without locks, or one that is full, there is none: an
/// entry that is collected during a run is recomputed by it.
#[derive(Debug)]
pub struct Lease {
    held: Option<(File, PathBuf)>,
}

impl Lease {
    pub(crate) fn begin(files: &Files) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = files.layout.leases();
        let path = folder.join(format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let begun = std::fs::create_dir_all(&folder).and_then(|()| {
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            // One of a dead process with our number: its keys have no owner.
            file.lock()?;
            file.set_len(0)?;
            Ok(file)
        });
        match begun {
            Ok(file) => Self {
                held: Some((file, path)),
            },
            Err(error) => {
                tracing::debug!(%error, "this run has no lease");
                Self { held: None }
            }
        }
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

/// The keys of all leases that are held.
pub(crate) fn leased(files: &Files) -> BTreeSet<ActionKey> {
    let mut keys = BTreeSet::new();
    for entry in std::fs::read_dir(files.layout.leases()).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(mut file) = File::open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => drop(std::fs::remove_file(&path)),
            Err(TryLockError::WouldBlock) => {
                let mut bytes = Vec::new();
                let _ = file.read_to_end(&mut bytes);
                let whole = bytes.chunks_exact(32).filter_map(|key| <[u8; 32]>::try_from(key).ok());
                keys.extend(whole.map(|key| ActionKey::from(Digest::from(key))));
            }
            Err(TryLockError::Error(error)) => tracing::debug!(%error, "lease not looked at"),
        }
    }
    keys
}
