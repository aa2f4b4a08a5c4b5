//! What ran before, by node: why a node runs is asked of its own earlier runs, not of all records.
//!
//! `past/<ab>` has a line for each record that was published and whose kind and node's name hash to `ab..`: the hash, the key,
//! [`crate::Components::own_digest`], what it took in seconds, its end in milliseconds since 1970, a checksum. The lines are hints: what is lost when
//! a process is killed between a record and its line is the reason why a later node runs. `past/whole` says that the records from
//! before have lines, too; where it is missing all are written anew.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::record::Record;

/// What is known of an earlier run of a node without reading its record.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRun {
    /// As in the record.
    pub key: ActionKey,
    /// The digest of everything that its key depended on but the inputs, see [`crate::Components::own_digest`].
    pub own: Digest,
    /// As in the record's cost.
    pub wall_s: f64,
    /// As in the record.
    pub finished_unix_ms: u64,
}

/// What stands for a kind and a node's name; the first byte says in which file.
type NameHash = [u8; 8];

/// The earlier runs of nodes, read where they are asked for.
pub struct Past {
    files: Arc<Files>,
    read: HashMap<u8, HashMap<NameHash, Vec<PastRun>>>,
}

impl Past {
    /// Of a store that has no lines yet all records are read, once.
    pub(crate) fn open(files: &Arc<Files>) -> Result<Self, CacheError> {
        let mut past = Self {
            files: Arc::clone(files),
            read: HashMap::new(),
        };
        if files.disk.len(&files.layout.past_is_whole()).is_ok() {
            return Ok(past);
        }
        let mut all: BTreeMap<u8, String> = BTreeMap::new();
        for key in files.keys()? {
            if let Some(record) = files.sound_record(&key)? {
                let (first, line) = line(&record);
                all.entry(first).or_default().push_str(&line);
            }
        }
        if files.writable()
            && let Err(error) = save(files, &all)
        {
            tracing::debug!(%error, "the earlier runs of nodes are not saved");
        }
        let decoded = |first| decode(all.get(&first).map_or(&[], String::as_bytes));
        past.read = (0..=u8::MAX).map(|first| (first, decoded(first))).collect();
        Ok(past)
    }

    /// The earlier runs of nodes of that kind and name, newest first.
    pub fn of(&mut self, kind: &str, node: &str) -> &[PastRun] {
        let hash = hash(kind, node);
        let read = |first: &u8| match self.files.disk.read(&self.files.layout.past_from(*first)) {
            Ok(lines) => decode(&lines),
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                tracing::debug!(%error, "the earlier runs of some nodes cannot be read");
                HashMap::new()
            }
        };
        let file = self.read.entry(hash[0]).or_insert_with_key(read);
        file.get(&hash).map_or(&[], Vec::as_slice)
    }
}

/// Adds the line of a record that was just published. Where nobody has asked yet what ran before there is nothing to add to.
pub(crate) fn add(files: &Files, record: &Record) {
    let (first, line) = line(record);
    match files.disk.append(&files.layout.past_from(first), line.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot note what ran: the reason why a later node runs may be missing");
        }
        _ => {}
    }
}

/// What ran is read from the records again when it is next asked for.
pub(crate) fn forget(files: &Files) -> Result<(), CacheError> {
    files.remove(&files.layout.past_is_whole()).map(drop)
}

fn save(files: &Files, lines: &BTreeMap<u8, String>) -> Result<(), CacheError> {
    let layout = &files.layout;
    files.make_folder(&layout.past())?;
    let place = |path: PathBuf, bytes: &[u8]| {
        let placed = files.disk.place(&layout.staging(), &path, bytes, false);
        placed.map_err(|error| CacheError::io("write", &path, error))
    };
    for (first, lines) in lines {
        place(layout.past_from(*first), lines.as_bytes())?;
    }
    place(layout.past_is_whole(), &[])
}

fn hash(kind: &str, node: &str) -> NameHash {
    first_8(&Digest::of(format!("{kind}\0{node}").as_bytes()))
}

fn first_8(digest: &Digest) -> NameHash {
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk()
        .expect("BUG: a digest has 32 bytes");
    *first
}

/// Which file a record's line belongs in, and the line.
fn line(record: &Record) -> (u8, String) {
    let hash = hash(&record.kind, &record.node);
    let (own, took) = (record.components.own_digest(), record.cost.wall_s);
    let name = u64::from_be_bytes(hash);
    let body = format!("{name:016x} {} {own} {took} {}", record.key, record.finished_unix_ms);
    (hash[0], format!("{body} {:016x}\n", checksum(&body)))
}

fn checksum(body: &str) -> u64 {
    u64::from_be_bytes(first_8(&Digest::of(body.as_bytes())))
}

/// The runs of a file, by name, newest first; a line that is damaged or not finished is none.
fn decode(lines: &[u8]) -> HashMap<NameHash, Vec<PastRun>> {
    let mut all: HashMap<NameHash, Vec<PastRun>> = HashMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some((name, run)) = str::from_utf8(line).ok().and_then(decode_line) {
            all.entry(name).or_default().push(run);
        }
    }
    for runs in all.values_mut() {
        runs.sort_by(|a, b| b.finished_unix_ms.cmp(&a.finished_unix_ms).then(a.key.cmp(&b.key)));
    }
    all
}

fn decode_line(line: &str) -> Option<(NameHash, PastRun)> {
    let (body, sum) = line.rsplit_once(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != checksum(body) {
        return None;
    }
    let mut fields = body.split(' ');
    let name = u64::from_str_radix(fields.next()?, 16).ok()?.to_be_bytes();
    let run = PastRun {
        key: fields.next()?.parse().ok()?,
        own: fields.next()?.parse().ok()?,
        wall_s: fields.next()?.parse().ok()?,
        finished_unix_ms: fields.next()?.parse().ok()?,
    };
    Some((name, run))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Store;
    use crate::disk::sim::SimDisk;
    use crate::testing::{draft, open};

    fn runs(store: &Store) -> Vec<ActionKey> {
        let mut past = store.past().unwrap();
        past.of("finetune", "student").iter().map(|run| run.key).collect()
    }

    #[test]
    fn the_earlier_runs_of_a_node_are_found_by_its_kind_and_name() {
        let store = open(&SimDisk::default()).unwrap();
        assert_eq!(runs(&store), [], "asked of a new store");
        let mut published = Vec::new();
        for (time, lr) in [(1, 0.3), (2, 0.1), (3, 0.2)] {
            let (key, mut draft) = draft(lr, "content");
            draft.finished_unix_ms = time;
            store.publish(&key, &draft).unwrap();
            published.insert(0, key);
        }
        assert_eq!(runs(&store), published, "newest first");
        assert_eq!(store.past().unwrap().of("finetune", "teacher"), []);
        assert_eq!(store.past().unwrap().of("pretrain", "student"), []);
        let whole = store.files().layout.past_is_whole();
        for path in [&whole, &store.files().layout.past_from(hash("finetune", "student")[0])] {
            store.files().remove(path).unwrap();
        }
        assert_eq!(
            runs(&store),
            published,
            "from the records, as of a cache of an earlier version"
        );
        assert!(store.files().disk.len(&whole).is_ok(), "and kept");
    }

    proptest! {
        #[test]
        fn a_line_that_was_changed_is_none(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let store = open(&SimDisk::default()).unwrap();
            let (key, draft) = draft(0.1, "content");
            store.publish(&key, &draft).unwrap();
            let (_, line) = line(&store.record(&key).unwrap().unwrap());
            let whole = decode(line.as_bytes());
            prop_assert_eq!(whole.len(), 1);
            let mut changed = line.into_bytes();
            let at = at.index(changed.len());
            changed[at] = value;
            let read = decode(&changed);
            // The case of a hexadecimal digit says nothing.
            prop_assert!(read.is_empty() || read == whole);
        }
    }
}
