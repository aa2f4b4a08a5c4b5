//! `flow cache export` and `import`: entries from one cache to another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow_cache::{ActionKey, ArchiveError, ArchiveLimits, Record, Store};

use crate::cli::ImportArgs;
use crate::exit::{Exit, Failure};
use crate::output::{bytes, count, say};

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Cache(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

/// Writes entries, and on request all that they were made from, to an archive.
pub(super) fn export(store: &Store, entries: Vec<Record>, with_inputs: bool, output: &Path) -> Result<Exit, Failure> {
    let mut records: BTreeMap<ActionKey, Record> = BTreeMap::new();
    let mut open = entries;
    let asked: BTreeSet<ActionKey> = open.iter().map(|record| record.key).collect();
    while let Some(record) = open.pop() {
        if with_inputs {
            for input in record.inputs.iter().filter(|key| !records.contains_key(*key)) {
                open.extend(store.record(input)?);
            }
        }
        // What an entry was made from may be gone; what was asked for may not.
        if store.peek(&record.key)?.is_some() {
            records.insert(record.key, record);
        } else if asked.contains(&record.key) {
            return Err(gone(&record));
        }
    }
    let records: Vec<Record> = records.into_values().collect();
    let size = store.export(&records, output)?;
    say(&format!(
        "{}, {} in {}",
        count(records.len(), "entry", "entries"),
        bytes(size),
        output.display()
    ));
    Ok(Exit::Ok)
}

/// An entry has only its record left.
pub(super) fn gone(record: &Record) -> Failure {
    Failure::Other {
        exit: Exit::Failed,
        message: format!(
            "the outputs of {} ({}) are no longer in the cache",
            record.node,
            record.key.short()
        ),
        help: Some("run its workflow: what is missing is computed again".to_owned()),
    }
}

/// Takes an archive in.
pub(super) fn import(store: &Store, args: &ImportArgs) -> Result<Exit, Failure> {
    let limits = ArchiveLimits {
        entries: args.max_entries,
        bytes: args.max_size,
        record_bytes: args.max_record_size,
        ratio: args.max_ratio,
    };
    let imported = store.import(&args.archive, limits)?;
    say(&format!(
        "imported {}, {} already present",
        imported.new.len(),
        imported.known.len()
    ));
    Ok(Exit::Ok)
}
