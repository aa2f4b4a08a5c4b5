//! What the tests of the store share: small drafts in a directory of their own.
#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flow_cache::{Access, ActionKey, Artifact, CacheError, Cost, Draft, KeyFields, Record, Store};

/// Opens a store for reading and writing.
pub(crate) fn open(root: &Path) -> Store {
    Store::open(root, Access::ReadWrite).unwrap()
}

/// Opens a store for reading; it lists by the record files alone, never by the index.
pub(crate) fn open_read_only(root: &Path) -> Store {
    Store::open(root, Access::ReadOnly).unwrap()
}

/// A draft of `node`, whose file content follows from `content`.
pub(crate) fn draft(node: &str, content: &str) -> (ActionKey, Draft) {
    let (key, components) = KeyFields::new("finetune", 1).param("node", &node.into()).finish();
    let draft = Draft {
        kind: "finetune".into(),
        node: node.into(),
        workflow: "tests".into(),
        components,
        files: vec![("model".into(), content.as_bytes().to_vec())],
        metrics: BTreeMap::from([("accuracy".into(), 0.5), ("diverged".into(), f64::INFINITY)]),
        cost: Cost {
            wall_s: 1.5,
            threads: 2,
            peak_rss_bytes: Some(1 << 20),
        },
        finished_unix_ms: 1_000 + content.len() as u64,
        ..Draft::default()
    };
    (key, draft)
}

/// Looks up, and publishes what is missed.
pub(crate) fn publish(store: &Store, key: &ActionKey, draft: Draft) -> Result<Artifact, CacheError> {
    match store.lookup(key)? {
        Some(artifact) => Ok(artifact),
        None => store.publish(key, &draft),
    }
}

/// Publishes one draft of each node.
pub(crate) fn publish_all(store: &Store, nodes: &[&str]) {
    for node in nodes {
        let (key, draft) = draft(node, node);
        publish(store, &key, draft).unwrap();
    }
}

/// The nodes of some records, in their order.
pub(crate) fn nodes(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.node.as_str()).collect()
}

/// Every file under `dir`, sorted.
pub(crate) fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
