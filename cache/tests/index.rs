//! The index is never the truth: whatever happens to it, the listing is that of the record files.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::fs;
use std::path::Path;

use common::{draft, files_under, nodes, open, open_read_only, publish, publish_all};

const NODES: [&str; 5] = ["a", "bb", "ccc", "dddd", "eeeee"];

/// A store whose index has been made.
fn indexed(root: &Path) {
    let store = open(root);
    publish_all(&store, &NODES);
    assert_eq!(store.records().unwrap().len(), NODES.len());
    assert!(root.join("index").is_dir());
}

/// The listing through the index is that of a store that reads the record files, and everything is a hit.
fn lists_the_truth(root: &Path, context: &str) {
    let store = open(root);
    let listed = store.records().unwrap();
    assert_eq!(listed, open_read_only(root).records().unwrap(), "{context}");
    assert_eq!(listed.len(), NODES.len(), "{context}");
    for node in NODES {
        assert!(store.lookup(&draft(node, node).0).unwrap().is_some(), "{context}");
    }
    assert_eq!(nodes(&store.query("node = ccc", &[]).unwrap()), ["ccc"], "{context}");
}

#[test]
fn a_deleted_index_is_rebuilt_to_the_same_hits_and_listing() {
    let dir = tempfile::tempdir().unwrap();
    indexed(dir.path());
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    lists_the_truth(dir.path(), "deleted");
}

#[test]
fn a_garbled_index_is_rebuilt_to_the_same_hits_and_listing() {
    for garble in ["db", "conf", "snap", "everything", "a file"] {
        let dir = tempfile::tempdir().unwrap();
        indexed(dir.path());
        let index = dir.path().join("index");
        if garble == "a file" {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, "no directory").unwrap();
        } else {
            for file in files_under(&index) {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                if garble == "everything" || name.starts_with(garble) {
                    let length = fs::metadata(&file).unwrap().len() as usize;
                    let noise: Vec<u8> = (0..length)
                        .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
                        .collect();
                    fs::write(&file, noise).unwrap();
                }
            }
        }
        lists_the_truth(dir.path(), garble);
    }
}

#[test]
fn an_index_cut_short_or_with_flipped_bytes_never_lists_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    indexed(dir.path());
    let db = dir.path().join("index/db");
    let whole = fs::read(&db).unwrap();
    let used = whole.iter().rposition(|b| *b != 0).unwrap();
    for tenth in 0..10 {
        let at = used * tenth / 10;
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        fs::write(&db, &flipped).unwrap();
        lists_the_truth(dir.path(), &format!("byte {at} of {used} flipped"));
    }
    fs::write(&db, &whole[..used / 2]).unwrap();
    lists_the_truth(dir.path(), "cut in half");
}

#[test]
fn a_commit_that_never_reached_the_journal_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    indexed(dir.path());
    for journal in [None, Some("torn"), Some("torn\n"), Some("0123456789abcdef\nno key\n")] {
        let (key, _) = draft("a", "a");
        let store = open(dir.path());
        store.discard(&key, "to be published again").unwrap();
        let listed = store.records().unwrap();
        assert_eq!(listed.len(), NODES.len() - 1, "the discarded record is not listed");
        publish_all(&store, &["a"]);
        drop(store);
        let path = dir.path().join("journal");
        match journal {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        lists_the_truth(dir.path(), &format!("{journal:?}"));
    }
}

#[test]
fn an_open_index_sees_the_commits_of_others_even_behind_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, other) = (open(dir.path()), open(dir.path()));
    publish_all(&holder, &["a"]);
    assert_eq!(nodes(&holder.records().unwrap()), ["a"]);
    publish_all(&other, &["bb"]);
    assert_eq!(nodes(&holder.records().unwrap()), ["bb", "a"]);
    let journal = dir.path().join("journal");
    let torn = [fs::read(&journal).unwrap(), b"0123".to_vec()].concat();
    fs::write(&journal, torn).unwrap();
    publish_all(&other, &["ccc"]);
    assert_eq!(nodes(&holder.records().unwrap()), ["ccc", "bb", "a"]);
}

#[test]
fn a_record_too_long_for_the_index_is_listed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, mut new) = draft("wide", "wide");
    new.inputs = (0..200).map(|i| draft(&i.to_string(), "").0).collect();
    publish(&store, &key, new.clone()).unwrap();
    for _ in 0..2 {
        let listed = store.records().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].inputs, new.inputs);
    }
    let mut later = store.record(&key).unwrap().unwrap();
    (later.key, later.started_unix_ms) = (draft("other", "").0, u64::MAX);
    assert!(store.nearest(&later).unwrap().is_some());
}

#[test]
fn a_rebuild_by_hand_counts_the_records() {
    let dir = tempfile::tempdir().unwrap();
    indexed(dir.path());
    let store = open(dir.path());
    assert_eq!(store.rebuild_index().unwrap(), NODES.len());
    assert_eq!(store.rebuild_index().unwrap(), NODES.len(), "also while it is open");
    drop(store);
    lists_the_truth(dir.path(), "rebuilt");
}

/// A record with parameters of every sort, chosen by `i`.
fn varied(store: &flow_cache::Store, i: usize) {
    use serde_json::json;
    let (_, mut new) = draft(&format!("n{}", i % 7), &format!("content {i}"));
    let sort = match i % 5 {
        0 => json!(true),
        1 => json!("x".repeat(i)),
        2 => json!([1, "two"]),
        3 => json!(null),
        _ => json!(0.5 * i as f64),
    };
    let builder = flow_cache::KeyFields::new("finetune", 1)
        .param("i", &json!(i))
        .param("sort", &sort);
    let builder = if i.is_multiple_of(3) {
        builder.param("extra", &json!({"deep": i % 4}))
    } else {
        builder
    };
    let (key, components) = builder.finish();
    new.components = components;
    new.finished_unix_ms = 1_000 + (i % 11) as u64;
    new.metrics.insert(
        "loss".into(),
        if i.is_multiple_of(6) { f64::NAN } else { 1.0 / i as f64 },
    );
    publish(store, &key, new).unwrap();
}

/// What a query selects, in its order. By keys: a metric that is no number equals nothing.
fn keys(store: &flow_cache::Store, query: &str) -> Vec<String> {
    store
        .query(query, &[])
        .unwrap()
        .iter()
        .map(|record| record.key.short())
        .collect()
}

#[test]
fn a_query_by_columns_selects_what_the_records_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // More than one chunk of columns, in several steps, with some removed and added again.
    for part in 0..3 {
        (part * 220..part * 220 + 220).for_each(|i| varied(&store, i));
        let some = store.records().unwrap();
        store.discard(&some[part].key, "a test").unwrap();
        store.discard(&some[100 + part].key, "a test").unwrap();
    }
    varied(&store, 3);
    let truth = open_read_only(dir.path());
    for query in [
        "kind = finetune and params.i <= 100 and metrics.loss > 0.02 order by metrics.loss desc",
        "params.sort = true",
        "params.sort = \"xxxxxx\" or params.i = 640",
        "params.sort ~ two order by params.i limit 7",
        "params.sort ~ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "params.sort > 3 and not params.extra.deep = 2 order by params.extra.deep, node desc",
        "not metrics.loss = 0.5",
        "node = n3 order by cost.wall_s, size desc limit 20",
        "key = 0 or key = a",
        "order by params.sort",
        "finished >= 1970-01-01 limit 5",
        "params.nothing = 1",
        "limit 0",
    ] {
        assert_eq!(keys(&store, query), keys(&truth, query), "{query}");
    }
    drop(store);
    let again = open(dir.path());
    let all = "params.i >= 0";
    assert_eq!(keys(&again, all), keys(&truth, all), "after reopening");
}
