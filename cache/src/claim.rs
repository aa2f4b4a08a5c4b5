//! The sole right to work on a key, among all processes: two runs on one cache share their work.
//!
//! A file of the key's name under `claims/`, locked as long as someone works on it, and removed by whoever has the lock. The
//! system gives the lock back when a process ends, however it ends: a file that is left behind claims nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::files::Files;
use crate::host::host_name;
use crate::key::ActionKey;

/// A claim that was asked for.
#[derive(Debug)]
pub enum Claiming {
    /// It is ours until the [`Claim`] is dropped.
    Given(Claim),
    /// Someone else has it, described as `process 123 on host`.
    Held(String),
}

/// The right to work on a key; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    held: Option<(File, PathBuf)>,
}

impl Claim {
    pub(crate) fn take(files: &Files, key: &ActionKey) -> Result<Claiming, CacheError> {
        let path = files.layout.claim(key);
        let failed = |error| CacheError::io("lock", &path, error);
        // Whoever had the lock may have removed the file between our opening and locking it: then it is no claim.
        loop {
            let mut file = open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    // The name only serves messages.
                    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", this_process()));
                    return Ok(Claiming::Given(Self {
                        held: Some((file, path)),
                    }));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let read = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                    let holder = match holder.trim() {
                        ours if read.is_ok() && ours == this_process() => "an earlier run of this process",
                        named if read.is_ok() && !named.is_empty() => named,
                        _ => "another process",
                    };
                    return Ok(Claiming::Held(holder.to_owned()));
                }
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(%error, "the disk does no locks: work may be done twice");
                    return Ok(Claiming::Given(Self { held: None }));
                }
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((_lock, path)) = &self.held {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn this_process() -> String {
    format!("process {} on {}", std::process::id(), host_name())
}

fn open(path: &Path) -> std::io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    open().or_else(|error| match path.parent() {
        Some(folder) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            open()
        }
        _ => Err(error),
    })
}

/// Whether the open file is the one that the path leads to.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::layout::Layout;
    use crate::store::Access;

    #[test]
    fn a_claim_names_its_holder_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(Box::new(RealDisk), Layout::new(dir.path()), Access::ReadWrite).unwrap();
        let key = crate::KeyBuilder::new("k", 1).finish().0;
        let Claiming::Given(first) = Claim::take(&files, &key).unwrap() else {
            panic!("nobody has it")
        };
        let Claiming::Held(holder) = Claim::take(&files, &key).unwrap() else {
            panic!("it is taken")
        };
        assert_eq!(holder, "an earlier run of this process");
        drop(first);
        assert!(matches!(Claim::take(&files, &key).unwrap(), Claiming::Given(_)));
        assert!(!files.layout.claim(&key).exists(), "nothing is left behind");
    }

    #[test]
    fn a_file_left_by_a_dead_process_claims_nothing_whatever_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(Box::new(RealDisk), Layout::new(dir.path()), Access::ReadWrite).unwrap();
        let key = crate::KeyBuilder::new("k", 1).finish().0;
        std::fs::create_dir_all(files.layout.claim(&key).parent().unwrap()).unwrap();
        // Process 1 is alive on every machine: the number proves nothing.
        std::fs::write(files.layout.claim(&key), "process 1 on here\n").unwrap();
        assert!(matches!(Claim::take(&files, &key).unwrap(), Claiming::Given(_)));
    }
}
