//! A published artifact: its summary, and its files by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::mapped::Mapped;
use crate::output_name::OutputName;
use crate::record::{Cost, OutputFile};
use crate::stamp::Stamp;
use crate::summary::ArtifactSummary;

/// A published artifact. It exists only for what is in the store, and every byte that it gives was verified.
#[derive(Clone)]
pub struct Artifact {
    summary: Arc<ArtifactSummary>,
    /// Of its record's file, from before the summary was read.
    stamp: Option<Stamp>,
    /// Whether an earlier run had remembered it.
    recalled: bool,
    files: Arc<Files>,
}

impl Artifact {
    pub(crate) fn new(summary: ArtifactSummary, stamp: Option<Stamp>, files: Arc<Files>) -> Self {
        Self {
            summary: Arc::new(summary),
            stamp,
            recalled: false,
            files,
        }
    }

    /// As it was found in an earlier run.
    pub(crate) fn recalled(summary: Arc<ArtifactSummary>, stamp: Stamp, files: Arc<Files>) -> Self {
        Self {
            summary,
            stamp: Some(stamp),
            recalled: true,
            files,
        }
    }

    /// What it is and what it cost.
    pub fn summary(&self) -> &ArtifactSummary {
        &self.summary
    }

    /// The summary, shared.
    pub fn shared_summary(&self) -> Arc<ArtifactSummary> {
        Arc::clone(&self.summary)
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled
    }

    /// The action that made it.
    pub fn key(&self) -> &ActionKey {
        &self.summary.key
    }

    /// What was measured on the way.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.summary.metrics
    }

    /// What it took when it was made.
    pub fn cost(&self) -> Cost {
        self.summary.cost
    }

    /// The digest of all files together, see [`crate::Record::digest`].
    pub fn digest(&self) -> Digest {
        self.summary.digest
    }

    fn outputs(&self) -> &BTreeMap<OutputName, OutputFile> {
        &self.summary.outputs
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.outputs().keys().map(OutputName::as_str)
    }

    /// Where a file lies, for programs that must open it themselves; its content is not verified, and must not be changed.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.outputs()
            .get(name)
            .map(|output| self.files.layout.blob(&output.digest))
    }

    /// The content of one file, verified against its digest.
    ///
    /// # Errors
    /// [`CacheError::Corrupt`] if the content is not what was published (discard the entry and compute it again) or the
    /// artifact has no file of that name; [`CacheError::Io`] if the disk fails.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, CacheError> {
        self.files.read_output(self.key(), name, self.output(name)?)
    }

    /// The content of one file where it lies, verified once, now: what is read of it is shared among all that map it.
    ///
    /// # Errors
    /// As [`Artifact::read`].
    pub fn map(&self, name: &str) -> Result<Mapped, CacheError> {
        self.files.map_output(self.key(), name, self.output(name)?)
    }

    fn output(&self, name: &str) -> Result<&OutputFile, CacheError> {
        self.outputs().get(name).ok_or_else(|| CacheError::Corrupt {
            key: *self.key(),
            name: name.to_owned(),
            path: self.files.layout.record(self.key()),
            why: format!(
                "is not among the outputs ({})",
                self.names().collect::<Vec<_>>().join(", ")
            ),
        })
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
