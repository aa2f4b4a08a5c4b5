//! Digests of input files, by content, with a memory of what was hashed before so that unchanged files are not read again.
//!
//! A file is taken for unchanged if its [`Stamp`] says so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use flow_cache::{Digest, Stamp, Store};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::code::Listing;
use crate::plain_file;

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// Files of a folder that are read at a time. A disk answers many requests sooner than one after the other, and who waits for it takes no core.
const READERS: usize = 16;

const SCHEMA: u32 = 4;

/// The name of the file with the key of secrets.
const SEAL_KEY: &str = "secret.key";

/// The file in the store.
const MEMORY: &str = "stat";

/// Digests of files by absolute path.
#[derive(Default)]
pub struct FileDigests {
    memory: Option<Store>,
    known: Mutex<DigestTable>,
    /// Threads that read what is not known of folders, made when there is some; none where the system gives no more.
    readers: OnceLock<Option<ThreadPool>>,
}

#[derive(Debug, Default)]
struct DigestTable {
    entries: HashMap<OsString, Entry>,
    changed: bool,
    key: Option<[u8; 32]>,
}

/// The schema, and each path with what is known of it, sorted. A folder may have tens of thousands, so it is no JSON.
type OnDisk<P, E> = (u32, Vec<(P, E)>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    digest: Digest,
}

impl FileDigests {
    /// Remembers digests in a file of the store. One that is absent, damaged or of another version is started from scratch.
    pub fn open(store: &Store) -> Self {
        let read = plain_file::read(&store.root().join(MEMORY))
            .ok()
            .and_then(|bytes| postcard::from_bytes::<OnDisk<OsString, Entry>>(&bytes).ok());
        let read = read.filter(|(schema, _)| *schema == SCHEMA);
        let entries = read.map(|(_, files)| files.into_iter().collect()).unwrap_or_default();
        Self {
            memory: Some(store.clone()),
            known: Mutex::new(DigestTable {
                entries,
                ..DigestTable::default()
            }),
            readers: OnceLock::new(),
        }
    }

    /// The digest of a file's content, or of a folder's: names and contents of the files that [`Listing`] has of it.
    ///
    /// # Errors
    /// If it cannot be read, is a FIFO or the like, or changes again and again while it is read.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        let metadata = plain_file::regular(path)?;
        let absolute = std::path::absolute(path)?;
        if !metadata.is_dir() {
            return self.digest_file(&absolute, &metadata);
        }
        let listing = Listing::of(path)?;
        let at = |file: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        // Asking the system for tens of thousands of stamps takes longer than all the rest.
        let look = |file: &PathBuf| {
            let path = absolute.join(file);
            let stamp = plain_file::regular(&path).map(|metadata| Stamp::from_metadata(&metadata));
            stamp
                .map(|stamp| self.remembered(&path, stamp.as_ref()))
                .map_err(|error| at(file, error))
        };
        let known: Vec<Option<Digest>> = listing.files.par_iter().map(look).collect::<io::Result<_>>()?;
        let read = |(file, known): (&PathBuf, Option<Digest>)| {
            known.map_or_else(
                || self.digest(&absolute.join(file)).map_err(|error| at(file, error)),
                Ok,
            )
        };
        let is_known = known.iter().all(Option::is_some);
        let all = || {
            listing
                .files
                .par_iter()
                .zip(known)
                .map(read)
                .collect::<io::Result<Vec<Digest>>>()
        };
        let mut digests = if is_known { all() } else { self.by_readers(all) }?.into_iter();
        listing.digest(|_| {
            digests
                .next()
                .ok_or_else(|| io::Error::other("BUG: a file without a digest"))
        })
    }

    /// Does something with the threads that read folders.
    fn by_readers<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let made = || {
            let threads = ThreadPoolBuilder::new().num_threads(READERS);
            threads.thread_name(|i| format!("read:{i}")).build().ok()
        };
        match self.readers.get_or_init(made) {
            Some(readers) => readers.install(work),
            None => work(),
        }
    }

    /// The digest of a file that was hashed before and is unchanged.
    fn remembered(&self, path: &Path, stamp: Option<&Stamp>) -> Option<Digest> {
        let known = self.lock();
        let entry = known.entries.get(path.as_os_str())?;
        entry.stamp.is_unchanged(stamp?).then_some(entry.digest)
    }

    fn digest_file(&self, path: &Path, metadata: &Metadata) -> io::Result<Digest> {
        let mut stamp = Stamp::from_metadata(metadata);
        if let Some(digest) = self.remembered(path, stamp.as_ref()) {
            return Ok(digest);
        }
        let _span = tracing::debug_span!("hash", path = %path.display(), bytes = metadata.len()).entered();
        for _ in 0..ATTEMPTS {
            let digest = Digest::of_file(path)?;
            let after = Stamp::of(path);
            match (stamp, after) {
                (Some(stamp), Some(after)) if stamp.is_same(&after) => {
                    let mut known = self.lock();
                    known.changed = true;
                    known
                        .entries
                        .insert(path.as_os_str().to_owned(), Entry { stamp, digest });
                    return Ok(digest);
                }
                // A system without stamps.
                (None, None) => return Ok(digest),
                _ => {}
            }
            stamp = after;
        }
        Err(unsettled())
    }

    /// A digest of a secret that tells nobody what it is: it is made with a key that only this cache has. Another cache has another, so
    /// that what depends on a secret is made again there.
    ///
    /// # Errors
    /// If the key cannot be read or made.
    pub(crate) fn sealed(&self, secret: &str) -> io::Result<Digest> {
        let mut known = self.lock();
        let key = match known.key {
            Some(key) => key,
            None => *known.key.insert(seal_key(self.memory.as_ref())?),
        };
        // BLAKE3 with the key in front is a keyed digest: nothing can be added to what was digested.
        Ok(Digest::of(&[&key[..], secret.as_bytes()].concat()))
    }

    /// Writes down what was hashed. The memory only saves time, so that a failure is a note for developers.
    pub fn save(&self) {
        let Some(memory) = &self.memory else { return };
        let mut known = self.lock();
        if !known.changed {
            return;
        }
        known.changed = false;
        known.entries.retain(|path, _| Path::new(path).exists());
        let mut files: Vec<(&OsStr, &Entry)> = known
            .entries
            .iter()
            .map(|(path, entry)| (path.as_os_str(), entry))
            .collect();
        files.sort_unstable_by_key(|(path, _)| *path);
        let on_disk: OnDisk<&OsStr, &Entry> = (SCHEMA, files);
        let written = postcard::to_stdvec(&on_disk)
            .map_err(io::Error::other)
            .and_then(|bytes| memory.place(MEMORY, &bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot save the digests of input files");
        }
    }

    fn lock(&self) -> MutexGuard<'_, DigestTable> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of secrets, in a file of the store that only those who own the store may read. A store that cannot be written to and has none
/// gives a key that is forgotten: nothing in it can depend on a secret.
fn seal_key(store: Option<&Store>) -> io::Result<[u8; 32]> {
    let mut fresh = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut fresh)?;
    let Some(store) = store else {
        return Ok(fresh);
    };
    let path = store.root().join(SEAL_KEY);
    let read = || {
        let key = plain_file::read(&path)?;
        key.try_into().map_err(|_| {
            io::Error::other(format!(
                "{} is damaged: delete it, and what depends on secrets runs again",
                path.display()
            ))
        })
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let Ok(folder) = store.work_folder() else {
        return Ok(fresh);
    };
    let whole = folder.path().join(SEAL_KEY);
    store.sharing().write(&whole, &fresh)?;
    // Never in place of another's, who may have been faster.
    match std::fs::hard_link(&whole, &path) {
        Ok(()) => Ok(fresh),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(),
        Err(_) => std::fs::rename(&whole, &path).and_then(|()| read()),
    }
}

/// A file that is written to each time it is read.
fn unsettled() -> io::Error {
    io::Error::other("it changes while it is being read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_cache::Access;

    #[test]
    fn what_cannot_be_digested_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::ReadWrite).unwrap();
        std::fs::write(dir.path().join(SEAL_KEY), "short").unwrap();
        let damaged = FileDigests::open(&store).sealed("secret").unwrap_err().to_string();
        let said = format!("{}\n{damaged}", unsettled()).replace(&dir.path().display().to_string(), "[dir]");
        insta::assert_snapshot!(said);
    }

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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_of_a_folder_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // A file that nobody can read from its beginning, not even root.
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("gone")).unwrap();
        let error = FileDigests::default().digest(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with("gone: "), "{error}");
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
