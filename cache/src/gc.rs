//! Collection: the bytes of entries that are least worth their room go, their records stay.
//!
//! What is worth its room is what takes long to make again for each byte. An entry that is collected says so with a mark, so
//! that a later miss is explained, and not taken for damage. The order of writes is marks, then blobs: a collection that is
//! killed leaves entries that are whole although they are marked, which counts for nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::lease::leased;
use crate::marks::{self, Marks};
use crate::recall;
use crate::record::Record;

/// What may stay.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// Bytes of outputs that may stay in all.
    pub max_bytes: Option<u64>,
    /// Entries that were last used longer ago, in seconds, go.
    pub older_than_s: Option<f64>,
    /// Entries that stay whatever their worth, besides pinned and tagged ones and those that a run under way counts on.
    pub keep: BTreeSet<ActionKey>,
    /// Whether to do it; otherwise nothing is changed.
    pub delete: bool,
}

/// What was collected, or would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GcReport {
    /// Whether it was done.
    pub deleted: bool,
    /// The entries, in the order in which they go.
    pub collected: Vec<Collected>,
    /// Blobs that no record refers to.
    pub orphans: usize,
    /// Bytes that this frees.
    pub freed_bytes: u64,
    /// Bytes of the outputs that stay.
    pub kept_bytes: u64,
    /// How many entries stay because someone or something counts on them.
    pub protected: usize,
    /// Bytes by which what stays is still more than was asked for, because it is protected.
    pub over_bytes: u64,
}

/// One entry that goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Collected {
    /// Its key.
    pub key: ActionKey,
    /// Its node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// Bytes of its outputs, those that others share included.
    pub bytes: u64,
    /// Seconds that it took to make.
    pub wall_s: f64,
    /// Seconds since it was last used: made, or taken by the latest run of a workflow.
    pub age_s: f64,
}

/// Collects; the caller has made sure that nobody publishes meanwhile.
pub(crate) fn collect(files: &Files, records: Vec<Record>, options: &GcOptions) -> Result<GcReport, CacheError> {
    let blobs = Blobs::of(files, &records);
    let marks = Marks::read(files)?;
    let mut protected: BTreeSet<ActionKey> = options.keep.clone();
    protected.extend(marks.pins.keys());
    protected.extend(marks.tags.values());
    protected.extend(leased(files));
    let used = recall::last_used(files);
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as f64;
    let there: Vec<&Record> = records.iter().filter(|record| blobs.any(record)).collect();
    let (kept, free): (Vec<&Record>, Vec<&Record>) = there.iter().partition(|record| protected.contains(&record.key));
    let mut candidates: Vec<Collected> = free
        .into_iter()
        .map(|record| Collected {
            key: record.key,
            node: record.node.clone(),
            kind: record.kind.clone(),
            bytes: record.size(),
            wall_s: record.cost.wall_s,
            // A clock that was set back makes things younger, never older.
            age_s: (now_ms
                - used
                    .get(&record.key)
                    .copied()
                    .unwrap_or(0.0)
                    .max(record.finished_unix_ms as f64))
            .max(0.0)
                / 1e3,
        })
        .collect();
    // The cheapest to make again for each byte first, the oldest of equals.
    let worth = |entry: &Collected| entry.wall_s / entry.bytes.max(1) as f64;
    candidates.sort_by(|a, b| {
        worth(a)
            .total_cmp(&worth(b))
            .then(b.age_s.total_cmp(&a.age_s))
            .then(a.key.cmp(&b.key))
    });
    let mut going = Going::new(blobs, &records);
    let mut report = GcReport {
        deleted: options.delete,
        protected: kept.len(),
        ..GcReport::default()
    };
    let (old, young): (Vec<Collected>, Vec<Collected>) = candidates
        .into_iter()
        .partition(|entry| options.older_than_s.is_some_and(|most| entry.age_s > most));
    for entry in old {
        going.take(&entry.key);
        report.collected.push(entry);
    }
    for entry in young {
        if options.max_bytes.is_none_or(|most| going.left <= most) {
            break;
        }
        going.take(&entry.key);
        report.collected.push(entry);
    }
    let orphans: Vec<Digest> = files
        .blobs()?
        .into_iter()
        .filter(|digest| !going.blobs.sizes.contains_key(digest))
        .collect();
    report.orphans = orphans.len();
    report.kept_bytes = going.left;
    report.over_bytes = options.max_bytes.map_or(0, |most| going.left.saturating_sub(most));
    report.freed_bytes = going.freed
        + orphans
            .iter()
            .filter_map(|digest| going.blobs.size_of(files, digest))
            .sum::<u64>();
    if options.delete {
        for entry in &report.collected {
            marks::set(files, &files.layout.collected(), &entry.key.to_string(), "")?;
        }
        for digest in going.gone.iter().chain(&orphans) {
            let path = files.layout.blob(digest);
            match files.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CacheError::io("remove", &path, error));
                }
                _ => {}
            }
        }
    }
    Ok(report)
}

/// The blobs that records refer to and that are there.
struct Blobs {
    sizes: BTreeMap<Digest, Option<u64>>,
}

impl Blobs {
    fn of(files: &Files, records: &[Record]) -> Self {
        let outputs = records.iter().flat_map(|record| record.outputs.values());
        let size = |digest: &Digest| files.disk.len(&files.layout.blob(digest)).ok();
        let digests: BTreeSet<Digest> = outputs.map(|output| output.digest).collect();
        Self {
            sizes: digests.into_iter().map(|digest| (digest, size(&digest))).collect(),
        }
    }

    fn size(&self, digest: &Digest) -> u64 {
        self.sizes.get(digest).copied().flatten().unwrap_or(0)
    }

    fn size_of(&self, files: &Files, digest: &Digest) -> Option<u64> {
        files.disk.len(&files.layout.blob(digest)).ok()
    }

    fn any(&self, record: &Record) -> bool {
        record
            .outputs
            .values()
            .any(|output| self.sizes.get(&output.digest).copied().flatten().is_some())
    }
}

/// What goes, entry by entry: a blob goes with the last entry that has it.
struct Going<'a> {
    blobs: Blobs,
    by_key: HashMap<ActionKey, &'a Record>,
    users: HashMap<Digest, usize>,
    gone: Vec<Digest>,
    freed: u64,
    left: u64,
}

impl<'a> Going<'a> {
    fn new(blobs: Blobs, records: &'a [Record]) -> Self {
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for record in records.iter().filter(|record| blobs.any(record)) {
            for digest in digests(record) {
                *users.entry(digest).or_default() += 1;
            }
        }
        Self {
            left: blobs.sizes.values().flatten().sum(),
            by_key: records.iter().map(|record| (record.key, record)).collect(),
            blobs,
            users,
            gone: Vec::new(),
            freed: 0,
        }
    }

    fn take(&mut self, key: &ActionKey) {
        let Some(record) = self.by_key.get(key) else { return };
        for digest in digests(record) {
            let Some(users) = self.users.get_mut(&digest) else {
                continue;
            };
            *users -= 1;
            if *users == 0 {
                let bytes = self.blobs.size(&digest);
                self.freed += bytes;
                self.left -= bytes;
                self.gone.push(digest);
            }
        }
    }
}

/// The blobs of a record, each once.
fn digests(record: &Record) -> BTreeSet<Digest> {
    record.outputs.values().map(|output| output.digest).collect()
}
