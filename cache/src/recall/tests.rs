//! What may be recalled, and what must be looked up again.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Instant, SystemTime};

use super::*;
use crate::files::Access;
use crate::testing::{draft, publish};
use crate::{Draft, Store};

const NAME: &str = "workflow.toml";

fn open(root: &Path) -> Store {
    Store::open(root, Access::ReadWrite).unwrap()
}

/// A store with one entry that a run remembered, as if it had been published long before.
fn remembered(root: &Path) -> (ActionKey, Draft) {
    let store = open(root);
    let (key, draft) = draft(0.1, "content");
    let artifact = publish(&store, &key, &draft).unwrap();
    store.remember(NAME, &[&artifact]);
    settle(&store);
    (key, draft)
}

/// Makes what is remembered look as if it had been read long after it was written.
fn settle(store: &Store) {
    let files = store.files();
    let path = path(files, NAME);
    let mut all = decode(&fs::read(&path).unwrap()).unwrap();
    all.iter_mut().for_each(|one| one.stamp = one.stamp.settled());
    write(files, &path, &all).unwrap();
}

/// What is recalled of a key by a store that was opened just now.
fn recalled(root: &Path, key: &ActionKey, later: Duration) -> Option<Remembered> {
    let store = open(root);
    let mut recall = Recall::begin(store.files(), NAME);
    recall.take(store.files(), key, Instant::now() + later)
}

fn is_recalled(root: &Path, key: &ActionKey) -> bool {
    recalled(root, key, Duration::ZERO).is_some()
}

fn record_path(root: &Path, key: &ActionKey) -> PathBuf {
    open(root).files().layout.record(key)
}

#[test]
fn what_lies_there_as_it_did_is_recalled_once() {
    let dir = tempfile::tempdir().unwrap();
    let (key, draft) = remembered(dir.path());
    let store = open(dir.path());
    store.recall(NAME);
    let artifact = store.lookup(&key).unwrap().unwrap();
    assert!(artifact.is_recalled());
    assert!(crate::testing::holds(&artifact, &draft));
    assert!(!store.lookup(&key).unwrap().unwrap().is_recalled());
}

#[test]
fn a_record_changed_where_it_lies_is_not_recalled_though_its_folder_looks_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = remembered(dir.path());
    let path = record_path(dir.path(), &key);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("student", "teacher", 1)).unwrap();
    File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(!is_recalled(dir.path(), &key));
    let store = open(dir.path());
    store.recall(NAME);
    assert!(store.lookup(&key).unwrap().is_none(), "its checksum is looked at");
}

#[test]
fn a_record_read_within_the_clocks_tick_after_it_was_written_is_not_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, draft) = draft(0.1, "content");
    let artifact = publish(&store, &key, &draft).unwrap();
    store.remember(NAME, &[&artifact]);
    assert!(!is_recalled(dir.path(), &key));
}

#[test]
fn a_record_replaced_between_its_reading_and_the_end_of_the_run_is_not_recalled_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path()), open(dir.path()));
    let (key, first) = draft(0.1, "content");
    let (_, second) = draft(0.1, "other content");
    let read = publish(&store, &key, &first).unwrap();
    other.discard(&key, "a test says so").unwrap();
    publish(&other, &key, &second).unwrap();
    store.remember(NAME, &[&read]);
    settle(&store);
    store.recall(NAME);
    let found = store.lookup(&key).unwrap().unwrap();
    assert!(crate::testing::holds(&found, &second));
}

#[test]
fn an_entry_whose_outputs_are_gone_or_cut_is_not_recalled() {
    for cut in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (key, _) = remembered(dir.path());
        let blob = open(dir.path()).peek(&key).unwrap().unwrap().path("model").unwrap();
        if cut {
            fs::write(&blob, "cont").unwrap();
        } else {
            fs::remove_file(&blob).unwrap();
        }
        assert!(!is_recalled(dir.path(), &key));
    }
}

#[test]
fn what_goes_while_a_process_watches_is_not_recalled_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = remembered(dir.path());
    let store = open(dir.path());
    let mut recall = Recall::begin(store.files(), NAME);
    let nothing = draft(0.7, "").0;
    assert!(
        recall.take(store.files(), &nothing, Instant::now()).is_none(),
        "it is read"
    );
    let blob = store.peek(&key).unwrap().unwrap().path("log").unwrap();
    fs::remove_file(blob).unwrap();
    assert!(recall.take(store.files(), &key, Instant::now() + FRESH).is_none());
    assert!(recalled(dir.path(), &key, FRESH).is_none());
}

#[test]
fn wrong_bytes_of_the_right_length_never_come_out_of_what_was_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = remembered(dir.path());
    let store = open(dir.path());
    let blob = store.peek(&key).unwrap().unwrap().path("model").unwrap();
    fs::write(blob, "CONTENT").unwrap();
    store.recall(NAME);
    let artifact = store.lookup(&key).unwrap().unwrap();
    assert!(artifact.is_recalled(), "lengths are all that is looked at");
    assert!(matches!(artifact.read("model"), Err(crate::CacheError::Corrupt { .. })));
    store.discard(&key, "its bytes are wrong").unwrap();
    assert!(store.lookup(&key).unwrap().is_none());
}

#[test]
fn a_memory_that_is_damaged_or_of_another_version_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = remembered(dir.path());
    let path = path(open(dir.path()).files(), NAME);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        assert!(!is_recalled(dir.path(), &key), "byte {at}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(is_recalled(dir.path(), &key));
}

#[test]
fn a_run_that_took_only_what_was_remembered_writes_nothing_but_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = remembered(dir.path());
    let store = open(dir.path());
    let path = path(store.files(), NAME);
    File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let before = fs::read(&path).unwrap();
    store.recall(NAME);
    let artifact = store.lookup(&key).unwrap().unwrap();
    store.remember(NAME, &[&artifact]);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
    // Under another name it is something else.
    store.remember("other.toml", &[&artifact]);
    assert_eq!(fs::read_dir(dir.path().join("recall")).unwrap().count(), 2);
}
