//! What a store and its artifacts share: files, catalog, recall, claims, and the lock of those that stage files.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::artifact::Artifact;
use crate::catalog::Catalog;
use crate::claim::Claims;
use crate::disk::Disk;
use crate::error::CacheError;
use crate::files::{Access, Entry, Files};
use crate::key::ActionKey;
use crate::layout::Layout;
use crate::litter;
use crate::lock::StagingLock;
use crate::recall::Recall;
use crate::scratch::Scratch;

/// What a store and its artifacts share.
pub(crate) struct Shared {
    pub(crate) files: Arc<Files>,
    pub(crate) catalog: Catalog,
    recall: Mutex<Recall>,
    pub(crate) claims: Arc<Claims>,
    _staging: Option<StagingLock>,
}

impl Shared {
    /// On a `real` disk there may be other processes, and sled can be used.
    pub(crate) fn open(disk: Box<dyn Disk>, root: &Path, access: Access, real: bool) -> Result<Self, CacheError> {
        let files = Arc::new(Files::open(disk, Layout::new(root), access)?);
        let shared = real && access == Access::ReadWrite;
        // Before anything is staged: the next process that opens the store would sweep it away.
        let staging = if shared { join_writers(&files)? } else { None };
        if access == Access::ReadWrite {
            files.tag()?;
        }
        Ok(Self {
            catalog: Catalog::new(Arc::clone(&files), shared),
            claims: Claims::new(&files),
            files,
            recall: Mutex::default(),
            _staging: staging,
        })
    }

    pub(crate) fn recall(&self) -> MutexGuard<'_, Recall> {
        self.recall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves an unusable entry to quarantine.
    pub(crate) fn set_aside(&self, key: &ActionKey, why: &str) -> Result<(), CacheError> {
        tracing::warn!(%key, "cache entry set aside in {}: {why}", self.files.layout.quarantine().display());
        self.files.quarantine(key)?;
        self.catalog.announce(key);
        Ok(())
    }

    pub(crate) fn artifact(&self, entry: &Entry) -> Artifact {
        Artifact::new((&entry.record).into(), entry.stamp, Arc::clone(&self.files))
    }

    pub(crate) fn scratch(&self, key: &ActionKey) -> Scratch {
        Scratch::new(*key, Arc::clone(&self.files))
    }
}

/// Registers this process as one that may have staged files, sweeping away what a crash left if it is the only one.
fn join_writers(files: &Files) -> Result<Option<StagingLock>, CacheError> {
    let path = files.layout.staging_lock();
    let taken = StagingLock::take(
        &path,
        files.sharing,
        || litter::sweep_alone(files),
        || litter::sweep_beside_others(files),
    );
    match taken {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => match files.read_only_if_refused(CacheError::io("lock", &path, error)) {
            refused @ CacheError::ReadOnly { .. } => Err(refused),
            error => {
                tracing::debug!(%error, "the file system does not support locks: staged files of crashed processes stay");
                Ok(None)
            }
        },
    }
}
