//! Locks between processes, on files of our own: released by the system whenever and however a process ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::error::{CacheError, swept_away};
use crate::process::{self, ProcessId};
use crate::sharing::Sharing;

/// Who waits longer is told for whom.
const SILENCE: Duration = Duration::from_secs(1);
/// How often someone who waits looks whether to give up.
const LOOK: Duration = Duration::from_millis(100);
/// A new file is taken for a dead process' only in the moment before it is locked.
const ATTEMPTS: usize = 100;

/// The sole right to the index. The file names its holder.
pub(crate) struct IndexLock {
    _file: File,
}

/// Why the lock was not given.
pub(crate) enum Refused {
    /// Another process has it, described as `process 123 on host (command, since ...)`.
    Held { path: PathBuf, holder: String },
    /// The disk does not do locks, or failed.
    Failed(CacheError),
}

impl IndexLock {
    /// Takes the lock if it is free.
    pub(crate) fn try_take(path: &Path, sharing: Sharing) -> Result<Self, Refused> {
        let failed = |error| Refused::Failed(CacheError::io("lock", path, error));
        let mut file = sharing.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (path, holder) = (path.to_owned(), named_in(&mut file));
                return Err(Refused::Held { path, holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        put_name(&mut file);
        Ok(Self { _file: file })
    }
}

/// Writes into a lock's file who has it. It only serves messages: a full disk must not keep anyone from the lock.
pub(crate) fn put_name(file: &mut File) {
    let named = file.set_len(0).and_then(|()| file.rewind());
    if let Err(error) = named.and_then(|()| writeln!(file, "{}", process::description())) {
        tracing::debug!(%error, "lock file not labelled");
    }
}

/// Who wrote that they have a lock. Best effort: they may be writing just now.
pub(crate) fn named_in(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(1024).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    match text
        .lines()
        .next()
        .filter(|line| read.is_ok() && !line.trim().is_empty())
    {
        Some(line) => process::shown(line.trim()),
        None => process::UNNAMED.to_owned(),
    }
}

/// The right to have files in the staging directory, shared by all processes that write to the store.
pub(crate) struct StagingLock {
    _file: File,
}

impl StagingLock {
    /// Takes the lock. If no other process has it, what lies in the staging directory was left by a crash, and `alone` is called before
    /// anyone can stage anything; otherwise `beside` is.
    pub(crate) fn take(path: &Path, sharing: Sharing, alone: impl FnOnce(), beside: impl FnOnce()) -> io::Result<Self> {
        let file = sharing.open(path)?;
        match file.try_lock() {
            Ok(()) => {
                alone();
                file.unlock()?;
            }
            Err(TryLockError::WouldBlock) => beside(),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.lock_shared()?;
        Ok(Self { _file: file })
    }
}

/// Waits for a lock on an open file, together with others or alone. Who waits for longer than a second is told so by `tell`, and from then
/// on gives up when `is_stopped`: then there is `None`.
pub(crate) fn wait(
    file: File,
    alone: bool,
    mut tell: impl FnMut(),
    is_stopped: impl Fn() -> bool,
) -> io::Result<Option<File>> {
    let tried = if alone { file.try_lock() } else { file.try_lock_shared() };
    match tried {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The system wakes a thread that waits as soon as the lock is free, and nothing else can be done in it meanwhile.
    let (give, given) = mpsc::channel();
    std::thread::Builder::new()
        .name("wait-for-lock".to_owned())
        .spawn(move || {
            let locked = if alone { file.lock() } else { file.lock_shared() };
            // If nobody waits any more the file is closed, and the lock free again.
            let _ = give.send(locked.map(|()| file));
        })?;
    let mut patience = SILENCE;
    loop {
        match given.recv_timeout(patience) {
            Ok(locked) => return locked.map(Some),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::Interrupted.into()),
            Err(RecvTimeoutError::Timeout) => {
                if patience == SILENCE {
                    tell();
                    patience = LOOK;
                }
                if is_stopped() {
                    return Ok(None);
                }
            }
        }
    }
}

/// A new file in `folder` with a name of its own, locked by this process until it is closed: a sign of life for others, see [`is_dead`].
///
/// # Errors
/// What the system says, also on a disk that does no locks.
pub(crate) fn own_file(folder: &Path, sharing: Sharing) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..ATTEMPTS {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{count}", ProcessId::own().file_name()));
        let file = match sharing.create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        match file.try_lock() {
            // Whoever found it before it was locked took it for a dead process', and removed it.
            Ok(()) if lies_at(&file, &path) => return Ok((file, path)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        }
    }
    Err(swept_away())
}

/// Whether an open file is the one that lies there.
pub(crate) fn lies_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        file.metadata()
            .and_then(|a| Ok(same(a, fs::metadata(path)?)))
            .unwrap_or(false)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// A file that a process holds as [`own_file`], open to be read; `None` if the process that made it is missing (then it is removed), or if
/// nothing can be said of it.
pub(crate) fn of_the_living(path: &Path) -> Option<File> {
    // A pipe would be waited for.
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(path);
            None
        }
        Err(TryLockError::WouldBlock) => Some(file),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %path.display(), "not looked at");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn who_waits_is_told_and_gives_up_only_when_asked_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut holder = Sharing::Private.open(file.path()).unwrap();
        holder.lock().unwrap();
        put_name(&mut holder);
        let (told, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let tell = || {
            assert!(named_in(&mut holder).starts_with(&format!("process {} on ", std::process::id())));
            told.store(true, Ordering::SeqCst);
            stopped.store(true, Ordering::SeqCst);
        };
        let waiter = Sharing::Private.open(file.path()).unwrap();
        let given = wait(waiter, false, tell, || stopped.load(Ordering::SeqCst)).unwrap();
        assert!(given.is_none() && told.load(Ordering::SeqCst));
        drop(holder);
        let again = Sharing::Private.open(file.path()).unwrap();
        assert!(
            wait(again, true, || {}, || false).unwrap().is_some(),
            "what was given up holds nothing"
        );
    }

    #[test]
    fn a_file_of_a_living_process_is_never_taken_for_a_dead_ones() {
        let dir = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        for entry in fs::read_dir(dir.path()).unwrap().flatten() {
                            of_the_living(&entry.path());
                        }
                    }
                });
            }
            let made = [(); 200].map(|()| own_file(dir.path(), Sharing::Private).unwrap());
            done.store(true, Ordering::SeqCst);
            assert!(made.iter().all(|(file, path)| lies_at(file, path)));
        });
        fs::write(dir.path().join("1-0"), "of a process that is gone").unwrap();
        assert!(of_the_living(&dir.path().join("1-0")).is_none());
        assert!(!dir.path().join("1-0").exists());
    }
}
