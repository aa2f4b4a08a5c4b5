//! Verification: every record read, every blob hashed again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::{CacheError, is_limit};
use crate::files::{Entry, Files, Lookup, is_damage};
use crate::key::ActionKey;
use crate::shared::Shared;

/// What a full verification found. Nothing was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The entries whose record and outputs are all sound.
    pub ok: Vec<ActionKey>,
    /// The entries whose record, or one of whose outputs, has the wrong content.
    pub corrupt: Vec<Fault>,
    /// The entries one of whose outputs is not there.
    pub missing: Vec<Fault>,
    /// The entries whose outputs were collected.
    pub collected: Vec<ActionKey>,
    /// Sound blobs that no record refers to, as a kill in the middle of publishing leaves them: they only take space.
    pub orphans: Vec<Digest>,
    /// Blobs that no record refers to and whose content does not fit their name.
    pub corrupt_orphans: Vec<Digest>,
    /// Records of another version of flow, which are left alone, and what this process may not read.
    pub unreadable: Vec<Fault>,
    /// The bytes of all blobs that were read.
    pub bytes: u64,
}

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The entry.
    pub key: ActionKey,
    /// The output; `None` if it is the record itself.
    pub output: Option<String>,
    /// What is wrong, as the end of a sentence.
    pub why: String,
}

impl VerifyReport {
    /// Whether every entry can be used.
    pub fn is_sound(&self) -> bool {
        self.corrupt.is_empty() && self.missing.is_empty()
    }

    /// Adds an entry, by what is known of each blob that is there.
    fn add(&mut self, entry: &Entry, blobs: &BTreeMap<Digest, Blob>) {
        let key = entry.record.key;
        if entry.collected {
            return self.collected.push(key);
        }
        let faults = |report: &Self| report.corrupt.len() + report.missing.len() + report.unreadable.len();
        let before = faults(self);
        for (name, output) in &entry.record.outputs {
            let fault = |why: &str| Fault {
                key,
                output: Some(name.to_string()),
                why: why.to_owned(),
            };
            match blobs.get(&output.digest) {
                Some(Blob::Sound) => {}
                Some(Blob::Wrong(why)) => self.corrupt.push(fault(why)),
                Some(Blob::Unreadable(why)) => self.unreadable.push(fault(why)),
                None => self.missing.push(fault("is missing")),
            }
        }
        if faults(self) == before {
            self.ok.push(key);
        }
    }
}

/// What lies in a blob's place.
enum Blob {
    Sound,
    /// Other content, or something that is no file, or that the disk cannot give back.
    Wrong(String),
    /// It may be sound: this process may not read it.
    Unreadable(String),
}

impl Blob {
    /// Reads it; `None` if it is missing. An error of the machine is none of the blob's.
    fn look(files: &Files, digest: &Digest, bytes: &mut u64) -> Result<Option<Self>, CacheError> {
        let path = files.layout.blob(digest);
        let read = files
            .disk
            .digest(&path)
            .and_then(|found| Ok((found, files.disk.len(&path)?)));
        Ok(Some(match read {
            Ok((found, length)) => {
                *bytes += length;
                match found == *digest {
                    true => Self::Sound,
                    false => Self::Wrong("does not match its digest".to_owned()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_limit(&error) => return Err(CacheError::io("read", &path, error)),
            Err(error) if is_damage(&error) => Self::Wrong(format!("cannot be read: {error}")),
            Err(error) => Self::Unreadable(format!("cannot be read: {error}")),
        }))
    }
}

/// Reads everything. Entries that are published meanwhile may or may not be seen.
pub(crate) fn verify(files: &Files) -> Result<VerifyReport, CacheError> {
    let mut report = VerifyReport::default();
    // Keys before blobs: a blob that is published meanwhile may look like an orphan, but no record looks incomplete.
    let keys = files.keys()?;
    let mut blobs = BTreeMap::new();
    for digest in files.blobs()? {
        if let Some(blob) = Blob::look(files, &digest, &mut report.bytes)? {
            blobs.insert(digest, blob);
        }
    }
    let mut used = BTreeSet::new();
    for key in keys {
        match record(files, &key)? {
            Ok(Lookup::Sound(entry)) => {
                for output in entry.record.outputs.values().filter(|_| !entry.collected) {
                    // It may have come since the blobs were listed.
                    if !blobs.contains_key(&output.digest)
                        && let Some(blob) = Blob::look(files, &output.digest, &mut report.bytes)?
                    {
                        blobs.insert(output.digest, blob);
                    }
                }
                used.extend(entry.record.outputs.values().map(|output| output.digest));
                report.add(&entry, &blobs);
            }
            Ok(Lookup::Damaged(why)) => report.corrupt.push(Fault { key, output: None, why }),
            Ok(Lookup::Missing) => {} // Discarded meanwhile.
            Err(why) => report.unreadable.push(Fault { key, output: None, why }),
        }
    }
    for (digest, blob) in blobs.into_iter().filter(|(digest, _)| !used.contains(digest)) {
        match blob {
            Blob::Sound => report.orphans.push(digest),
            Blob::Wrong(_) => report.corrupt_orphans.push(digest),
            Blob::Unreadable(_) => {}
        }
    }
    Ok(report)
}

/// What lies at a record's place, or why it must be left alone. Only an error of the machine ends everything.
fn record(files: &Files, key: &ActionKey) -> Result<Result<Lookup<Entry>, String>, CacheError> {
    let found = match files.find(key) {
        // Of a sound record all outputs are looked at, and not only the first that is wrong.
        Ok(Lookup::Damaged(_)) => files.record(key),
        found => found,
    };
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(CacheError::Io { source, .. }) => Ok(Err(format!("cannot be read: {source}"))),
        Err(CacheError::UnknownSchema { found, known, .. }) => Ok(Err(format!(
            "has schema {found}, this version of flow knows {known}: another version wrote it"
        ))),
        Err(error) => Err(error),
    }
}

/// Sets aside what is still damaged now that nobody publishes: an entry that was recomputed since the report stays.
pub(crate) fn repair(store: &Shared, report: &VerifyReport) -> Result<(), CacheError> {
    let files = &store.files;
    let mut seen = BTreeSet::new();
    for fault in report.corrupt.iter().chain(&report.missing) {
        if seen.insert(fault.key) && is_damaged(files, &fault.key)? {
            store.set_aside(&fault.key, &fault.why)?;
        }
    }
    for digest in &report.corrupt_orphans {
        if let Some(Blob::Wrong(_)) = Blob::look(files, digest, &mut 0)? {
            files.move_to_quarantine(&files.layout.blob(digest))?;
        }
    }
    Ok(())
}

fn is_damaged(files: &Files, key: &ActionKey) -> Result<bool, CacheError> {
    match record(files, key)? {
        Ok(Lookup::Sound(entry)) if entry.collected => Ok(false),
        Ok(Lookup::Sound(entry)) => {
            for output in entry.record.outputs.values() {
                if !matches!(
                    Blob::look(files, &output.digest, &mut 0)?,
                    Some(Blob::Sound | Blob::Unreadable(_))
                ) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Ok(Lookup::Damaged(_)) => Ok(true),
        Ok(Lookup::Missing) | Err(_) => Ok(false),
    }
}
