//! The index over the records, in sled: never the truth, always rebuildable.
//!
//! sled panics on some damaged files and reports others; both come out of here as [`IndexError::Broken`], upon which the
//! caller throws the index away. One tree maps a key to an entry of at most [`MAX_ENTRY`] bytes, which has a version and a
//! checksum of its own: `[version u8][checksum 8][kind length u16 LE][kind][record as JSON, or nothing if it is too long]`.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::record::Record;

/// The version of the entries; another one has the index rebuilt.
const VERSION: u8 = 1;
const MAX_ENTRY: usize = 4096;
const HEADER: usize = 1 + 8 + 2;
/// sled's page cache: its default of 1 GiB is more than the rest of flow needs.
const CACHE_BYTES: u64 = 64 << 20;
/// Beyond this the journal is emptied when the index is opened.
const JOURNAL_BYTES: u64 = 1 << 20;
/// How far into the journal the index has come, u64 LE; in sled's default tree.
const APPLIED: &[u8] = b"journal applied";

/// Why the index has no answer.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// It is damaged, or of another version: throw it away.
    Broken(String),
    /// The records cannot be read.
    Cache(CacheError),
}

impl From<CacheError> for IndexError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// An open index. The caller holds the index lock.
pub(crate) struct Index {
    /// Taken only when dropped.
    db: Option<sled::Db>,
    entries: sled::Tree,
    applied: u64,
}

impl Index {
    /// Opens the index, or makes an empty one, and brings it up to date with the record files: first by the journal, then
    /// by the names of the files, so that a commit whose process died before it reached the journal is found as well.
    pub(crate) fn open(files: &Files) -> Result<Self, IndexError> {
        let (db, entries, applied) = guarded(|| {
            let db = open_sled(&files.layout.index())?;
            let entries = db.open_tree("records")?;
            let applied = db
                .get(APPLIED)?
                .and_then(|bytes| bytes.as_ref().try_into().ok())
                .map_or(0, u64::from_le_bytes);
            Ok((db, entries, applied))
        })?;
        let mut index = Self {
            db: Some(db),
            entries,
            applied,
        };
        index.catch_up(files)?;
        if index.applied > JOURNAL_BYTES {
            index.empty_journal(files)?;
        }
        index.reconcile(files)?;
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
        keys.iter().try_for_each(|key| self.refresh(files, key))?;
        if torn {
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

    /// Makes the keys in the index the names of the record files.
    fn reconcile(&mut self, files: &Files) -> Result<(), IndexError> {
        let on_disk: BTreeSet<ActionKey> = files.keys()?.into_iter().collect();
        let indexed: BTreeSet<ActionKey> = self.keys()?;
        on_disk
            .symmetric_difference(&indexed)
            .try_for_each(|key| self.refresh(files, key))
    }

    /// Makes one entry what its record file says.
    fn refresh(&mut self, files: &Files, key: &ActionKey) -> Result<(), IndexError> {
        let entry = match files.sound_record(key)? {
            Some(record) => Some(encode(&record).map_err(IndexError::Broken)?),
            None => None,
        };
        guarded(|| match entry {
            Some(entry) => self.entries.insert(key.digest().as_bytes(), entry).map(drop),
            None => self.entries.remove(key.digest().as_bytes()).map(drop),
        })
    }

    fn keys(&self) -> Result<BTreeSet<ActionKey>, IndexError> {
        let found: Vec<sled::IVec> = guarded(|| self.entries.iter().keys().collect())?;
        found.iter().map(|bytes| parse_key(bytes)).collect()
    }

    /// All records, or those of one kind, in no order.
    pub(crate) fn records(&self, files: &Files, kind: Option<&str>) -> Result<Vec<Record>, IndexError> {
        let found: Vec<(sled::IVec, sled::IVec)> = guarded(|| self.entries.iter().collect())?;
        let mut records = Vec::with_capacity(found.len());
        for (key, entry) in &found {
            let entry = decode(entry).ok_or_else(|| IndexError::Broken("an entry's checksum does not fit".into()))?;
            if kind.is_some_and(|kind| kind.as_bytes() != entry.kind) {
                continue;
            }
            if entry.json.is_empty() {
                records.extend(files.sound_record(&parse_key(key)?)?);
            } else {
                records.push(serde_json::from_slice(entry.json).map_err(|e| IndexError::Broken(e.to_string()))?);
            }
        }
        Ok(records)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled writes when it is dropped, and may panic like anywhere else.
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::debug!("the index panicked while it was closed");
        }
    }
}

/// Runs sled, turning its errors and panics into [`IndexError::Broken`].
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| IndexError::Broken(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied());
            Err(IndexError::Broken(format!(
                "sled panicked: {}",
                text.unwrap_or("no message")
            )))
        }
    }
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

struct Entry<'a> {
    kind: &'a [u8],
    json: &'a [u8],
}

fn encode(record: &Record) -> Result<Vec<u8>, String> {
    let json = serde_json::to_vec(record).map_err(|e| e.to_string())?;
    let kind = record.kind.as_bytes();
    let kind_length = u16::try_from(kind.len()).map_err(|_| format!("a kind of {} bytes", kind.len()))?;
    let fits = HEADER + kind.len() + json.len() <= MAX_ENTRY;
    let stored: &[u8] = if fits { &json } else { &[] };
    let body = [&kind_length.to_le_bytes()[..], kind, stored].concat();
    Ok([&[VERSION], &checksum(&body)[..], &body].concat())
}

/// The parts of an entry; `None` if it is damaged or of another version.
fn decode(bytes: &[u8]) -> Option<Entry<'_>> {
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

fn parse_key(bytes: &[u8]) -> Result<ActionKey, IndexError> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| IndexError::Broken("a key has not 32 bytes".into()))?;
    Ok(ActionKey::from(Digest::from(bytes)))
}
