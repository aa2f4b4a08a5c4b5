//! What the last run of a workflow found, so that the next one need not read thousands of records again.
//!
//! A file `recall/<digest of the workflow's name>` holds the summaries of the artifacts that the last run took or made, each
//! with the stamp that its record's file had when it was read. It is read concurrently with other work, and a summary counts only if the
//! record's file still has that stamp and every blob its length: what is left to trust is what [`crate::files::Files::find`]
//! trusts as well. Whatever does not fit is looked up in the ordinary way, so that the file can be lost at any time.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::files::Files;
use crate::key::ActionKey;
use crate::stamp::Stamp;
use crate::summary::ArtifactSummary;

/// The version of the file; another one is ignored.
const VERSION: u8 = 2;
/// The file begins with the version and the digest of what follows.
pub(crate) const HEADER: usize = 1 + 32;
/// What was compared with its files longer ago is compared once more: a process that watches lives for days.
const FRESH: Duration = Duration::from_secs(1);

/// Accounts that may be served without reading their records; each once, so that one that is discarded is not served again.
#[derive(Default)]
pub(crate) enum Recall {
    #[default]
    Nothing,
    Reading(JoinHandle<Memory>),
    Ready(Memory),
}

/// One summary as it was found.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) summary: Arc<ArtifactSummary>,
    /// Of the record's file, from before it was read.
    pub(crate) stamp: Stamp,
}

/// What is remembered and lay there when it was looked at.
pub(crate) struct Memory {
    path: PathBuf,
    summaries: HashMap<ActionKey, Remembered>,
    /// Whether the file holds more than what still lay there.
    partial: bool,
    looked: Instant,
}

impl Recall {
    /// Begins to read what is remembered under `name`.
    pub(crate) fn begin(files: &Arc<Files>, name: &str) -> Self {
        let (path, files) = (path(files, name), Arc::clone(files));
        let thread = std::thread::Builder::new().name("recall".to_owned());
        match thread.spawn(move || read(path, &files)) {
            Ok(reading) => Self::Reading(reading),
            Err(error) => {
                tracing::debug!(%error, "the previous run's results are not used");
                Self::Nothing
            }
        }
    }

    /// Gives the summary of a key away; waits for the reading to end. `now` is the present.
    pub(crate) fn take(&mut self, files: &Files, key: &ActionKey, now: Instant) -> Option<Remembered> {
        if let Self::Reading(_) = self
            && let Self::Reading(reading) = std::mem::take(self)
        {
            // A panic there would be a defect, and costs no more than time.
            *self = reading.join().map_or(Self::Nothing, Self::Ready);
        }
        let Self::Ready(memory) = self else { return None };
        let remembered = memory.summaries.remove(key)?;
        let is_fresh = now.saturating_duration_since(memory.looked) < FRESH;
        (is_fresh || remembered.is_there(files)).then_some(remembered)
    }
}

impl Remembered {
    /// Whether the record is the one that was read, and its outputs have their lengths.
    fn is_there(&self, files: &Files) -> bool {
        let mut outputs = self.summary.outputs.values();
        let now = files.disk.stamp(&files.layout.record(&self.summary.key));
        now.is_some_and(|now| self.stamp.is_unchanged(&now))
            && outputs.all(|output| files.disk.len(&files.layout.blob(&output.digest)).ok() == Some(output.bytes))
    }
}

/// Remembers what a run took and made under `name`, unless that is what was remembered already. It only saves time, so that
/// a failure is a note for developers.
pub(crate) fn remember(files: &Files, recall: &Recall, name: &str, artifacts: &[&Artifact]) {
    let path = path(files, name);
    if let Recall::Ready(memory) = recall
        && memory.path == path
        && !memory.partial
        && memory.summaries.is_empty()
        && artifacts.iter().all(|artifact| artifact.is_recalled())
    {
        // Its time says when these were used last.
        let touched = std::fs::File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        if touched.is_ok() {
            return;
        }
    }
    let mut keys = HashSet::new();
    let once = artifacts.iter().filter(|artifact| keys.insert(*artifact.key()));
    let remembered = once.filter_map(|artifact| {
        Some(Remembered {
            summary: artifact.shared_summary(),
            stamp: artifact.stamp()?,
        })
    });
    let all: Vec<Remembered> = remembered.collect();
    if let Err(error) = write(files, &path, &all) {
        tracing::debug!(%error, "cannot save this run's results for the next");
    }
}

/// Not synced: it only saves time, and a torn file is seen by its digest.
fn write(files: &Files, path: &Path, all: &[Remembered]) -> Result<(), String> {
    let whole = encode(all)?;
    files
        .sharing
        .create_dir_all(&files.layout.recall())
        .and_then(|()| files.disk.place(&files.layout.staging(), path, &whole, false))
        .map_err(|e| e.to_string())
}

/// What is remembered and still lies there as it did; nothing if the file is absent, damaged or of another version.
fn read(path: PathBuf, files: &Files) -> Memory {
    let _span = tracing::debug_span!("recall").entered();
    let all = files.disk.read(&path).ok().and_then(|bytes| decode(&bytes));
    let all = all.unwrap_or_default();
    let count = all.len();
    let there = all.into_iter().filter(|one| one.is_there(files));
    let summaries: HashMap<ActionKey, Remembered> = there.map(|one| (one.summary.key, one)).collect();
    Memory {
        path,
        partial: summaries.len() < count,
        summaries,
        looked: Instant::now(),
    }
}

pub(crate) fn encode(all: &[Remembered]) -> Result<Vec<u8>, String> {
    let body = postcard::to_stdvec(all).map_err(|e| e.to_string())?;
    Ok([&[VERSION], &Digest::of(&body).as_bytes()[..], &body].concat())
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Remembered>> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let (version, digest) = header.split_first()?;
    if *version != VERSION || digest != Digest::of(body).as_bytes() {
        return None;
    }
    postcard::from_bytes(body).ok()
}

/// When the keys of all workflows' latest runs were used last, in milliseconds since 1970 (UTC): the time of their file.
pub(crate) fn last_used(files: &Files) -> HashMap<ActionKey, f64> {
    let mut used: HashMap<ActionKey, f64> = HashMap::new();
    for entry in std::fs::read_dir(files.layout.recall()).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|data| data.modified()).ok();
        let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let memory = files.disk.read(&entry.path()).ok().and_then(|bytes| decode(&bytes));
        for one in memory.into_iter().flatten() {
            let at = used.entry(one.summary.key).or_default();
            *at = at.max(modified.unwrap_or_default().as_millis() as f64);
        }
    }
    used
}

/// One file for each workflow.
fn path(files: &Files, name: &str) -> PathBuf {
    files.layout.recall().join(Digest::of(name.as_bytes()).to_string())
}

#[cfg(test)]
mod tests;
