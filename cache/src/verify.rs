//! Verification: every record read, every blob hashed again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::{Entry, Files, Lookup};
use crate::key::ActionKey;

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

    /// Adds an entry; of each blob that is there it is known whether it is sound.
    fn add(&mut self, entry: &Entry, blobs: &BTreeMap<Digest, bool>) {
        let key = entry.record.key;
        if entry.collected {
            return self.collected.push(key);
        }
        let before = self.corrupt.len() + self.missing.len();
        for (name, output) in &entry.record.outputs {
            let fault = |why: &str| Fault {
                key,
                output: Some(name.clone()),
                why: why.to_owned(),
            };
            match blobs.get(&output.digest) {
                Some(true) => {}
                Some(false) => self.corrupt.push(fault("does not match its digest")),
                None => self.missing.push(fault("is missing")),
            }
        }
        if self.corrupt.len() + self.missing.len() == before {
            self.ok.push(key);
        }
    }
}

/// Reads everything. Entries that are published meanwhile may or may not be seen.
pub(crate) fn verify(files: &Files) -> Result<VerifyReport, CacheError> {
    let mut report = VerifyReport::default();
    // Keys before blobs: a blob that is published meanwhile may look like an orphan, but no record looks incomplete.
    let keys = files.keys()?;
    let mut blobs = BTreeMap::new();
    for digest in files.blobs()? {
        let path = files.layout.blob(&digest);
        let found = files.disk.digest(&path).map_err(|e| CacheError::io("read", &path, e))?;
        report.bytes += files.disk.len(&path).map_err(|e| CacheError::io("read", &path, e))?;
        blobs.insert(digest, found == digest);
    }
    let mut used = BTreeSet::new();
    for key in keys {
        let entry = match files.find(&key)? {
            Lookup::Sound(entry) => Lookup::Sound(entry),
            // Of a sound record all outputs are looked at, and not only the first that is wrong.
            Lookup::Damaged(_) | Lookup::Missing => files.record(&key)?,
        };
        match entry {
            Lookup::Sound(entry) => {
                used.extend(entry.record.outputs.values().map(|output| output.digest));
                report.add(&entry, &blobs);
            }
            Lookup::Damaged(why) => report.corrupt.push(Fault { key, output: None, why }),
            Lookup::Missing => {} // Discarded meanwhile.
        }
    }
    for (digest, sound) in blobs.into_iter().filter(|(digest, _)| !used.contains(digest)) {
        if sound {
            report.orphans.push(digest)
        } else {
            report.corrupt_orphans.push(digest)
        }
    }
    Ok(report)
}
