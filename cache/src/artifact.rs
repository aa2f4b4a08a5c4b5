//! A published artifact: its record, and its files by name.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::record::Record;

/// A published artifact. It exists only for what is in the store, and every byte that it gives was verified.
#[derive(Clone)]
pub struct Artifact {
    record: Arc<Record>,
    files: Arc<Files>,
}

impl Artifact {
    pub(crate) fn new(record: Arc<Record>, files: Arc<Files>) -> Self {
        Self { record, files }
    }

    /// What it is and what it cost.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record, shared.
    pub fn shared_record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }

    /// The digest of all files together, see [`Record::digest`].
    pub fn digest(&self) -> Digest {
        self.record.digest()
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.record.outputs.keys().map(String::as_str)
    }

    /// Where a file lies, for programs that must open it themselves; its content is not verified, and must not be changed.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.record
            .outputs
            .get(name)
            .map(|output| self.files.layout.blob(&output.digest))
    }

    /// The content of one file, verified against its digest.
    ///
    /// # Errors
    /// [`CacheError::Corrupt`] if the content is not what was published (discard the entry and compute it again) or the
    /// artifact has no file of that name; [`CacheError::Io`] if the disk fails.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, CacheError> {
        match self.record.outputs.get(name) {
            Some(output) => self.files.read_output(&self.record.key, name, output),
            None => Err(CacheError::Corrupt {
                key: self.record.key,
                name: name.to_owned(),
                path: self.files.layout.record(&self.record.key),
                why: format!(
                    "is not among the outputs ({})",
                    self.names().collect::<Vec<_>>().join(", ")
                ),
            }),
        }
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}
