//! The index over the records, in sled: never the truth, always rebuildable.
//!
//! sled panics on some damaged files and reports others; both come out of here as [`IndexError::Broken`], upon which the
//! caller throws the index away. One tree maps a key to an entry of at most [`MAX_ENTRY`] bytes, which has a version and a
//! checksum of its own: `[version u8][checksum 8][kind length u16 LE][kind][record as JSON, or nothing if it is too long]`.
//! Beside it, [`columns`] hold the fields that queries name.

mod columns;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{CacheError, is_limit};
use crate::files::Files;
use crate::host::panic_text;
use crate::key::ActionKey;
use crate::query::{self, Candidate, Cells, Query, World};
use crate::record::Record;
use crate::sharing::Sharing;
use crate::stamp::FolderStamps;

use columns::Columns;
pub(crate) use columns::{CellRef, Column};

/// The version of the entries; another one has the index rebuilt.
const VERSION: u8 = 4;
const MAX_ENTRY: usize = 4096;
const HEADER: usize = 1 + 8 + 2;
/// sled's page cache: its default of 1 GiB is more than the rest of flow needs.
const CACHE_BYTES: u64 = 64 << 20;
/// Beyond this the journal is emptied when the index is opened.
const JOURNAL_BYTES: u64 = 1 << 20;
/// How far into the journal the index has come, u64 LE; in sled's default tree.
const APPLIED: &[u8] = b"journal applied";
/// How the records' folders were when they were last compared with the index; in sled's default tree.
const FOLDERS: &[u8] = b"folder stamps";
/// The [`VERSION`] that made the index; in sled's default tree.
const LAYOUT: &[u8] = b"layout";
/// So many records are read and put in together.
const BATCH: usize = 4096;
/// So many are worth threads.
const MANY: usize = 256;

/// Why the index has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// It is damaged, or of another version: throw it away.
    #[error("the cache's index is broken ({0}): rebuilding it from the records")]
    Broken(String),
    /// The machine does not let us use it now (no room, no permission, no more files): it may be sound.
    #[error("the cache's index cannot be used now ({0}): reading the record files instead")]
    Unavailable(String),
    /// The records cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// An open index. The caller holds the index lock.
pub(crate) struct Index {
    /// Taken only when dropped.
    db: Option<sled::Db>,
    entries: sled::Tree,
    columns: Columns,
    applied: u64,
    permissions: Permissions,
}

/// Whose the files are that sled makes as it likes.
struct Permissions {
    sharing: Sharing,
    folder: PathBuf,
}

impl Permissions {
    /// Someone else's files stay as they are.
    fn set(&self) {
        if let Err(error) = self.sharing.apply(&self.folder) {
            tracing::debug!(%error, "permissions of the index are not set");
        }
    }
}

impl Index {
    /// Opens the index, or makes an empty one, and brings it up to date with the record files: first by the journal, then
    /// by the names of the files, so that a commit whose process died before it reached the journal is found as well.
    pub(crate) fn open(files: &Files) -> Result<Self, IndexError> {
        let folder = files.layout.index();
        files.sharing.create_dir_all(&folder).map_err(|error| of_io(&error))?;
        must_be_plain(&folder)?;
        let (db, entries, columns, applied) = tracing::debug_span!("open index").in_scope(|| {
            guarded(|| {
                let db = open_sled(&files.layout.index())?;
                let entries = db.open_tree("records")?;
                let columns = Columns::open(&db)?;
                let applied = db
                    .get(APPLIED)?
                    .and_then(|bytes| bytes.as_ref().try_into().ok())
                    .map_or(0, u64::from_le_bytes);
                Ok((db, entries, columns, applied))
            })
        })?;
        let layout = guarded(|| db.get(LAYOUT))?;
        if layout.as_deref() != Some(&[VERSION]) {
            if !guarded(|| Ok(entries.is_empty()))? {
                return Err(IndexError::Broken("another version of flow made it".into()));
            }
            guarded(|| db.insert(LAYOUT, &[VERSION]).map(drop))?;
        }
        let mut index = Self {
            permissions: Permissions {
                sharing: files.sharing,
                folder,
            },
            db: Some(db),
            entries,
            columns,
            applied,
        };
        index.permissions.set();
        tracing::debug_span!("catch up").in_scope(|| index.catch_up(files))?;
        if index.applied > JOURNAL_BYTES {
            index.empty_journal(files)?;
        }
        tracing::debug_span!("reconcile").in_scope(|| index.reconcile(files))?;
        Ok(index)
    }

    /// Applies what the journal says since the last time: each line is a key whose record came or went.
    pub(crate) fn catch_up(&mut self, files: &Files) -> Result<(), IndexError> {
        let path = files.layout.journal();
        let length = files.disk.len(&path).unwrap_or(0);
        if length == self.applied {
            return Ok(());
        }
        let journal = files.disk.read(&path).unwrap_or_default();
        // A shorter journal than last time was emptied or replaced: what it holds is all news.
        let start = usize::try_from(self.applied)
            .ok()
            .filter(|start| *start <= journal.len())
            .unwrap_or(0);
        // What follows the last line end is a line that another process has not finished.
        let end = journal
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(start, |at| (at + 1).max(start));
        let mut torn = false;
        let mut keys = BTreeSet::new();
        for line in journal[start..end]
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
        {
            match str::from_utf8(line)
                .ok()
                .and_then(|text| text.parse::<ActionKey>().ok())
            {
                Some(key) => drop(keys.insert(key)),
                None => torn = true,
            }
        }
        self.refresh(files, &keys.into_iter().collect::<Vec<_>>())?;
        if torn {
            self.forget_folders()?;
            self.reconcile(files)?;
        }
        self.set_applied(end as u64)
    }

    fn set_applied(&mut self, applied: u64) -> Result<(), IndexError> {
        self.applied = applied;
        guarded(|| match &self.db {
            Some(db) => db.insert(APPLIED, &applied.to_le_bytes()).map(drop),
            None => Ok(()),
        })
    }

    /// Lines that are lost here belong to records that [`Index::reconcile`] finds by name.
    fn empty_journal(&mut self, files: &Files) -> Result<(), IndexError> {
        match files.disk.remove_file(&files.layout.journal()) {
            Ok(()) => self.set_applied(0),
            Err(error) => {
                tracing::debug!(%error, "journal not emptied");
                Ok(())
            }
        }
    }

    /// Makes the keys in the index the names of the record files. Folders that are as they were are not read again.
    fn reconcile(&mut self, files: &Files) -> Result<(), IndexError> {
        let now = FolderStamps::now(&files.layout);
        let known = guarded(|| self.db().get(FOLDERS))?;
        let then: FolderStamps = known
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .unwrap_or_default();
        let changed: Vec<u8> = (0..=u8::MAX).filter(|first| !then.is_unchanged(*first, &now)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut differing = Vec::new();
        for first in changed {
            let on_disk: BTreeSet<ActionKey> = files.keys_from(first)?.into_iter().collect();
            differing.extend(on_disk.symmetric_difference(&self.keys_from(first)?));
        }
        // All together: each time a column is changed, whole chunks of it are written anew.
        self.refresh(files, &differing)?;
        let now = postcard::to_stdvec(&now).map_err(|error| IndexError::Broken(error.to_string()))?;
        guarded(|| self.db().insert(FOLDERS, now).map(drop))
    }

    /// The next [`Index::reconcile`] reads every folder.
    fn forget_folders(&self) -> Result<(), IndexError> {
        guarded(|| self.db().remove(FOLDERS).map(drop))
    }

    /// Makes the entries of these keys what their record files say.
    fn refresh(&mut self, files: &Files, keys: &[ActionKey]) -> Result<(), IndexError> {
        for batch in keys.chunks(BATCH) {
            let mut entries = sled::Batch::default();
            let (mut records, mut gone) = (Vec::new(), Vec::new());
            for (key, found) in read_all(files, batch)? {
                match found {
                    Some((record, entry)) => {
                        entries.insert(&key.digest().as_bytes()[..], entry);
                        records.push(record);
                    }
                    None => {
                        entries.remove(&key.digest().as_bytes()[..]);
                        gone.push(key);
                    }
                }
            }
            self.columns.remove(&gone)?;
            self.columns.put(&records)?;
            // Last: what has an entry is in the columns as well.
            guarded(|| self.entries.apply_batch(entries))?;
        }
        Ok(())
    }

    fn keys_from(&self, first: u8) -> Result<BTreeSet<ActionKey>, IndexError> {
        let found: Vec<sled::IVec> = guarded(|| self.entries.scan_prefix([first]).keys().collect())?;
        found.iter().map(|bytes| parse_key(bytes)).collect()
    }

    /// The open database.
    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("BUG: it is taken only when dropped")
    }

    /// The records that a query selects.
    pub(crate) fn select(&self, files: &Files, query: &Query, world: &World<'_>) -> Result<Vec<Record>, IndexError> {
        let columns = query::Columns::read(query.fields(), |name| self.columns.read(name))?;
        let keys = self.columns.read(columns::KEY)?;
        let rows = self.live(&keys).map(|(slot, key)| {
            let (columns, key) = (&columns, ActionKey::from(Digest::from(*key)));
            Candidate::from(Cells { columns, slot, key })
        });
        query.select(rows, world, |key| self.record_of(files, key))
    }

    /// All kinds that records have.
    pub(crate) fn kinds(&self) -> Result<BTreeSet<String>, IndexError> {
        let (keys, kinds) = (self.columns.read(columns::KEY)?, self.columns.read("kind")?);
        let mut all = BTreeSet::new();
        for (slot, _) in self.live(&keys) {
            if let CellRef::Text(kind) = kinds.get(slot)
                && !all.contains(kind)
            {
                all.insert(kind.to_owned());
            }
        }
        Ok(all)
    }

    /// The slots that have a record, with its key.
    fn live<'k>(&self, keys: &'k Column) -> impl Iterator<Item = (usize, &'k [u8; 32])> {
        (0..self.columns.slots()).filter_map(|slot| match keys.get(slot) {
            CellRef::Key(key) => Some((slot, key)),
            _ => None,
        })
    }

    /// The record of a key.
    fn record_of(&self, files: &Files, key: &ActionKey) -> Result<Option<Record>, IndexError> {
        let bytes = key.digest();
        match guarded(|| self.entries.get(bytes.as_bytes()))? {
            Some(entry) => record(files, bytes.as_bytes(), &entry),
            None => Ok(None),
        }
    }

    /// All records, or those of one kind, in no order.
    pub(crate) fn records(&self, files: &Files, kind: Option<&str>) -> Result<Vec<Record>, IndexError> {
        let found: Vec<(sled::IVec, sled::IVec)> = guarded(|| self.entries.iter().collect())?;
        let mut records = Vec::with_capacity(found.len());
        for (key, entry) in &found {
            let head = decode(entry).ok_or_else(damaged)?;
            if kind.is_none_or(|kind| kind.as_bytes() == head.kind) {
                records.extend(record(files, key, entry)?);
            }
        }
        Ok(records)
    }
}

/// A key with its record, if there is a sound one, and that as an entry.
type Found = (ActionKey, Option<(Record, Vec<u8>)>);

/// Reads records on all cores, in order: opening and decoding so many files is most of what an index costs.
fn read_all(files: &Files, keys: &[ActionKey]) -> Result<Vec<Found>, IndexError> {
    let read = |keys: &[ActionKey]| -> Result<Vec<Found>, IndexError> {
        let one = |key: &ActionKey| {
            let Some(record) = files.sound_record(key)? else {
                return Ok((*key, None));
            };
            let entry = encode(&record).map_err(IndexError::Broken)?;
            Ok((*key, Some((record, entry))))
        };
        keys.iter().map(one).collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if keys.len() < MANY {
        return read(keys);
    }
    std::thread::scope(|scope| {
        let parts = keys.chunks(keys.len().div_ceil(cores));
        let start = |keys| std::thread::Builder::new().spawn_scoped(scope, move || read(keys));
        let started: Vec<_> = parts.map(|keys| (keys, start(keys))).collect();
        let mut all = Vec::with_capacity(keys.len());
        for (keys, thread) in started {
            all.extend(match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(found)) => found?,
                // Without a thread it is done here.
                _ => read(keys)?,
            });
        }
        Ok(all)
    })
}

/// sled opens whatever lies in its folder, and would wait for a pipe.
fn must_be_plain(folder: &Path) -> Result<(), IndexError> {
    for entry in std::fs::read_dir(folder).map_err(|error| of_io(&error))? {
        let entry = entry.map_err(|error| of_io(&error))?;
        let kind = entry.file_type().map_err(|error| of_io(&error))?;
        match kind.is_dir() {
            true => must_be_plain(&entry.path())?,
            false if kind.is_file() => {}
            false => return Err(IndexError::Broken(format!("{} is no file", entry.path().display()))),
        }
    }
    Ok(())
}

fn damaged() -> IndexError {
    IndexError::Broken("an entry's checksum does not match".into())
}

impl Drop for Index {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled writes when it is dropped, and may panic like anywhere else.
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::debug!("the index panicked while it was closed");
        }
        self.permissions.set();
    }
}

/// Runs sled, turning its errors and panics into [`IndexError::Broken`].
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(sled::Error::Io(error))) => Err(of_io(&error)),
        Ok(result) => result.map_err(|error| IndexError::Broken(error.to_string())),
        Err(panic) => Err(of_panic(panic.as_ref())),
    }
}

/// What it means that sled panicked.
pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> IndexError {
    let why = format!("sled panicked: {}", panic_text(panic));
    match limit_named_in(&why) {
        true => IndexError::Unavailable(why),
        false => IndexError::Broken(why),
    }
}

/// What it means that sled could not read or write: a limit of the machine is no damage.
fn of_io(error: &std::io::Error) -> IndexError {
    let why = error.to_string();
    let refused =
        error.kind() == std::io::ErrorKind::PermissionDenied || error.kind() == std::io::ErrorKind::WouldBlock;
    if refused || is_limit(error) || limit_named_in(&why) {
        IndexError::Unavailable(why)
    } else {
        IndexError::Broken(why)
    }
}

/// sled copies errors as text, and panics with it: files, memory, threads, room, a disk that became read-only.
fn limit_named_in(text: &str) -> bool {
    let codes = [11, 12, 13, 23, 24, 27, 28, 30, 122];
    codes
        .iter()
        .any(|code| text.contains(&format!("code: {code},")) || text.contains(&format!("os error {code})")))
}

/// sled gives its own file lock back a moment after it was closed: a refusal while we hold ours is waited out.
fn open_sled(path: &Path) -> sled::Result<sled::Db> {
    const PATIENCE: usize = 40;
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    for _ in 0..PATIENCE {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
    config.open()
}

pub(crate) struct Entry<'a> {
    kind: &'a [u8],
    json: &'a [u8],
}

pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, String> {
    let json = serde_json::to_vec(record).map_err(|e| e.to_string())?;
    let kind = record.kind.as_bytes();
    let kind_length = u16::try_from(kind.len()).map_err(|_| format!("a kind of {} bytes", kind.len()))?;
    let fits = HEADER + kind.len() + json.len() <= MAX_ENTRY;
    let stored: &[u8] = if fits { &json } else { &[] };
    let body = [&kind_length.to_le_bytes()[..], kind, stored].concat();
    Ok([&[VERSION], &checksum(&body)[..], &body].concat())
}

/// The parts of an entry; `None` if it is damaged or of another version.
pub(crate) fn decode(bytes: &[u8]) -> Option<Entry<'_>> {
    let (version, rest) = bytes.split_first()?;
    let (sum, body) = rest.split_at_checked(8)?;
    if *version != VERSION || checksum(body) != sum {
        return None;
    }
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (kind, json) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some(Entry { kind, json })
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let digest = Digest::of(body);
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("BUG: a digest has 32 bytes");
    *first
}

pub(crate) fn parse_key(bytes: &[u8]) -> Result<ActionKey, IndexError> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| IndexError::Broken("a key has not 32 bytes".into()))?;
    Ok(ActionKey::from(Digest::from(bytes)))
}

/// The record of an entry; of one that is not in the index, that of its file.
fn record(files: &Files, key: &[u8], entry: &[u8]) -> Result<Option<Record>, IndexError> {
    let entry = decode(entry).ok_or_else(damaged)?;
    if entry.json.is_empty() {
        return Ok(files.sound_record(&parse_key(key)?)?);
    }
    let record = serde_json::from_slice(entry.json);
    record.map(Some).map_err(|error| IndexError::Broken(error.to_string()))
}
