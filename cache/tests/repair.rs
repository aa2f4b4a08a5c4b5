//! Verification and repair beside everything else, and of whatever lies in a file's place.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{draft, files_under, open, publish, publish_all};
use flow_cache::{Access, CacheError, Claiming, Digest, GcOptions, Sharing, Store};

fn blob(root: &Path, content: &str) -> PathBuf {
    let hex = Digest::of(content.as_bytes()).to_string();
    root.join("blobs").join(&hex[..2]).join(hex)
}

fn record(root: &Path, node: &str) -> PathBuf {
    let hex = draft(node, node).0.to_string();
    root.join("records").join(&hex[..2]).join(hex + ".json")
}

fn aside(root: &Path) -> usize {
    fs::read_dir(root.join("quarantine")).unwrap().count()
}

/// What a program may have left in a file's place.
fn replace(path: &Path, what: &str) {
    fs::remove_file(path).unwrap();
    match what {
        "a directory" => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "x").unwrap();
        }
        #[cfg(unix)]
        "a pipe" => assert!(
            std::process::Command::new("mkfifo")
                .arg(path)
                .status()
                .unwrap()
                .success()
        ),
        #[cfg(unix)]
        "a link to nowhere" => std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
        #[cfg(unix)]
        "an endless device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
#[cfg(unix)]
fn whatever_lies_in_a_files_place_is_set_aside_and_ends_no_repair() {
    for what in ["a directory", "a pipe", "a link to nowhere", "an endless device"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish_all(&store, &["blob", "record", "flipped", "sound"]);
        replace(&blob(dir.path(), "blob"), what);
        replace(&record(dir.path(), "record"), what);
        fs::write(blob(dir.path(), "flipped"), "flippeD").unwrap();
        // Something of these names was set aside before.
        let earlier = dir.path().join("quarantine");
        fs::write(earlier.join(blob(dir.path(), "blob").file_name().unwrap()), "earlier").unwrap();

        let report = store.repair().unwrap();
        assert_eq!(report.ok, [draft("sound", "").0], "{what}: {report:?}");
        let store = open(dir.path());
        let again = store.verify().unwrap();
        assert!(again.is_sound() && again.unreadable.is_empty(), "{what}: {again:?}");
        for node in ["blob", "record", "flipped"] {
            let (key, new) = draft(node, node);
            assert_eq!(
                publish(&store, &key, new).unwrap().read("model").unwrap(),
                node.as_bytes(),
                "{what}"
            );
        }
        assert_eq!(store.verify().unwrap().ok.len(), 4, "{what}");
    }
}

#[test]
#[cfg(unix)]
fn whatever_lies_in_a_files_place_is_a_miss_that_a_run_makes_anew() {
    for what in ["a directory", "a pipe", "a link to nowhere", "an endless device"] {
        let dir = tempfile::tempdir().unwrap();
        publish_all(&open(dir.path()), &["a", "b"]);
        replace(&blob(dir.path(), "a"), what);
        replace(&record(dir.path(), "b"), what);
        let store = open(dir.path());
        assert_eq!(common::nodes(&store.records().unwrap()), ["a"], "{what}");
        publish_all(&store, &["a", "b"]);
        assert_eq!(store.verify().unwrap().ok.len(), 2, "{what}");
    }
}

#[test]
#[cfg(unix)]
fn whatever_lies_in_place_of_a_file_of_the_stores_own_a_run_publishes_and_the_index_answers() {
    const OWN: [&str; 10] = [
        "CACHEDIR.TAG",
        "config",
        "journal",
        "names",
        "lock",
        "staging.lock",
        "publish.lock",
        "claims/turn",
        "index/conf",
        "index/db",
    ];
    for file in OWN {
        for what in ["a directory", "a pipe", "a link to nowhere", "an endless device"] {
            let dir = tempfile::tempdir().unwrap();
            drop(Store::init(dir.path(), Sharing::Private).unwrap());
            let store = open(dir.path());
            publish_all(&store, &["a"]);
            store.also_called([(draft("a", "").0, "other")].into_iter());
            assert!(matches!(store.claim(&draft("a", "").0).unwrap(), Claiming::Given(_)));
            store.records().unwrap();
            drop(store);
            replace(&dir.path().join(file), what);
            let store = open(dir.path());
            let (key, new) = draft("b", "b");
            assert!(
                matches!(store.claim(&key).unwrap(), Claiming::Given(_)),
                "{file}: {what}"
            );
            publish(&store, &key, new).unwrap();
            store.also_called([(key, "another")].into_iter());
            assert_eq!(store.records().unwrap().len(), 2, "{file}: {what}");
            store
                .gc(&GcOptions {
                    delete: true,
                    ..GcOptions::default()
                })
                .unwrap();
            assert_eq!(store.repair().unwrap().ok.len(), 2, "{file}: {what}");
            assert!(dir.path().join("CACHEDIR.TAG").is_file(), "{file}: {what}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_link_in_place_of_a_file_of_the_stores_own_is_not_written_through() {
    for file in [
        "journal",
        "names",
        "lock",
        "staging.lock",
        "publish.lock",
        "claims/turn",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "somebody's").unwrap();
        let root = dir.path().join("cache");
        publish_all(&open(&root), &["a"]);
        // Once before it is opened, once under an open store.
        for _ in 0..2 {
            let _ = fs::remove_file(root.join(file));
            fs::create_dir_all(root.join("claims")).unwrap();
            std::os::unix::fs::symlink(&victim, root.join(file)).unwrap();
            let store = open(&root);
            let _ = fs::remove_file(root.join(file));
            std::os::unix::fs::symlink(&victim, root.join(file)).unwrap();
            let (key, new) = draft("b", "b");
            let _ = store.claim(&key);
            let _ = store.publish(&key, &new);
            store.also_called([(key, "other")].into_iter());
            let _ = store.records();
            let _ = store.gc(&GcOptions {
                delete: true,
                ..GcOptions::default()
            });
            assert_eq!(fs::read_to_string(&victim).unwrap(), "somebody's", "{file}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_damaged_pin_still_pins_and_a_damaged_tag_is_left_out() {
    for what in ["a directory", "a pipe", "a link to nowhere", "an endless device"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish_all(&store, &["pinned", "tagged"]);
        store.pin(&draft("pinned", "").0, "a note").unwrap();
        store.tag("best", &draft("tagged", "").0).unwrap();
        replace(&dir.path().join("pins").join(draft("pinned", "").0.to_string()), what);
        replace(&dir.path().join("tags/best"), what);
        let marks = store.marks().unwrap();
        assert!(
            marks.pins.contains_key(&draft("pinned", "").0) && marks.tags.is_empty(),
            "{what}: {marks:?}"
        );
    }
}

#[test]
fn a_file_in_a_folders_place_is_set_aside_and_what_was_in_it_made_anew() {
    let spoils: [fn(&Path) -> PathBuf; 10] = [
        |root| blob(root, "a").parent().unwrap().to_owned(),
        |root| record(root, "a").parent().unwrap().to_owned(),
        |root| root.join("blobs"),
        |root| root.join("records"),
        |root| root.join("staging"),
        |root| root.join("quarantine"),
        |root| root.join("claims"),
        |root| root.join("leases"),
        |root| root.join("past"),
        |root| root.join("index"),
    ];
    for (number, folder) in spoils.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        publish_all(&open(dir.path()), &["a", "b"]);
        let folder = folder(dir.path());
        let _ = fs::remove_dir_all(&folder);
        fs::write(&folder, "no folder").unwrap();
        let store = open(dir.path());
        store.records().unwrap();
        store.past().unwrap();
        drop(store.lease());
        drop(store.claim(&draft("a", "a").0).unwrap());
        if number % 2 == 0 {
            store.repair().unwrap();
        }
        for node in ["a", "b"] {
            let (key, new) = draft(node, node);
            assert_eq!(
                publish(&store, &key, new).unwrap().read("model").unwrap(),
                node.as_bytes()
            );
        }
        assert!(
            folder.is_dir() && store.verify().unwrap().ok.len() == 2,
            "{}",
            folder.display()
        );
    }
}

#[test]
fn a_record_of_a_later_version_is_told_left_alone_and_ends_no_verification() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["later", "sound", "gone"]);
    let path = record(dir.path(), "later");
    let text = fs::read_to_string(&path).unwrap();
    let fields = text
        .split(",\n  \"checksum\"")
        .next()
        .unwrap()
        .replace("\"schema\": 1", "\"schema\": 9");
    let sealed = format!("{fields},\n  \"checksum\": \"{}\"\n}}\n", Digest::of(fields.as_bytes()));
    fs::write(&path, &sealed).unwrap();
    fs::remove_file(blob(dir.path(), "gone")).unwrap();
    let report = store.repair().unwrap();
    assert_eq!(
        (report.ok.len(), report.missing.len(), report.unreadable.len()),
        (1, 1, 1)
    );
    assert!(report.unreadable[0].why.contains("schema 9"), "{report:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), sealed);
}

/// Publishes, looks up, collects and repairs all at once.
#[test]
fn a_repair_beside_runs_and_collections_sets_nothing_sound_aside() {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    let node = |i: usize| format!("node{}", i % 12);
    let publisher = |from: usize| {
        let store = open(dir.path());
        for i in 0..150 {
            let (key, new) = draft(&node(from + i), &node(from + i).repeat(50));
            let artifact = publish(&store, &key, new).unwrap();
            // A collection may have come between; wrong bytes may not.
            match artifact.read("model") {
                Ok(bytes) => assert_eq!(bytes, node(from + i).repeat(50).as_bytes()),
                Err(CacheError::Corrupt { why, .. }) => assert_eq!(why, "is missing"),
                Err(other) => panic!("{other}"),
            }
        }
    };
    let until_done = |work: &dyn Fn(&Store)| {
        let store = open(dir.path());
        while !done.load(Ordering::SeqCst) {
            work(&store);
        }
    };
    let collect = |store: &Store| {
        let half = GcOptions {
            max_bytes: Some(1500),
            delete: true,
            ..GcOptions::default()
        };
        store.gc(&half).unwrap();
    };
    let repair = |store: &Store| {
        let report = store.repair().unwrap();
        assert!(report.is_sound(), "{report:?}");
    };
    std::thread::scope(|scope| {
        let publishers = [0, 5].map(|from| {
            scope.spawn({
                let publisher = &publisher;
                move || publisher(from)
            })
        });
        let others = [
            scope.spawn(|| until_done(&collect)),
            scope.spawn(|| until_done(&repair)),
        ];
        let ended = publishers.map(std::thread::ScopedJoinHandle::join);
        done.store(true, Ordering::SeqCst);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        ended.into_iter().for_each(|thread| thread.unwrap());
    });
    assert_eq!(aside(dir.path()), 0, "nothing was set aside");
    assert!(open(dir.path()).verify().unwrap().is_sound());
}

#[test]
fn what_was_damaged_and_made_anew_before_the_repair_came_to_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a"]);
    fs::write(blob(dir.path(), "a"), "b").unwrap();
    assert_eq!(store.verify().unwrap().corrupt.len(), 1);
    let (key, new) = draft("a", "a");
    store.discard(&key, "a test says so").unwrap();
    store.publish(&key, &new).unwrap();
    let before = aside(dir.path());
    assert!(store.repair().unwrap().is_sound());
    assert_eq!(aside(dir.path()), before);
    assert!(store.lookup(&key).unwrap().is_some());
}

#[test]
fn litter_of_the_dead_is_swept_beside_the_living_and_by_collections() {
    let dir = tempfile::tempdir().unwrap();
    let living = open(dir.path());
    let kept = living.work_folder().unwrap();
    let lease = living.lease();
    for (folder, file) in [
        ("staging/work-dead", "lock"),
        ("staging/work-dead", "blob"),
        ("leases", "1-0"),
        ("claims", "1-0"),
    ] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join(file), "x").unwrap();
    }
    let beside = open(dir.path());
    assert!(!dir.path().join("staging/work-dead").exists());
    assert!(!dir.path().join("leases/1-0").exists() && !dir.path().join("claims/1-0").exists());
    assert!(kept.path().exists(), "a living one's stays");
    assert_eq!(fs::read_dir(dir.path().join("leases")).unwrap().count(), 1);

    fs::write(dir.path().join("quarantine/x"), "damaged").unwrap();
    let (key, new) = draft("a", "a");
    publish(&beside, &key, new).unwrap();
    beside.scratch(&key).save("epoch", b"1").unwrap();
    let (open_key, _) = draft("not published", "");
    beside.scratch(&open_key).save("epoch", b"1").unwrap();
    let litter = |older_s: f64, delete| {
        let options = GcOptions {
            litter_older_than_s: Some(older_s),
            delete,
            ..GcOptions::default()
        };
        beside.gc(&options).unwrap().litter
    };
    assert_eq!(litter(3600.0, false), 1, "the checkpoint of what is published");
    assert_eq!(litter(0.0, false), 3);
    assert!(
        dir.path().join("quarantine/x").exists(),
        "nothing is changed unless asked for"
    );
    assert_eq!(litter(0.0, true), 3);
    assert!(files_under(&dir.path().join("quarantine")).is_empty());
    assert!(files_under(&dir.path().join("scratch")).is_empty());
    drop((lease, kept, living, beside));
    drop(open(dir.path()));
    assert!(files_under(&dir.path().join("staging")).is_empty());
    assert!(files_under(&dir.path().join("leases")).is_empty());
}

#[test]
fn who_waits_for_a_collection_is_told_for_whom_and_gives_up_when_asked_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let stop = std::sync::Arc::new(AtomicBool::new(true));
    store.stop_waiting_when(std::sync::Arc::clone(&stop));
    let holder = fs::File::create(dir.path().join("publish.lock")).unwrap();
    holder.lock().unwrap();
    fs::write(
        dir.path().join("publish.lock"),
        "process 7 on there (flow cache gc --delete, since 2026)\n",
    )
    .unwrap();
    let (key, new) = draft("a", "a");
    let error = store.publish(&key, &new).unwrap_err();
    assert!(matches!(error, CacheError::Interrupted { .. }), "{error}");
    assert!(
        error.to_string().contains("process 7 on there (flow cache gc"),
        "{error}"
    );
    drop(holder);
    assert!(store.publish(&key, &new).is_ok());
    assert!(
        Store::open(dir.path(), Access::ReadOnly)
            .unwrap()
            .verify()
            .unwrap()
            .is_sound()
    );
}
