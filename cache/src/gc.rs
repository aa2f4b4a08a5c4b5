//! Collection: the bytes of entries that are least worth their room go, their records stay.
//!
//! What is worth its room is what takes long to recompute per byte. An entry that is collected says so with a mark, so
//! that a later miss is explained, and not taken for damage. The order of writes is marks, then blobs: a collection that is
//! killed leaves entries that are whole although they are marked, which counts for nothing.
//!
//! It reads the record files themselves, not the index. A record that this version cannot read (damaged, or written by a newer
//! one) may refer to any blob: those whose digest stands in it stay, and so does every blob that no other record refers to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::{Files, Lookup};
use crate::host::unix_ms;
use crate::key::ActionKey;
use crate::lease::leased;
use crate::litter::{self, Litter};
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
    /// What was set aside as damaged, and checkpoints that no run came back for, go once they are so old, in seconds; `None` keeps them.
    pub litter_older_than_s: Option<f64>,
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
    /// Blobs that no record refers to, and that go.
    pub orphans: usize,
    /// Records that cannot be read. As long as there are any, no orphan goes.
    pub unreadable: usize,
    /// Files and directories that are no entries and that nobody will come back for, and that go.
    pub litter: usize,
    /// Bytes of these.
    pub litter_bytes: u64,
    /// Bytes of outputs that this frees.
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

/// Collects; the caller has made sure that nothing is published meanwhile.
pub(crate) fn collect(files: &Files, options: &GcOptions) -> Result<GcReport, CacheError> {
    let (records, unreadable) = read_records(files)?;
    let blobs = Blobs::of(files, &unreadable)?;
    let protected = protected(files, options)?;
    let there = records.iter().filter(|record| blobs.any(record));
    let (kept, free): (Vec<&Record>, Vec<&Record>) = there.partition(|record| protected.contains(&record.key));
    let mut plan = EvictionPlan::new(&blobs, &records);
    let mut report = GcReport {
        deleted: options.delete,
        protected: kept.len(),
        unreadable: unreadable.len(),
        ..GcReport::default()
    };
    let candidates = by_worth(files, &free);
    let is_old = |entry: &Collected| options.older_than_s.is_some_and(|most| entry.age_s > most);
    let (old, young): (Vec<Collected>, Vec<Collected>) = candidates.into_iter().partition(is_old);
    for entry in old {
        plan.take(&entry.key);
        report.collected.push(entry);
    }
    for entry in young {
        if options.max_bytes.is_none_or(|most| plan.left <= most) {
            break;
        }
        plan.take(&entry.key);
        report.collected.push(entry);
    }
    if unreadable.is_empty() {
        plan.take_orphans();
    }
    report.orphans = plan.orphans;
    report.kept_bytes = plan.left;
    report.over_bytes = options.max_bytes.map_or(0, |most| plan.left.saturating_sub(most));
    report.freed_bytes = plan.freed;
    let litter = match options.litter_older_than_s.map(Duration::try_from_secs_f64) {
        Some(Ok(age)) => litter::find(files, age)?,
        _ => Litter::default(),
    };
    (report.litter, report.litter_bytes) = (litter.paths.len(), litter.bytes);
    if options.delete {
        delete(files, &report.collected, &plan.gone)?;
        litter.remove(files);
    }
    Ok(report)
}

/// The records, and the bytes of those that cannot be read. One that the system does not let us read may refer to anything:
/// then nothing can be collected.
fn read_records(files: &Files) -> Result<(Vec<Record>, Vec<Vec<u8>>), CacheError> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for key in files.keys()? {
        let why = match files.record(&key) {
            Ok(Lookup::Sound(entry)) => {
                records.push(entry.record);
                continue;
            }
            Ok(Lookup::Missing) => continue,
            Ok(Lookup::Damaged(why)) => why,
            Err(error @ CacheError::UnknownSchema { .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        tracing::debug!(%key, "record cannot be read, so blobs that no other record refers to are kept: {why}");
        let path = files.layout.record(&key);
        let bytes = files.disk.read(&path);
        unreadable.push(bytes.map_err(|error| CacheError::io("read", &path, error))?);
    }
    Ok((records, unreadable))
}

/// The entries that stay whatever their worth.
fn protected(files: &Files, options: &GcOptions) -> Result<BTreeSet<ActionKey>, CacheError> {
    let marks = Marks::read(files)?;
    let mut protected = options.keep.clone();
    protected.extend(marks.pins.keys());
    protected.extend(marks.tags.values());
    protected.extend(leased(files));
    Ok(protected)
}

/// The cheapest to recompute per byte first, the oldest of equals.
fn by_worth(files: &Files, free: &[&Record]) -> Vec<Collected> {
    let used = recall::last_used(files);
    let now_ms = unix_ms() as f64;
    let describe = |record: &&Record| {
        let used_ms = used.get(&record.key).copied().unwrap_or(0.0);
        Collected {
            key: record.key,
            node: record.node.clone(),
            kind: record.kind.clone(),
            bytes: record.size(),
            wall_s: record.cost.wall_s,
            // A clock that was set back makes things younger, never older.
            age_s: (now_ms - used_ms.max(record.finished_unix_ms as f64)).max(0.0) / 1e3,
        }
    };
    let mut entries: Vec<Collected> = free.iter().map(describe).collect();
    let worth = |entry: &Collected| entry.wall_s / entry.bytes.max(1) as f64;
    entries.sort_by(|a, b| {
        worth(a)
            .total_cmp(&worth(b))
            .then(b.age_s.total_cmp(&a.age_s))
            .then(a.key.cmp(&b.key))
    });
    entries
}

fn delete(files: &Files, collected: &[Collected], gone: &[Digest]) -> Result<(), CacheError> {
    for entry in collected {
        marks::set(files, &files.layout.collected(), &entry.key.to_string(), "")?;
    }
    for digest in gone {
        let path = files.layout.blob(digest);
        match files.disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CacheError::io("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The blobs that are there.
struct Blobs {
    sizes: HashMap<Digest, u64>,
    /// Those whose digest stands in a record that cannot be read.
    named: HashSet<Digest>,
}

impl Blobs {
    fn of(files: &Files, unreadable: &[Vec<u8>]) -> Result<Self, CacheError> {
        let size = |digest: Digest| Some((digest, files.disk.len(&files.layout.blob(&digest)).ok()?));
        let sizes: HashMap<Digest, u64> = files.blobs()?.into_iter().filter_map(size).collect();
        let words = unreadable
            .iter()
            .flat_map(|bytes| bytes.split(|b| !b.is_ascii_hexdigit()));
        let named = words.filter_map(|word| str::from_utf8(word).ok()?.parse().ok());
        Ok(Self {
            sizes,
            named: named.collect(),
        })
    }

    fn any(&self, record: &Record) -> bool {
        let mut outputs = record.outputs.values();
        outputs.any(|output| self.sizes.contains_key(&output.digest))
    }
}

/// What goes, entry by entry: a blob goes with the last entry that has it.
struct EvictionPlan<'a> {
    blobs: &'a Blobs,
    by_key: HashMap<ActionKey, &'a Record>,
    users: HashMap<Digest, usize>,
    gone: Vec<Digest>,
    orphans: usize,
    freed: u64,
    /// Bytes of the outputs that stay.
    left: u64,
}

impl<'a> EvictionPlan<'a> {
    fn new(blobs: &'a Blobs, records: &'a [Record]) -> Self {
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for digest in records.iter().flat_map(digests) {
            if blobs.sizes.contains_key(&digest) {
                *users.entry(digest).or_default() += 1;
            }
        }
        Self {
            left: users.keys().map(|digest| blobs.sizes[digest]).sum(),
            by_key: records.iter().map(|record| (record.key, record)).collect(),
            blobs,
            users,
            gone: Vec::new(),
            orphans: 0,
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
            if *users == 0 && !self.blobs.named.contains(&digest) {
                let bytes = self.blobs.sizes[&digest];
                self.freed += bytes;
                self.left -= bytes;
                self.gone.push(digest);
            }
        }
    }

    /// Blobs that no record refers to.
    fn take_orphans(&mut self) {
        let orphans = self
            .blobs
            .sizes
            .iter()
            .filter(|(digest, _)| !self.users.contains_key(digest));
        for (digest, bytes) in orphans {
            self.orphans += 1;
            self.freed += bytes;
            self.gone.push(*digest);
        }
    }
}

/// The blobs of a record, each once.
fn digests(record: &Record) -> BTreeSet<Digest> {
    record.outputs.values().map(|output| output.digest).collect()
}
