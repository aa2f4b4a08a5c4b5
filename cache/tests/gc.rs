//! What a collection takes and what it leaves, whatever else is going on.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{draft, files_under, open, publish};
use flow_cache::{ActionKey, CacheError, Draft, GcOptions, GcReport, Store};

/// An entry of `bytes` bytes that took `wall_s` seconds and finished `age_s` seconds ago.
fn entry(node: &str, bytes: usize, wall_s: f64, age_s: u64) -> (ActionKey, Draft) {
    let (key, mut draft) = draft(node, &node.repeat(bytes.div_ceil(node.len()))[..bytes]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    draft.cost.wall_s = wall_s;
    draft.finished_unix_ms = now - age_s * 1000;
    (key, draft)
}

/// `cheap` and `dear` of 1000 bytes, made in 1 and 100 seconds; `old` of 10 bytes, a year ago.
fn filled(root: &Path) -> (Store, [ActionKey; 3]) {
    let store = open(root);
    let entries = [
        entry("cheap", 1000, 1.0, 60),
        entry("dear", 1000, 100.0, 60),
        entry("old", 10, 50.0, 31_536_000),
    ];
    let keys = entries.map(|(key, draft)| {
        publish(&store, &key, draft).unwrap();
        key
    });
    (store, keys)
}

fn is_hit(store: &Store, key: &ActionKey) -> bool {
    store.lookup(key).unwrap().is_some()
}

fn cap(max_bytes: u64) -> GcOptions {
    GcOptions {
        max_bytes: Some(max_bytes),
        delete: true,
        ..GcOptions::default()
    }
}

#[test]
fn what_is_cheapest_to_make_again_for_its_size_goes_first_and_its_record_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, dear, old]) = filled(dir.path());
    let planned = store
        .gc(&GcOptions {
            delete: false,
            ..cap(1500)
        })
        .unwrap();
    assert!(is_hit(&store, &cheap), "nothing is changed unless asked for");
    let report = store.gc(&cap(1500)).unwrap();
    let but_for_age = |report: &GcReport| {
        let mut collected = report.collected.clone();
        collected.iter_mut().for_each(|entry| entry.age_s = 0.0);
        collected
    };
    assert_eq!(but_for_age(&report), but_for_age(&planned));
    assert_eq!(report.collected.iter().map(|c| c.key).collect::<Vec<_>>(), [cheap]);
    assert_eq!(
        (report.freed_bytes, report.kept_bytes, report.over_bytes),
        (1000, 1010, 0)
    );
    let store = open(dir.path());
    assert!(!is_hit(&store, &cheap) && is_hit(&store, &dear) && is_hit(&store, &old));
    assert!(store.record(&cheap).unwrap().is_some() && store.is_collected(&cheap));
    assert_eq!(common::nodes(&store.query("collected = true", &[]).unwrap()), ["cheap"]);
    assert!(store.verify().unwrap().is_sound(), "collected is not damaged");
    assert!(
        !dir.path().join("quarantine").read_dir().unwrap().any(|_| true),
        "nothing was set aside"
    );
}

#[test]
fn a_collected_entry_that_is_made_again_is_as_if_it_had_never_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, ..]) = filled(dir.path());
    let before = store.record(&cheap).unwrap();
    store.gc(&cap(0)).unwrap();
    let (_, again) = entry("cheap", 1000, 3.0, 0);
    let artifact = publish(&store, &cheap, again).unwrap();
    assert_eq!(artifact.read("model").unwrap().len(), 1000);
    assert!(is_hit(&open(dir.path()), &cheap) && !store.is_collected(&cheap));
    assert_eq!(store.record(&cheap).unwrap(), before, "the first record stands");
    // Other bytes now: nobody can compare them with those that are gone, so they are taken.
    store.gc(&cap(0)).unwrap();
    let (_, other) = draft("cheap", "something else");
    assert_eq!(
        publish(&store, &cheap, other).unwrap().read("model").unwrap(),
        b"something else"
    );
}

#[test]
fn age_counts_from_the_last_use_and_a_clock_set_back_makes_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, dear, old]) = filled(dir.path());
    let by_age = |seconds: f64| GcOptions {
        older_than_s: Some(seconds),
        delete: true,
        ..GcOptions::default()
    };
    // A run that took `old` just now.
    let artifact = store.peek(&old).unwrap().unwrap();
    store.remember("workflow", &[&artifact]);
    assert_eq!(store.gc(&by_age(86400.0)).unwrap().collected, []);
    std::fs::remove_dir_all(dir.path().join("recall")).unwrap();
    let gone = store.gc(&by_age(86400.0)).unwrap().collected;
    assert_eq!(gone.iter().map(|c| c.key).collect::<Vec<_>>(), [old]);
    // Entries from the future, as a clock that was set back makes them, are new.
    let (key, mut future) = draft("future", "x");
    future.finished_unix_ms = u64::MAX / 4;
    publish(&store, &key, future).unwrap();
    assert_eq!(store.gc(&by_age(120.0)).unwrap().collected, []);
    assert!(is_hit(&store, &cheap) && is_hit(&store, &dear) && is_hit(&store, &key));
}

#[test]
fn pins_tags_named_runs_and_runs_under_way_keep_their_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, dear, old]) = filled(dir.path());
    let (leased, new) = draft("leased", "leased");
    publish(&store, &leased, new).unwrap();
    store.pin(&cheap, "for the paper").unwrap();
    store.tag("best", &dear).unwrap();
    let mut lease = open(dir.path()).lease();
    lease.add([&leased]);
    let options = GcOptions {
        keep: BTreeSet::from([old]),
        ..cap(0)
    };
    let report = store.gc(&options).unwrap();
    assert_eq!((report.collected.len(), report.protected), (0, 4));
    assert_eq!(report.over_bytes, 2016);
    drop(lease);
    store.unpin(&cheap).unwrap();
    store.untag("best").unwrap();
    let report = store.gc(&options).unwrap();
    assert_eq!(report.collected.len(), 3);
    assert!(is_hit(&open(dir.path()), &old));
}

#[test]
fn a_lease_of_a_dead_process_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, ..]) = filled(dir.path());
    std::fs::create_dir_all(dir.path().join("leases")).unwrap();
    std::fs::write(dir.path().join("leases/1-0"), cheap.digest().as_bytes()).unwrap();
    assert_eq!(store.gc(&cap(0)).unwrap().collected.len(), 3);
    assert!(files_under(&dir.path().join("leases")).is_empty());
}

#[test]
fn a_blob_that_two_entries_share_goes_with_the_last_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, mut first) = draft("one", "shared");
    let (two, mut second) = draft("two", "shared");
    first.cost.wall_s = 1.0;
    second.cost.wall_s = 2.0;
    publish(&store, &one, first).unwrap();
    publish(&store, &two, second).unwrap();
    store.pin(&two, "").unwrap();
    let report = store.gc(&cap(0)).unwrap();
    assert_eq!(
        (report.collected.len(), report.freed_bytes, report.kept_bytes),
        (1, 0, 6)
    );
    assert!(is_hit(&open(dir.path()), &two));
    store.unpin(&two).unwrap();
    assert_eq!(store.gc(&cap(0)).unwrap().kept_bytes, 0);
    assert!(files_under(&dir.path().join("blobs")).is_empty());
}

#[test]
fn blobs_that_a_crash_left_go_and_a_collection_that_was_killed_lost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, ..]) = filled(dir.path());
    let orphan = flow_cache::Digest::of(b"orphan").to_string();
    std::fs::create_dir_all(dir.path().join("blobs").join(&orphan[..2])).unwrap();
    let path = dir.path().join("blobs").join(&orphan[..2]).join(&orphan);
    std::fs::write(&path, "orphan").unwrap();
    // Killed after the mark and before the blob: the entry is whole, and the mark counts for nothing.
    std::fs::create_dir_all(dir.path().join("collected")).unwrap();
    std::fs::write(dir.path().join("collected").join(cheap.to_string()), "").unwrap();
    assert!(is_hit(&open(dir.path()), &cheap));
    let report = store.gc(&cap(1 << 30)).unwrap();
    assert_eq!((report.collected.len(), report.orphans, report.freed_bytes), (0, 1, 6));
    assert!(!path.exists());
}

#[test]
fn a_run_that_publishes_while_another_process_collects_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let collecting = std::thread::spawn(move || {
        let store = open(&root);
        for _ in 0..40 {
            store.gc(&cap(0)).unwrap();
        }
    });
    let store = open(dir.path());
    let mut lease = store.lease();
    let mut keys = Vec::new();
    for i in 0..40 {
        // All share one blob, which the collector would love to have.
        let (key, new) = draft(&format!("n{i}"), "shared");
        lease.add([&key]);
        publish(&store, &key, new).unwrap();
        keys.push(key);
    }
    collecting.join().unwrap();
    for key in keys {
        let artifact = open(dir.path()).peek(&key).unwrap().expect("it is leased");
        assert_eq!(artifact.read("model").unwrap(), b"shared");
    }
}

#[test]
fn a_tag_stands_for_its_entry_and_cannot_be_taken_for_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, dear, _]) = filled(dir.path());
    store.tag("best", &cheap).unwrap();
    assert_eq!(common::nodes(&store.find("best").unwrap()), ["cheap"]);
    store.tag("best", &dear).unwrap();
    assert_eq!(common::nodes(&open(dir.path()).find("best").unwrap()), ["dear"]);
    for name in ["", "a/b", "..", ".x", "abcd", "a b"] {
        assert!(
            matches!(store.tag(name, &cheap), Err(CacheError::InvalidTag { .. })),
            "{name}"
        );
    }
    assert!(store.untag("best").unwrap() && !store.untag("best").unwrap());
}

/// Where the record of a key lies.
fn record_path(root: &Path, key: &ActionKey) -> std::path::PathBuf {
    let hex = key.to_string();
    root.join("records").join(&hex[..2]).join(format!("{hex}.json"))
}

/// Makes a record what a newer version of flow would write: another schema, with a checksum that fits.
fn of_a_newer_version(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replacen("\"schema\": 1", "\"schema\": 99,\n  \"news\": [1, 2]", 1);
    let (fields, _) = text.rsplit_once(",\n  \"checksum\"").unwrap();
    let checksum = flow_cache::Digest::of(fields.as_bytes());
    std::fs::write(path, format!("{fields},\n  \"checksum\": \"{checksum}\"\n}}\n")).unwrap();
}

#[test]
fn a_collection_never_takes_the_blobs_of_records_that_it_cannot_read() {
    for newer in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (store, [cheap, dear, old]) = filled(dir.path());
        // An entry that can be read shares a blob with the one that cannot.
        let (twin, mut same) = draft("twin", "");
        same.files = entry("dear", 1000, 1.0, 60).1.files;
        publish(&store, &twin, same).unwrap();
        let blob = store.peek(&dear).unwrap().unwrap().path("model").unwrap();
        // An index that knows the record does not help.
        assert_eq!(store.records().unwrap().len(), 4);
        let path = record_path(dir.path(), &dear);
        if newer {
            of_a_newer_version(&path);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen("finetune", "finetunE", 1)).unwrap();
        }
        let orphan = dir.path().join("blobs/00").join(format!("00{}", "7".repeat(62)));
        std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
        std::fs::write(&orphan, "whose?").unwrap();

        let report = store.gc(&cap(0)).unwrap();
        assert_eq!((report.unreadable, report.orphans), (1, 0));
        assert!(blob.exists() && orphan.exists() && path.exists());
        assert!(![cheap, old].iter().any(|key| is_hit(&store, key)), "the others go");
        // Without it, what it kept goes as well.
        std::fs::remove_file(&path).unwrap();
        let report = store.gc(&cap(0)).unwrap();
        assert_eq!(report.unreadable, 0);
        assert!(!blob.exists() && !orphan.exists());
    }
}

#[test]
fn a_record_that_the_system_does_not_let_us_read_ends_a_collection_before_anything_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, dear, _]) = filled(dir.path());
    let blobs = files_under(&dir.path().join("blobs"));
    // A directory in its place cannot be read by anyone, whatever their rights.
    let path = record_path(dir.path(), &dear);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = store.gc(&cap(0)).unwrap_err().to_string();
    assert!(error.contains(&dear.to_string()), "{error}");
    assert_eq!(files_under(&dir.path().join("blobs")), blobs);
    assert!(is_hit(&store, &cheap) && !store.is_collected(&cheap));
}

#[test]
fn a_record_made_anew_behind_the_indexs_back_keeps_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [cheap, ..]) = filled(dir.path());
    assert_eq!(store.records().unwrap().len(), 3, "they are indexed");
    let journal = std::fs::read(dir.path().join("journal")).unwrap();
    let other = open(dir.path());
    other.discard(&cheap, "a test says so").unwrap();
    let (_, anew) = draft("cheap", "other content");
    publish(&other, &cheap, anew).unwrap();
    // The process died before it reached the journal.
    std::fs::write(dir.path().join("journal"), journal).unwrap();
    store.gc(&cap(1 << 30)).unwrap();
    assert!(is_hit(&store, &cheap));
    assert_eq!(
        store.peek(&cheap).unwrap().unwrap().read("model").unwrap(),
        b"other content"
    );
}
