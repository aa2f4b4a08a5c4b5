//! The store: open it, look keys up, list what it holds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::artifact::Artifact;
use crate::disk::{Disk, RealDisk};
use crate::error::CacheError;
use crate::files::{Files, Found};
use crate::key::{ActionKey, Components};
use crate::layout::Layout;
use crate::publish::Slot;
use crate::query::{Query, QueryError};
use crate::record::Record;
use crate::scratch::Scratch;
use crate::verify::{self, VerifyReport};

/// What a store may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Serve and publish.
    ReadWrite,
    /// Serve only: nothing under the root is touched.
    ReadOnly,
}

/// A store, open. Cheap to clone; any number of threads and processes may have the same folder open.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What a store, its slots and its artifacts share.
pub(crate) struct Shared {
    pub(crate) files: Arc<Files>,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Lookup {
    /// It was done before.
    Hit(Artifact),
    /// It was not: do it, and commit to the slot.
    Miss(Slot),
}

impl Store {
    /// Opens the store in the folder `root`, which is made if it is absent (and may be written to).
    ///
    /// # Errors
    /// [`CacheError::NotACache`] if the folder holds something else, [`CacheError::ReadOnly`] if it cannot be written to,
    /// [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn open(root: &Path, access: Access) -> Result<Self, CacheError> {
        let root = std::path::absolute(root).map_err(|e| CacheError::io("resolve", root, e))?;
        Self::open_on(Box::new(RealDisk), &root, access)
    }

    pub(crate) fn open_on(disk: Box<dyn Disk>, root: &Path, access: Access) -> Result<Self, CacheError> {
        let files = Arc::new(Files::open(disk, Layout::new(root), access)?);
        Ok(Self { shared: Arc::new(Shared { files }) })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        self.shared.files.layout.root()
    }

    /// Looks a key up. An entry that cannot be used is set aside with a warning, and is a miss.
    ///
    /// # Errors
    /// [`CacheError::UnknownSchema`] if another version of flow wrote the record, [`CacheError::Io`].
    pub fn lookup(&self, key: &ActionKey) -> Result<Lookup, CacheError> {
        match self.shared.files.find(key)? {
            Found::Complete(record) => return Ok(Lookup::Hit(self.artifact(record))),
            Found::Broken(why) if self.shared.files.writable() => self.shared.set_aside(key, &why)?,
            Found::Broken(why) => tracing::warn!(%key, "cache entry cannot be used: {why}"),
            Found::Nothing => {}
        }
        Ok(Lookup::Miss(Slot::new(*key, Arc::clone(&self.shared))))
    }

    /// Looks a key up without the intention to publish, as a plan does: nothing is written.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn peek(&self, key: &ActionKey) -> Result<Option<Artifact>, CacheError> {
        Ok(match self.shared.files.find(key)? {
            Found::Complete(record) => Some(self.artifact(record)),
            Found::Broken(_) | Found::Nothing => None,
        })
    }

    fn artifact(&self, record: Record) -> Artifact {
        Artifact::new(record, Arc::clone(&self.shared.files))
    }

    /// The earlier record that explains a miss best: of the same kind, with the fewest components changed; among equals
    /// one of the same node, then the newest.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn nearest(&self, kind: &str, node: &str, components: &Components) -> Result<Option<Record>, CacheError> {
        let rank = |record: &Record| {
            let newest_first = std::cmp::Reverse(record.finished_unix_ms);
            (record.components.diff(components).len(), record.node != node, newest_first, record.key)
        };
        Ok(self.shared.records()?.into_iter().filter(|record| record.kind == kind).min_by_key(rank))
    }

    /// The records whose key begins with `text` (at least four hexadecimal digits) or whose node has that name, newest first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn find(&self, text: &str) -> Result<Vec<Record>, CacheError> {
        let is_prefix = text.len() >= 4 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        let fits = |record: &Record| record.node == text || (is_prefix && record.key.to_string().starts_with(text));
        Ok(self.records()?.into_iter().filter(fits).collect())
    }

    /// All records, newest first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn records(&self) -> Result<Vec<Record>, CacheError> {
        let mut records = self.shared.records()?;
        sort_newest_first(&mut records);
        Ok(records)
    }

    /// The records that a query selects, in its order; the language is described in [`crate::query`].
    ///
    /// # Errors
    /// [`QueryError::Syntax`] with the place, [`QueryError::Cache`] if the records cannot be read.
    pub fn query(&self, text: &str) -> Result<Vec<Record>, QueryError> {
        let query: Query = text.parse()?;
        Ok(query.select(self.records()?))
    }

    /// Moves an entry that turned out to be corrupt into the quarantine folder, so that its key is a miss.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn discard(&self, key: &ActionKey, why: &str) -> Result<(), CacheError> {
        self.shared.files.must_write()?;
        self.shared.set_aside(key, why)
    }

    /// Reads every record and hashes every blob again; changes nothing.
    ///
    /// # Errors
    /// [`CacheError::Io`], [`CacheError::UnknownSchema`].
    pub fn verify(&self) -> Result<VerifyReport, CacheError> {
        verify::verify(&self.shared.files)
    }

    /// The checkpoints of one key; removed when it publishes.
    pub fn scratch(&self, key: &ActionKey) -> Scratch {
        self.shared.scratch(key)
    }
}

impl Shared {
    /// All sound records, in no order.
    fn records(&self) -> Result<Vec<Record>, CacheError> {
        scan(&self.files)
    }

    /// Tells the index, here and in other processes, of a new record. The record is published already: what fails here
    /// is made up for when the index is next opened.
    pub(crate) fn announce(&self, record: &Record) {
        let journal = self.files.layout.journal();
        if let Err(error) = self.files.disk.append(&journal, format!("{}\n", record.key).as_bytes()) {
            tracing::warn!(%error, "cannot append to the cache's journal");
        }
    }

    /// Moves an unusable entry to quarantine.
    pub(crate) fn set_aside(&self, key: &ActionKey, why: &str) -> Result<(), CacheError> {
        tracing::warn!(%key, "cache entry set aside in {}: {why}", self.files.layout.quarantine().display());
        self.files.quarantine(key)
    }

    pub(crate) fn scratch(&self, key: &ActionKey) -> Scratch {
        Scratch::new(*key, Arc::clone(&self.files))
    }
}

/// Reads all record files; those that cannot be used are left out with a warning.
pub(crate) fn scan(files: &Files) -> Result<Vec<Record>, CacheError> {
    let mut records = Vec::new();
    for key in files.keys()? {
        match files.record(&key) {
            Ok(Ok(record)) => records.extend(record),
            Ok(Err(why)) => tracing::warn!(%key, "record left out: {why}"),
            Err(CacheError::UnknownSchema { found, .. }) => {
                tracing::warn!(%key, "record left out: it has schema {found}");
            }
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

fn sort_newest_first(records: &mut [Record]) {
    records.sort_by(|a, b| b.finished_unix_ms.cmp(&a.finished_unix_ms).then(a.key.cmp(&b.key)));
}
