//! Caches that earlier versions wrote must keep opening, with every entry a hit.
//!
//! `fixtures/cache-1` and `fixtures/archive-1.tar.zst` are as the first version wrote them (layout 1, record schema 1, archive 1);
//! they are never written again. A new schema gets a fixture of its own, made by `make` below, beside the old ones.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{draft, files_under, nodes, open, publish};
use flow_cache::{ActionKey, KeyFields, Store};

/// The keys of the entries, written down when they were made: how keys are made now has no part in it.
const STUDENT: &str = "e37921657cfd4918b3d5ab337b4e06f4d9d2fdb7c073165eafa43c4e6bc2ba7e";
const TEACHER: &str = "45c39170821a6fa7a7a183fa68c47184ce6dfa95fcf05be92aec949878c6f2a2";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    for file in files_under(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// The student and its teacher are there as they were published.
fn holds_both(store: &Store) {
    let [student, teacher] = [STUDENT, TEACHER].map(|hex| hex.parse::<ActionKey>().unwrap());
    assert_eq!(nodes(&store.records().unwrap()), ["student[seed=0]", "teacher"]);
    assert_eq!(
        nodes(&store.query("metrics.accuracy > 0.4 order by node", &[]).unwrap()),
        ["student[seed=0]", "teacher"]
    );
    let artifact = store.lookup(&student).unwrap().expect("a hit");
    assert_eq!(artifact.read("model").unwrap(), b"student weights");
    assert_eq!(artifact.read("log").unwrap(), b"epoch 1\n");
    assert!(artifact.metrics()["diverged"].is_infinite() && artifact.metrics()["loss"].is_nan());
    let record = store.record(&student).unwrap().unwrap();
    assert_eq!(record.inputs, [teacher]);
    assert_eq!(record.components.get("param.optimizer.lr"), Some(&0.1.into()));
    assert_eq!(
        store.lookup(&teacher).unwrap().unwrap().read("model").unwrap(),
        b"teacher weights"
    );
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_cache_of_layout_1_opens_lists_hits_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixtures().join("cache-1"), dir.path());
    let store = open(dir.path());
    holds_both(&store);
    let marks = store.marks().unwrap();
    let teacher: ActionKey = TEACHER.parse().unwrap();
    assert_eq!(marks.tags["best"], teacher);
    assert_eq!(marks.pins[&teacher], "for the paper");
    assert_eq!(store.verify().unwrap().ok.len(), 2);
    assert!(
        files_under(&dir.path().join("quarantine")).is_empty(),
        "nothing was set aside"
    );
}

#[test]
fn an_archive_of_version_1_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(
        store
            .import(
                &fixtures().join("archive-1.tar.zst"),
                flow_cache::ArchiveLimits::DEFAULT
            )
            .unwrap()
            .new
            .len(),
        2
    );
    holds_both(&store);
}

#[test]
#[ignore = "makes a fixture of the present format, for a new schema: FLOW_FIXTURE names the directory"]
fn make() {
    let folder = PathBuf::from(std::env::var_os("FLOW_FIXTURE").expect("FLOW_FIXTURE names a directory"));
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (teacher, mut made) = draft("teacher", "teacher weights");
    made.finished_unix_ms = 1_000;
    publish(&store, &teacher, made.clone()).unwrap();
    let lr = serde_json::json!({ "lr": 0.1, "betas": [0.9, 0.999] });
    let input = flow_cache::Digest::of(b"teacher weights");
    let builder = KeyFields::new("finetune", 1)
        .param("optimizer", &lr)
        .input("teacher", 0, input, Some("teacher"));
    let (student, components) = builder.finish();
    made.node = "student[seed=0]".into();
    made.components = components;
    made.inputs = vec![teacher];
    made.files = vec![
        ("model".into(), b"student weights".to_vec()),
        ("log".into(), b"epoch 1\n".to_vec()),
    ];
    made.metrics.insert("loss".into(), f64::NAN);
    made.finished_unix_ms = 2_000;
    publish(&store, &student, made).unwrap();
    store.tag("best", &teacher).unwrap();
    store.pin(&teacher, "for the paper").unwrap();
    store
        .export(&store.records().unwrap(), &folder.join("archive-1.tar.zst"))
        .unwrap();
    for part in ["CACHEDIR.TAG", "journal"] {
        fs::create_dir_all(folder.join("cache-1")).unwrap();
        fs::copy(dir.path().join(part), folder.join("cache-1").join(part)).unwrap();
    }
    for part in ["blobs", "records", "tags", "pins"] {
        copy(&dir.path().join(part), &folder.join("cache-1").join(part));
    }
    println!("STUDENT {student}\nTEACHER {teacher}");
}
