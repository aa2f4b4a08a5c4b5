//! Publishing: from a draft to an artifact, once for each key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::{CacheError, NonDeterminism};
use crate::files::{Entry, Lookup};
use crate::host::host_name;
use crate::key::{ActionKey, Components};
use crate::large::LargeFile;
use crate::output_name::{BadOutputName, OutputName};
use crate::publishing::{Publishing, is_past};
use crate::record::{Cost, OutputFile, Record, SCHEMA};
use crate::shared::Shared;

/// How often a commit starts anew when another process publishes or discards the same key at the same moment.
const RACES: usize = 8;

/// A finished action that is to be published.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The node's kind.
    pub kind: String,
    /// The node's instance; a label.
    pub node: String,
    /// The workflow; a label.
    pub workflow: String,
    /// What the key was made of: must be what the key is the digest of.
    pub components: Components,
    /// What came out: unique names, and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// What came out and is too large for memory; its names are none of those.
    pub large: Vec<(String, LargeFile)>,
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
    /// The version of flow that made it.
    pub flow_version: String,
    /// When it is given up, if it is not published by then.
    pub until: Option<Instant>,
}

/// See [`crate::Store::publish`].
pub(crate) fn publish(store: &Shared, key: &ActionKey, draft: &Draft) -> Result<Artifact, CacheError> {
    let files = &store.files;
    files.must_write()?;
    draft.check(key)?;
    let (record, blobs) = draft.describe(key)?;
    let put_blobs = || {
        files.put_blobs(&blobs)?;
        draft.put_large(store, key)
    };
    let _no_collection = files.lock_publishing_until(Publishing::Together, draft.until)?;
    for _ in 0..RACES {
        match files.find(key)? {
            // The first writer of a key wins; the second must have made the same.
            Lookup::Sound(entry) if !entry.collected => {
                agree(&entry.record, &record)?;
                return Ok(finish(store, &entry));
            }
            // Its bytes are recomputed. If they are others now, it is unknown which are right.
            Lookup::Sound(entry) if entry.record.outputs == record.outputs => {
                put_blobs()?;
                files.uncollect(key)?;
                return Ok(finish(store, &entry));
            }
            Lookup::Sound(_) => store.set_aside(key, "its outputs were collected, and are others now")?,
            Lookup::Damaged(why) => store.set_aside(key, &why)?,
            Lookup::Missing => {}
        }
        put_blobs()?;
        if is_past(draft.until) {
            let holder = "the disk, which took too long".to_owned();
            return Err(CacheError::Interrupted { holder });
        }
        if let Some(entry) = files.put_record(record.clone())? {
            store.catalog.published(&entry.record);
            return Ok(finish(store, &entry));
        }
    }
    Err(CacheError::contested("publish", &files.layout.record(key)))
}

/// Whether two runs of one action made the same.
fn agree(published: &Record, new: &Record) -> Result<(), CacheError> {
    if published.outputs == new.outputs {
        return Ok(());
    }
    let names = published.outputs.keys().chain(new.outputs.keys());
    let differing = names.filter(|name| published.outputs.get(*name) != new.outputs.get(*name));
    let differing: BTreeSet<String> = differing.map(ToString::to_string).collect();
    Err(CacheError::NonDeterministic(Box::new(NonDeterminism {
        key: new.key,
        node: new.node.clone(),
        published: published.digest(),
        new: new.digest(),
        files: differing.into_iter().collect(),
    })))
}

fn finish(store: &Shared, entry: &Entry) -> Artifact {
    store.scratch(&entry.record.key).remove();
    store.artifact(entry)
}

/// An output's bytes with their digest.
type Blob<'a> = (Digest, &'a [u8]);

impl Draft {
    fn check(&self, key: &ActionKey) -> Result<(), CacheError> {
        let invalid = |why: String| CacheError::InvalidDraft {
            key: *key,
            node: self.node.clone(),
            why,
        };
        if self.components.key() != *key {
            return Err(invalid("its components do not hash to the key".into()));
        }
        let mut names = BTreeSet::new();
        let large = self.large.iter().map(|(name, _)| name);
        match self
            .files
            .iter()
            .map(|(name, _)| name)
            .chain(large)
            .find(|name| !names.insert(*name))
        {
            Some(name) => Err(invalid(format!("it has two outputs named `{name}`"))),
            None => Ok(()),
        }
    }

    fn describe(&self, key: &ActionKey) -> Result<(Record, Vec<Blob<'_>>), CacheError> {
        let blobs: Vec<Blob<'_>> = self
            .files
            .iter()
            .map(|(_, bytes)| (Digest::of(bytes), bytes.as_slice()))
            .collect();
        let small = self.files.iter().zip(&blobs).map(|((name, bytes), (digest, _))| {
            let (digest, bytes) = (*digest, bytes.len() as u64);
            (name, OutputFile { digest, bytes })
        });
        let large = self.large.iter().map(|(name, file)| (name, file.output()));
        let outputs = small.chain(large);
        let outputs = outputs.map(|(name, output)| Ok((OutputName::try_from(name.clone())?, output)));
        let outputs = outputs.collect::<Result<_, BadOutputName>>();
        let record = Record {
            schema: SCHEMA,
            key: *key,
            kind: self.kind.clone(),
            node: self.node.clone(),
            workflow: self.workflow.clone(),
            components: self.components.clone(),
            outputs: outputs.map_err(|source| CacheError::BadOutputName {
                node: self.node.clone(),
                source,
            })?,
            metrics: self.metrics.clone(),
            inputs: self.inputs.clone(),
            cost: self.cost,
            started_unix_ms: self.started_unix_ms,
            finished_unix_ms: self.finished_unix_ms,
            flow_version: self.flow_version.clone(),
            host: host_name(),
        };
        Ok((record, blobs))
    }

    /// Moves large files to their places; those that are blobs already must still be.
    fn put_large(&self, store: &Shared, key: &ActionKey) -> Result<(), CacheError> {
        let files = &store.files;
        let mut staged = Vec::new();
        for (name, file) in &self.large {
            let OutputFile { digest, bytes } = file.output();
            let path = files.layout.blob(&digest);
            match file.staged() {
                Some(from) => staged.push((digest, from.to_owned())),
                None if files.disk.len(&path).is_ok_and(|found| found == bytes) => {}
                None => {
                    return Err(CacheError::Corrupt {
                        key: *key,
                        name: name.clone(),
                        path,
                        why: "is missing".to_owned(),
                    });
                }
            }
        }
        files.adopt_blobs(&staged)
    }
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
