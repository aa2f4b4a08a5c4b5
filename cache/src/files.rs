//! The truth of the store, blobs and records as files: durable writes, checked reads, quarantine.
//!
//! The order of every write is the same: a staged file, its sync, the rename to its place, the sync of that folder. A
//! record is written only after all of its blobs, so nothing ever refers to an absent blob, whatever moment power is lost.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::digest::Digest;
use crate::disk::{Disk, parent};
use crate::error::{CacheError, is_limit};
use crate::key::ActionKey;
use crate::layout::{CACHEDIR_TAG, Layout};
use crate::mapped::Mapped;
use crate::record::{OutputFile, Record, SCHEMA};
use crate::record_file::{self, BadRecord};
use crate::sharing::Sharing;
use crate::stamp::Stamp;

/// What a store may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Serve and publish.
    ReadWrite,
    /// Serve only: nothing under the root is touched.
    ReadOnly,
}

/// A store's files.
pub(crate) struct Files {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) layout: Layout,
    access: Access,
    /// Whose the files are.
    pub(crate) sharing: Sharing,
    /// Raised when this process is to end: nothing is waited for any more.
    pub(crate) stop: OnceLock<Arc<AtomicBool>>,
    /// The fan-out folders known to be durable in this process.
    durable: Mutex<HashSet<PathBuf>>,
}

/// What lies at a key's place.
#[derive(Debug)]
pub(crate) enum Lookup<T> {
    /// Nothing.
    Missing,
    /// Something that cannot be used, with the reason.
    Damaged(String),
    /// It can be used.
    Sound(T),
}

/// A sound record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    /// Of the record's file, from before it was read.
    pub(crate) stamp: Option<Stamp>,
    /// Whether there are outputs that were collected; otherwise all are there with the right length.
    pub(crate) collected: bool,
}

impl Files {
    /// Opens the files under `layout`'s root, making the folders of a new store if it may write; [`Files::tag`] is to follow.
    pub(crate) fn open(mut disk: Box<dyn Disk>, layout: Layout, access: Access) -> Result<Self, CacheError> {
        // What lies in the place of `config` is told, and set aside below.
        let sharing = sharing_of(disk.as_ref(), &layout);
        disk.share(sharing);
        let files = Self {
            disk,
            layout,
            access,
            sharing,
            stop: OnceLock::new(),
            durable: Mutex::default(),
        };
        match files.is_cache()? {
            Some(false) => {
                return Err(CacheError::NotACache {
                    root: files.layout.root().to_owned(),
                });
            }
            _ if access == Access::ReadOnly => {}
            _ => files
                .create_folders()
                .map_err(|error| files.read_only_if_refused(error))?,
        }
        Ok(files)
    }

    /// Whether the root holds a cache; `None` if it is absent or empty.
    fn is_cache(&self) -> Result<Option<bool>, CacheError> {
        let root = self.layout.root();
        match self.disk.list(root) {
            Ok(names) if names.is_empty() => Ok(None),
            // A crash may have left a new store before its tag: a folder with nothing but our folders is ours as well.
            Ok(names) => Ok(Some(
                names.iter().any(|name| self.layout.marks_a_cache(name)) || self.only_ours(&names),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CacheError::io("open the cache", root, error)),
        }
    }

    fn only_ours(&self, names: &[String]) -> bool {
        let folders = self.layout.folders();
        names
            .iter()
            .all(|name| folders.contains(&self.layout.root().join(name)))
    }

    fn create_folders(&self) -> Result<(), CacheError> {
        let root = self.layout.root();
        let missing: Vec<&Path> = root
            .ancestors()
            .take_while(|dir| self.disk.list(dir).is_err())
            .collect();
        for dir in missing.into_iter().rev() {
            self.create_dir(dir)?;
            self.sync_dir(parent(dir))?;
        }
        self.layout
            .folders()
            .iter()
            .try_for_each(|folder| self.make_folder(folder))?;
        // To open a pipe would wait, and who follows a link writes into a file that is not the store's.
        let folders = self.layout.own_folders().map(|path| (path, true));
        let files = self.layout.own_files().map(|path| (path, false));
        for (path, is_folder) in folders.iter().chain(&files) {
            if self.disk.is_misplaced(path, *is_folder) {
                let what = if *is_folder { "directory" } else { "file" };
                tracing::warn!("{} is not a {what}: set aside", path.display());
                self.move_to_quarantine(path)?;
            }
        }
        Ok(())
    }

    /// Tags a new store. The tag comes last: a store that has it is whole and durable.
    pub(crate) fn tag(&self) -> Result<(), CacheError> {
        let tag = self.layout.cachedir_tag();
        if self.disk.len(&tag).is_err() {
            self.sync_dir(self.layout.root())?;
            self.write(&tag, CACHEDIR_TAG.as_bytes())?;
        }
        Ok(())
    }

    /// What it means if making or locking something fails.
    pub(crate) fn read_only_if_refused(&self, error: CacheError) -> CacheError {
        match &error {
            CacheError::Io { source, .. } | CacheError::Limit { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                CacheError::ReadOnly {
                    root: self.layout.root().to_owned(),
                }
            }
            _ => error,
        }
    }

    /// An error if this store is open for reading only.
    pub(crate) fn must_write(&self) -> Result<(), CacheError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(CacheError::ReadOnly {
                root: self.layout.root().to_owned(),
            }),
        }
    }

    /// Whether this store may write.
    pub(crate) fn writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// Puts `bytes` at `path`, replacing what is there: after a crash the file has the old content or the new one.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        self.place(path, bytes)?;
        self.sync_dir(parent(path))
    }

    /// The same, but for the folder, which is yet to be synced.
    fn place(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let placed = self.disk.place(&self.layout.staging(), path, bytes, true);
        placed.map_err(|e| CacheError::io("write", path, e))
    }

    /// Puts blobs in their places. Those that are there already, with the right bytes, are kept.
    pub(crate) fn put_blobs(&self, blobs: &[(Digest, &[u8])]) -> Result<(), CacheError> {
        self.put(blobs, |path, bytes| self.place(path, bytes))
    }

    /// The same with blobs that lie in files of this file system, which are moved.
    pub(crate) fn adopt_blobs(&self, blobs: &[(Digest, PathBuf)]) -> Result<(), CacheError> {
        self.put(blobs, |path, from| {
            let moved = self.disk.sync_file(from).and_then(|()| self.disk.rename(from, path));
            moved.map_err(|e| CacheError::io("write", path, e))
        })
    }

    fn put<T>(
        &self,
        blobs: &[(Digest, T)],
        place: impl Fn(&Path, &T) -> Result<(), CacheError>,
    ) -> Result<(), CacheError> {
        let mut folders = BTreeSet::new();
        for (digest, content) in blobs {
            let path = self.layout.blob(digest);
            self.ensure_durable(parent(&path))?;
            // A kept blob's folder is synced too: its writer may not have come that far.
            folders.insert(parent(&path).to_owned());
            match self.disk.digest(&path) {
                Ok(found) if found == *digest => continue,
                // A folder there would not be replaced by a file.
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.move_to_quarantine(&path)?,
                _ => {}
            }
            place(&path, content)?;
        }
        folders.iter().try_for_each(|folder| self.sync_dir(folder))
    }

    /// Puts a record in its place; `None` if another came first. The stamp is that of this record as long as it is not discarded
    /// meanwhile and publishes anew, which a claim on the key keeps others from.
    pub(crate) fn put_record(&self, record: Record) -> Result<Option<Entry>, CacheError> {
        let path = self.layout.record(&record.key);
        let bytes = record_file::encode(&record).map_err(|e| CacheError::io("encode", &path, e.into()))?;
        self.ensure_durable(parent(&path))?;
        let staged = self.disk.stage_synced(&self.layout.staging(), &bytes);
        let placed = staged.and_then(|staged| {
            let placed = self.disk.rename_new(&staged, &path);
            placed.inspect_err(|_| self.disk.unstage(&staged))
        });
        match placed {
            Ok(()) => {
                self.sync_dir(parent(&path))?;
                let (stamp, collected) = (self.disk.stamp(&path), false);
                Ok(Some(Entry {
                    record,
                    stamp,
                    collected,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A link that leads nowhere is there, and is no record.
                let led = self.disk.len(&path);
                if led.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    self.move_to_quarantine(&path)?;
                }
                Ok(None)
            }
            Err(error) => Err(CacheError::io("write", &path, error)),
        }
    }

    /// Whether a key's outputs were collected.
    pub(crate) fn is_collected(&self, key: &ActionKey) -> bool {
        self.disk.len(&self.layout.collected_mark(key)).is_ok()
    }

    /// Removes a file for good; whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> Result<bool, CacheError> {
        match self.disk.remove_file(path) {
            Ok(()) => self.sync_dir(parent(path)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CacheError::io("remove", path, error)),
        }
    }

    /// Takes the mark of a collection away.
    pub(crate) fn uncollect(&self, key: &ActionKey) -> Result<(), CacheError> {
        self.must_write()?;
        self.remove(&self.layout.collected_mark(key)).map(drop)
    }

    /// The record of a key, and whether its outputs are there. Contents of blobs are not read here: [`Files::read_output`]
    /// verifies them.
    pub(crate) fn find(&self, key: &ActionKey) -> Result<Lookup<Entry>, CacheError> {
        let mut entry = match self.record(key)? {
            Lookup::Sound(entry) => entry,
            Lookup::Damaged(why) => return Ok(Lookup::Damaged(format!("its record is unreadable: {why}"))),
            Lookup::Missing => return Ok(Lookup::Missing),
        };
        for (name, output) in &entry.record.outputs {
            let path = self.layout.blob(&output.digest);
            match self.disk.len(&path) {
                Ok(bytes) if bytes == output.bytes => {}
                Ok(bytes) => {
                    let why = format!("output `{name}` has {bytes} bytes instead of {}", output.bytes);
                    return Ok(Lookup::Damaged(why));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_collected(key) => {
                    entry.collected = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Lookup::Damaged(format!("output `{name}` is missing")));
                }
                Err(error) if is_damage(&error) => {
                    return Ok(Lookup::Damaged(format!("output `{name}` cannot be read: {error}")));
                }
                Err(error) => return Err(CacheError::io("read", &path, error)),
            }
        }
        Ok(Lookup::Sound(entry))
    }

    /// The record of a key, whether or not its outputs are there; an unknown schema is an error.
    pub(crate) fn record(&self, key: &ActionKey) -> Result<Lookup<Entry>, CacheError> {
        let path = self.layout.record(key);
        let (bytes, stamp) = match self.disk.read_stamped(&path) {
            Ok(read) => read,
            Err(error) if is_absent(&error) => return Ok(Lookup::Missing),
            Err(error) if is_damage(&error) => return Ok(Lookup::Damaged(error.to_string())),
            Err(error) => return Err(CacheError::io("read", &path, error)),
        };
        match record_file::decode(&bytes, key) {
            Ok(record) => Ok(Lookup::Sound(Entry {
                record,
                stamp,
                collected: false,
            })),
            Err(BadRecord::Garbled(why)) => Ok(Lookup::Damaged(why)),
            Err(BadRecord::Schema { found }) => Err(CacheError::UnknownSchema {
                path,
                found,
                known: SCHEMA,
            }),
        }
    }

    /// The record of a key if there is one that can be used; for listings, which leave the others out with a warning.
    pub(crate) fn sound_record(&self, key: &ActionKey) -> Result<Option<Record>, CacheError> {
        match self.record(key) {
            Ok(Lookup::Sound(entry)) => Ok(Some(entry.record)),
            Ok(Lookup::Missing) => Ok(None),
            Ok(Lookup::Damaged(why)) => {
                tracing::warn!(%key, "record left out: {why}");
                Ok(None)
            }
            Err(error @ CacheError::UnknownSchema { .. }) => {
                tracing::warn!(%key, "record left out: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The keys of all record files, sorted; whether the records are sound is not looked at.
    pub(crate) fn keys(&self) -> Result<Vec<ActionKey>, CacheError> {
        Ok(keys_of(&self.fanned_out(&self.layout.records())?))
    }

    /// The keys of the record files in one of the 256 folders; as [`Files::keys`].
    pub(crate) fn keys_from(&self, first: u8) -> Result<Vec<ActionKey>, CacheError> {
        Ok(keys_of(&self.list(&self.layout.records_from(first))?))
    }

    /// The digests of all blob files, sorted.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>, CacheError> {
        let names = self.fanned_out(&self.layout.blobs())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The file names in the 256 folders under `dir`.
    fn fanned_out(&self, dir: &Path) -> Result<Vec<String>, CacheError> {
        let mut names = Vec::new();
        for fan in self.list(dir)? {
            let folder = dir.join(fan);
            match self.disk.list(&folder) {
                Ok(found) => names.extend(found),
                // A stray file among the folders is none of ours. Any other folder may hold what a collection would take for unused.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(CacheError::io("list", &folder, error)),
            }
        }
        Ok(names)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, CacheError> {
        match self.disk.list(dir) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            other => other.map_err(|e| CacheError::io("list", dir, e)),
        }
    }

    /// One output's bytes, verified.
    pub(crate) fn read_output(&self, key: &ActionKey, name: &str, output: &OutputFile) -> Result<Vec<u8>, CacheError> {
        self.verified(key, name, output, |path| {
            let bytes = self.disk.read(path)?;
            let digest = Digest::of(&bytes);
            Ok((bytes, digest))
        })
    }

    /// One output's bytes where they lie, verified when they are mapped.
    pub(crate) fn map_output(&self, key: &ActionKey, name: &str, output: &OutputFile) -> Result<Mapped, CacheError> {
        // Hashed through a small buffer: to look at the mapped bytes would take as much memory as there are.
        self.verified(key, name, output, |path| {
            Ok((self.disk.map(path)?, self.disk.digest(path)?))
        })
    }

    fn verified<T>(
        &self,
        key: &ActionKey,
        name: &str,
        output: &OutputFile,
        read: impl FnOnce(&Path) -> io::Result<(T, Digest)>,
    ) -> Result<T, CacheError> {
        let path = self.layout.blob(&output.digest);
        let corrupt = |why: &str| CacheError::Corrupt {
            key: *key,
            name: name.to_owned(),
            path: path.clone(),
            why: why.to_owned(),
        };
        match read(&path) {
            Ok((bytes, digest)) if digest == output.digest => Ok(bytes),
            Ok(_) => Err(corrupt("does not match its digest")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(corrupt("is missing")),
            Err(error) if is_damage(&error) => Err(corrupt(&format!("cannot be read: {error}"))),
            Err(error) => Err(CacheError::io("read", &path, error)),
        }
    }

    /// Moves a key's record, and those of its blobs whose bytes are wrong, out of the way. Sound blobs stay: other records
    /// may refer to them.
    pub(crate) fn quarantine(&self, key: &ActionKey) -> Result<(), CacheError> {
        self.must_write()?;
        if let Ok(Lookup::Sound(entry)) = self.record(key) {
            for output in entry.record.outputs.values() {
                let path = self.layout.blob(&output.digest);
                let is_wrong = match self.disk.digest(&path) {
                    Ok(found) => found != output.digest,
                    Err(error) => error.kind() != io::ErrorKind::NotFound && is_damage(&error),
                };
                if is_wrong {
                    self.move_to_quarantine(&path)?;
                }
            }
        }
        self.move_to_quarantine(&self.layout.record(key))
    }

    pub(crate) fn move_to_quarantine(&self, path: &Path) -> Result<(), CacheError> {
        let name = path.file_name().unwrap_or_default();
        let aside = self.layout.quarantine().join(name);
        let moved = self.disk.rename(path, &aside).or_else(|error| {
            // What was set aside before under this name may be a file where this is a folder, or the other way round.
            match self
                .disk
                .remove_file(&aside)
                .or_else(|_| self.disk.remove_dir_all(&aside))
            {
                Ok(()) => self.disk.rename(path, &aside),
                Err(_) => Err(error),
            }
        });
        match moved {
            // Another process was faster, or its whole folder is gone.
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(CacheError::io("move to quarantine", path, error)),
            Ok(()) => self.sync_dir(parent(path)),
        }
    }

    /// Makes a folder of the store whose parent exists; what lies in its place is set aside like any damage.
    pub(crate) fn make_folder(&self, dir: &Path) -> Result<(), CacheError> {
        match self.create_dir(dir) {
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                if dir == self.layout.quarantine() {
                    self.remove(dir)?;
                } else {
                    self.move_to_quarantine(dir)?;
                }
                self.create_dir(dir).map(drop)
            }
            made => made.map(drop),
        }
    }

    /// Makes one folder whose parent exists.
    pub(crate) fn create_dir(&self, dir: &Path) -> Result<bool, CacheError> {
        self.disk
            .create_dir(dir)
            .map_err(|e| CacheError::io("make directory", dir, e))
    }

    /// Makes one folder, and sees to it that a power loss does not take it away.
    fn ensure_durable(&self, dir: &Path) -> Result<(), CacheError> {
        let known = |set: &Mutex<HashSet<PathBuf>>| set.lock().unwrap_or_else(PoisonError::into_inner).contains(dir);
        if known(&self.durable) {
            return Ok(());
        }
        self.make_folder(dir)?;
        // Synced even if it was there: the process that made it may not have come that far.
        self.sync_dir(parent(dir))?;
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(dir.to_owned());
        Ok(())
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), CacheError> {
        self.disk.sync_dir(dir).map_err(|e| CacheError::io("sync", dir, e))
    }
}

/// Whose the files of a store are. Where its file `config` is damaged or of a later version, the folder says it.
fn sharing_of(disk: &dyn Disk, layout: &Layout) -> Sharing {
    let why = match disk.read(&layout.config()) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Sharing::Private;
        }
        Err(error) => error.to_string(),
        Ok(bytes) => match Sharing::decode(&bytes) {
            Ok(sharing) => return sharing,
            Err(why) => why,
        },
    };
    let path = layout.config();
    tracing::warn!(
        "{} cannot be used, `flow cache init` writes it anew: {why}",
        path.display()
    );
    Sharing::of_folder(layout.root())
}

/// Whether an error says that nothing lies at a file's place, which may be because its folder is none.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says that something else lies in a file's place, or that the disk cannot give its content back.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    !is_limit(error) && error.kind() != io::ErrorKind::PermissionDenied
}

/// The keys whose records have these names.
fn keys_of(names: &[String]) -> Vec<ActionKey> {
    let keys = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok());
    keys.collect()
}
