//! What is said of a store that is damaged or of another version, word for word: warnings, errors, and what a verification lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::claim::Claiming;
use crate::files::Files;
use crate::index::{of_panic, parse_key};
use crate::litter::Litter;
use crate::testing::{draft, warned, without_digests};
use crate::{Access, ActionKey, Digest, GcOptions, Store, panic_text};

/// A store with one entry, damaged in one way, and what is said when it is used.
struct Desk {
    dir: tempfile::TempDir,
    said: String,
}

impl Desk {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            said: String::new(),
        }
    }

    /// Damages a new store, then uses it.
    fn case(&mut self, about: &str, damage: impl FnOnce(&Path, &ActionKey), ask: impl FnOnce(&Path, &ActionKey)) {
        let root = self.dir.path().join(about.replace(' ', "-"));
        let (key, draft) = draft(0.5, "content");
        let store = Store::open(&root, Access::ReadWrite).unwrap();
        store.publish(&key, &draft).unwrap();
        drop(store);
        damage(&root, &key);
        let said = warned(&root, || ask(&root, &key));
        self.said.push_str(&format!("--- {about}\n{said}\n"));
    }
}

fn open(root: &Path) -> Store {
    Store::open(root, Access::ReadWrite).unwrap()
}

fn record_path(root: &Path, key: &ActionKey) -> PathBuf {
    let hex = key.to_string();
    root.join("records").join(&hex[..2]).join(format!("{hex}.json"))
}

/// Rewrites a record's fields, its checksum fitting.
fn reword(root: &Path, key: &ActionKey, old: &str, new: &str) {
    let path = record_path(root, key);
    let text = fs::read_to_string(&path).unwrap();
    let (fields, _) = text.rsplit_once(",\n  \"checksum\"").unwrap();
    assert!(fields.contains(old), "no {old} in {fields}");
    let fields = fields.replace(old, new);
    let sum = Digest::of(fields.as_bytes());
    fs::write(path, format!("{fields},\n  \"checksum\": \"{sum}\"\n}}\n")).unwrap();
}

/// Puts a directory in the place of a file.
fn directory_for(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.join("x")).unwrap();
}

/// Changes what sled holds, after the index was made.
fn in_index(root: &Path, change: impl FnOnce(&sled::Db)) {
    open(root).records().unwrap();
    let db = std::iter::repeat_with(|| sled::open(root.join("index")))
        .find_map(Result::ok)
        .unwrap();
    change(&db);
    db.flush().unwrap();
}

fn list(root: &Path, _: &ActionKey) {
    open(root).records().unwrap();
}

fn ask_for_a_field(root: &Path, _: &ActionKey) {
    open(root).query("node = student", &["finetune"]).unwrap();
}

#[test]
fn every_warning_of_a_damaged_entry_says_what_is_wrong_and_what_is_done() {
    let mut desk = Desk::new();
    let look = |root: &Path, key: &ActionKey| drop(open(root).lookup(key).unwrap());
    let model = |root: &Path| {
        let hex = Digest::of(b"content").to_string();
        root.join("blobs").join(&hex[..2]).join(hex)
    };
    desk.case("a cut output", |root, _| fs::write(model(root), "c").unwrap(), look);
    desk.case("an output that is none", |root, _| directory_for(&model(root)), look);
    desk.case(
        "a cut record",
        |root, key| fs::write(record_path(root, key), "{").unwrap(),
        look,
    );
    desk.case(
        "a store that is only read",
        |root, _| fs::write(model(root), "c").unwrap(),
        |root, key| drop(Store::open(root, Access::ReadOnly).unwrap().lookup(key).unwrap()),
    );
    let other = draft(0.6, "x").0;
    desk.case(
        "a record under another key",
        |root, key| {
            let to = record_path(root, &other);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(record_path(root, key), to).unwrap();
        },
        list,
    );
    desk.case(
        "a record of tomorrow",
        |root, key| reword(root, key, "\"schema\": 1", "\"schema\": 9"),
        |root, _| drop(Store::open(root, Access::ReadOnly).unwrap().records().unwrap()),
    );
    desk.case(
        "a metric that is none",
        |root, key| reword(root, key, "\"metrics\": {}", "\"metrics\": {\"a\": \"high\"}"),
        list,
    );
    desk.case(
        "others after a collection",
        |root, _| {
            let all = GcOptions {
                max_bytes: Some(0),
                delete: true,
                ..GcOptions::default()
            };
            assert_eq!(open(root).gc(&all).unwrap().collected.len(), 1);
        },
        |root, key| {
            open(root).publish(key, &draft(0.5, "others").1).unwrap();
        },
    );
    insta::assert_snapshot!(desk.said);
}

#[test]
fn every_warning_of_a_damaged_file_beside_says_what_is_wrong_and_what_is_done() {
    let mut desk = Desk::new();
    desk.case(
        "a configuration of tomorrow",
        |root, _| fs::write(root.join("config"), "{\"version\":9,\"sharing\":\"group\"}").unwrap(),
        |root, _| drop(open(root)),
    );
    for place in ["journal", "past", "names"] {
        desk.case(
            &format!("a directory for {place}"),
            |root, key| {
                let past = root.join("past");
                match place {
                    "past" => {
                        let store = open(root);
                        drop(store.past().unwrap());
                        drop(store);
                        let files = fs::read_dir(past).unwrap().map(|file| file.unwrap().path());
                        files
                            .filter(|file| file.is_file())
                            .for_each(|file| directory_for(&file));
                        (0..=255).for_each(|first| directory_for(&root.join(format!("past/{first:02x}"))));
                    }
                    place => directory_for(&root.join(place)),
                }
                let _ = key;
            },
            |root, key| {
                let store = open(root);
                let (more, draft) = draft(0.7, "more");
                store.publish(&more, &draft).unwrap();
                store.also_called([(*key, "alias")].into_iter());
            },
        );
    }
    let later = |name: &'static str| {
        move |root: &Path, key: &ActionKey| {
            let store = open(root);
            directory_for(&root.join(name));
            let (more, draft) = draft(0.7, "more");
            store.publish(&more, &draft).unwrap();
            store.also_called([(*key, "alias")].into_iter());
            store.records().unwrap();
        }
    };
    desk.case("a directory for journal, made later", |_, _| {}, later("journal"));
    desk.case("a directory for names, made later", |_, _| {}, later("names"));
    desk.case("a lock that is none, made later", |_, _| {}, later("lock"));
    desk.case("a lock that is none", |root, _| directory_for(&root.join("lock")), list);
    desk.case(
        "a checkpoint of another action",
        |root, key| fs::create_dir_all(root.join("scratch").join(key.to_string())).unwrap(),
        |root, key| {
            fs::write(root.join("scratch").join(key.to_string()).join("step"), "torn").unwrap();
            assert!(open(root).scratch(key).load("step").unwrap().is_none());
        },
    );
    desk.case(
        "a checkpoint that stays",
        |root, _| {
            let key = draft(0.8, "x").0;
            fs::write(root.join("scratch").join(key.to_string()), "no directory").unwrap();
        },
        |root, _| {
            let (key, draft) = draft(0.8, "x");
            open(root).publish(&key, &draft).unwrap();
        },
    );
    insta::assert_snapshot!(desk.said);
}

#[test]
fn every_warning_of_a_damaged_index_says_what_is_wrong_and_what_is_done() {
    let mut desk = Desk::new();
    let garbage = |tree: &'static str, key: Vec<u8>| {
        move |root: &Path, _: &ActionKey| {
            in_index(root, |db| {
                db.open_tree(tree).unwrap().insert(key, "garbage").unwrap();
            });
        }
    };
    let entry = draft(0.5, "").0.digest().as_bytes().to_vec();
    desk.case("an entry of garbage", garbage("records", entry), list);
    desk.case("a key of garbage", garbage("records", b"short".to_vec()), list);
    let column = [b"node\0".as_slice(), &[0; 4]].concat();
    desk.case("a column of garbage", garbage("columns", column), ask_for_a_field);
    desk.case(
        "a column's name of garbage",
        garbage("columns", b"node\0".to_vec()),
        ask_for_a_field,
    );
    desk.case(
        "an index of another version",
        |root, _| in_index(root, |db| drop(db.insert("layout", &[9_u8]).unwrap())),
        list,
    );
    insta::assert_snapshot!(desk.said);
}

#[test]
fn what_the_store_says_of_others_and_of_itself_reads_as_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (key, mut twice) = draft(0.5, "content");
    let mut said = Vec::new();
    let _claim = store.claim(&key).unwrap();
    if let Claiming::Held(holder) = store.claim(&key).unwrap() {
        said.push(format!("waiting for {holder}"));
    }
    said.push(format!("panicked: {}", panic_text(&5)));
    let file = twice.files[0].clone();
    twice.files.push(file);
    said.push(store.publish(&key, &twice).unwrap_err().to_string());
    let (slow, mut late) = draft(0.6, "content");
    late.until = Some(Instant::now());
    said.push(store.publish(&slow, &late).unwrap_err().to_string());
    said.push(of_panic(&"assertion failed").to_string());
    said.extend(parse_key(b"short").err().map(|error| error.to_string()));
    let litter = Litter {
        paths: vec![PathBuf::from("cache/quarantine/stuck")],
        bytes: 0,
    };
    let files: &Files = store.files();
    said.push(warned(dir.path(), || litter.remove(files)));
    let (kept, draft) = draft(0.7, "content");
    store.publish(&kept, &draft).unwrap();
    reword(store.root(), &kept, "\"schema\": 1", "\"schema\": 9");
    let found = store.verify().unwrap();
    said.extend(
        found
            .unreadable
            .iter()
            .map(|fault| format!("{} {}", fault.key, fault.why)),
    );
    insta::assert_snapshot!(without_digests(&said.join("\n")));
}
