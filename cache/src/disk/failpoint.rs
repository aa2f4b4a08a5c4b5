//! Dying at a chosen change to the disk, as `kill -9` at that moment would have it: for tests of whole processes. Builds without debug
//! assertions do not have it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::abort;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Disk, RealDisk};
use crate::digest::Digest;
use crate::sharing::Sharing;
use crate::stamp::Stamp;

/// The variable that says how many changes are made before the process is killed, in the middle of the next.
const VARIABLE: &str = "FLOW_FAILPOINT_DIE_AFTER";

/// The disk of this machine, deadly if the environment says so.
pub(crate) fn disk() -> Box<dyn Disk> {
    match std::env::var(VARIABLE).ok().and_then(|left| left.parse().ok()) {
        Some(left) => Box::new(DeadlyDisk {
            left: AtomicU64::new(left),
            real: RealDisk::default(),
        }),
        None => Box::<RealDisk>::default(),
    }
}

struct DeadlyDisk {
    left: AtomicU64,
    real: RealDisk,
}

impl DeadlyDisk {
    fn is_last(&self) -> bool {
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
    }

    /// Counts a change; does not come back from the last: no destructor, no handler and no buffer sees it.
    fn change(&self) {
        if self.is_last() {
            abort();
        }
    }
}

impl Disk for DeadlyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        self.change();
        self.real.create_dir(dir)
    }

    fn stage(&self, dir: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        if self.is_last() {
            let _ = self.real.stage(dir, &bytes[..bytes.len() / 2]);
            abort();
        }
        self.real.stage(dir, bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.change();
        self.real.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change();
        self.real.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change();
        self.real.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change();
        self.real.rename_new(from, to)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.is_last() {
            let _ = self.real.append(path, &bytes[..bytes.len() / 2]);
            abort();
        }
        self.real.append(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.real.read(path)
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.real.stamp(path)
    }

    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Option<Stamp>)> {
        self.real.read_stamped(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.real.len(path)
    }

    fn is_misplaced(&self, path: &Path, folder: bool) -> bool {
        self.real.is_misplaced(path, folder)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.real.list(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change();
        self.real.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.change();
        self.real.remove_dir_all(dir)
    }

    fn lock_file(&self, path: &Path) -> io::Result<Option<File>> {
        self.real.lock_file(path)
    }

    fn share(&mut self, sharing: Sharing) {
        self.real.share(sharing);
    }

    fn digest(&self, path: &Path) -> io::Result<Digest> {
        self.real.digest(path)
    }
}
