//! A temporary directory inside the store, swept away when its process is gone, however it ended.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::error::swept_away;
use crate::files::Files;
use crate::lock;

/// How the names of these directories begin.
const PREFIX: &str = "work-";
/// The file in it that is locked as long as its process lives.
const LOCK: &str = "lock";

/// One is swept away only in the moment before it is locked.
const ATTEMPTS: usize = 10;

/// A temporary directory on the file system of the store, with the store's permissions, removed when it is dropped. What a killed process left
/// is removed when the store is next opened, also beside others.
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    _alive: File,
}

impl WorkFolder {
    pub(crate) fn make(files: &Files) -> Result<Self, CacheError> {
        files.must_write()?;
        let staging = files.layout.staging();
        let failed = |error| CacheError::io("make a directory in", &staging, error);
        for _ in 0..ATTEMPTS {
            if let Some(made) = Self::try_make(files).map_err(failed)? {
                return Ok(made);
            }
        }
        Err(failed(swept_away()))
    }

    /// `None` if someone swept it away before it was locked.
    fn try_make(files: &Files) -> io::Result<Option<Self>> {
        let mut builder = files.sharing.temporary_folder();
        let folder = builder.prefix(PREFIX).tempdir_in(files.layout.staging())?;
        files.sharing.widen_folder(folder.path())?;
        let lock = folder.path().join(LOCK);
        let alive = files.sharing.create_new(&lock)?;
        // On a disk without locks it stays until the store is opened by one process alone.
        let _ = alive.try_lock();
        Ok(lock::lies_at(&alive, &lock).then(|| Self {
            path: folder.keep(),
            _alive: alive,
        }))
    }

    /// Where it is; it holds a file `lock`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "temporary directory left behind");
        }
    }
}

/// Removes the directories of processes that are gone.
pub(crate) fn sweep(files: &Files) {
    for entry in fs::read_dir(files.layout.staging()).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let lock = entry.path().join(LOCK);
        // Without its lock it may have been made just now.
        if is_ours && lock.exists() && lock::of_the_living(&lock).is_none() && !lock.exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
