//! Publishing: from a draft to an artifact, once for each key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::{CacheError, NonDeterminism};
use crate::files::Found;
use crate::host::host_name;
use crate::key::{ActionKey, Components};
use crate::record::{Cost, OutputFile, Record, SCHEMA};
use crate::shared::Shared;

/// How often a commit starts anew when another process publishes or discards the same key at the same moment.
const RACES: usize = 8;

/// The right to publish one missed key, once.
pub struct Slot {
    key: ActionKey,
    store: Arc<Shared>,
}

/// A finished action that is to be published.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The node's kind.
    pub kind: String,
    /// The node's instance; a label.
    pub node: String,
    /// The workflow; a label.
    pub workflow: String,
    /// What the key was made of: must be what the slot's key is the digest of.
    pub components: Components,
    /// What came out: unique names, and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
    /// The keys of the records whose outputs were consumed.
    pub inputs: Vec<ActionKey>,
    /// What it took.
    pub cost: Cost,
    /// When it began, in milliseconds since 1970 (UTC).
    pub started_unix_ms: u64,
    /// When it ended, in milliseconds since 1970 (UTC).
    pub finished_unix_ms: u64,
}

impl Slot {
    pub(crate) fn new(key: ActionKey, store: Arc<Shared>) -> Self {
        Self { key, store }
    }

    /// The missed key.
    pub fn key(&self) -> &ActionKey {
        &self.key
    }

    /// Publishes: when this returns, the artifact survives a power loss, and the key's checkpoints are gone.
    ///
    /// If another process published the key meanwhile, equal outputs give its artifact.
    ///
    /// # Errors
    /// [`CacheError::NonDeterministic`] if the key is published with other outputs, [`CacheError::DiskFull`],
    /// [`CacheError::ReadOnly`], [`CacheError::InvalidDraft`], [`CacheError::Io`]. After an error nothing of the draft is
    /// visible, and the key can be looked up again.
    pub fn commit(self, draft: Draft) -> Result<Artifact, CacheError> {
        let files = &self.store.files;
        files.must_write()?;
        self.check(&draft)?;
        let (record, blobs) = self.describe(&draft);
        let _no_collection = files.disk.lock(&files.layout.publish_lock(), false);
        for _ in 0..RACES {
            match files.find(&self.key)? {
                Found::Complete(published) => return self.agree(&published, &record),
                // Its bytes are made again. If they are others now, nobody can say any more which are right.
                Found::Collected(known) if known.outputs == record.outputs => {
                    files.put_blobs(&blobs)?;
                    files.uncollect(&self.key)?;
                    return Ok(self.finish(&known));
                }
                Found::Collected(_) => self
                    .store
                    .set_aside(&self.key, "its outputs were collected, and are others now")?,
                Found::Broken(why) => self.store.set_aside(&self.key, &why)?,
                Found::Nothing => {}
            }
            files.put_blobs(&blobs)?;
            if files.put_record(&record)? {
                self.store.catalog.announce(&self.key);
                return Ok(self.finish(&record));
            }
        }
        Err(CacheError::io(
            "publish",
            &files.layout.record(&self.key),
            std::io::Error::other("other processes keep publishing and discarding this key"),
        ))
    }

    fn check(&self, draft: &Draft) -> Result<(), CacheError> {
        let invalid = |why: String| CacheError::InvalidDraft {
            key: self.key,
            node: draft.node.clone(),
            why,
        };
        if draft.components.key() != self.key {
            return Err(invalid("its components do not hash to the key".into()));
        }
        let mut names: Vec<&str> = draft.files.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(invalid(format!("it has two outputs named `{}`", pair[0]))),
            None => Ok(()),
        }
    }

    fn describe<'a>(&self, draft: &'a Draft) -> (Record, Vec<(Digest, &'a [u8])>) {
        let blobs: Vec<(Digest, &[u8])> = draft
            .files
            .iter()
            .map(|(_, bytes)| (Digest::of(bytes), bytes.as_slice()))
            .collect();
        let outputs = draft.files.iter().zip(&blobs).map(|((name, bytes), (digest, _))| {
            (
                name.clone(),
                OutputFile {
                    digest: *digest,
                    bytes: bytes.len() as u64,
                },
            )
        });
        let record = Record {
            schema: SCHEMA,
            key: self.key,
            kind: draft.kind.clone(),
            node: draft.node.clone(),
            workflow: draft.workflow.clone(),
            components: draft.components.clone(),
            outputs: outputs.collect(),
            metrics: draft.metrics.clone(),
            inputs: draft.inputs.clone(),
            cost: draft.cost,
            started_unix_ms: draft.started_unix_ms,
            finished_unix_ms: draft.finished_unix_ms,
            flow_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host_name(),
        };
        (record, blobs)
    }

    /// The first writer of a key wins; the second must have made the same.
    fn agree(&self, published: &Record, new: &Record) -> Result<Artifact, CacheError> {
        if published.outputs == new.outputs {
            return Ok(self.finish(published));
        }
        let names = published.outputs.keys().chain(new.outputs.keys());
        let mut differing: Vec<String> = names
            .filter(|name| published.outputs.get(*name) != new.outputs.get(*name))
            .cloned()
            .collect();
        differing.sort();
        differing.dedup();
        Err(CacheError::NonDeterministic(Box::new(NonDeterminism {
            key: self.key,
            node: new.node.clone(),
            published: published.digest(),
            new: new.digest(),
            files: differing,
        })))
    }

    fn finish(&self, record: &Record) -> Artifact {
        self.store.scratch(&self.key).remove();
        Artifact::new(record.into(), Arc::clone(&self.store.files))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
