//! Locks between processes, on files of our own: released by the system whenever and however a process ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::host::host_name;

/// The sole right to the index. The file names its holder.
pub(crate) struct IndexLock {
    _file: File,
}

/// Why the lock was not given.
pub(crate) enum Refused {
    /// Another process has it, described as `process 123 on host`.
    Held { path: PathBuf, holder: String },
    /// The disk does not do locks, or failed.
    Failed(CacheError),
}

impl IndexLock {
    /// Takes the lock if it is free.
    pub(crate) fn try_take(path: &Path) -> Result<Self, Refused> {
        let failed = |error| Refused::Failed(CacheError::io("lock", path, error));
        let mut file = open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Best effort: the holder may be writing its name just now.
                let read = file.read_to_string(&mut holder);
                let known = read.is_ok() && !holder.trim().is_empty();
                let holder = if known {
                    holder.trim().to_owned()
                } else {
                    "another process".to_owned()
                };
                return Err(Refused::Held {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The name only serves messages: a full disk must not keep anyone from the index.
        let named = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = named.and_then(|()| writeln!(file, "process {} on {}", std::process::id(), host_name())) {
            tracing::debug!(%error, "lock file not labelled");
        }
        Ok(Self { _file: file })
    }
}

/// The right to have files in the staging folder, shared by all processes that write to the store.
pub(crate) struct StagingLock {
    _file: File,
}

impl StagingLock {
    /// Takes the lock. If no other process has it, what lies in the staging folder was left by a crash, and `sweep` is
    /// called before anyone can stage anything.
    pub(crate) fn take(path: &Path, sweep: impl FnOnce()) -> io::Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                sweep();
                file.unlock()?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.lock_shared()?;
        Ok(Self { _file: file })
    }
}

/// A file to lock, made if need be.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}
