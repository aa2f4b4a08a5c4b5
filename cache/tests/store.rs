//! The store's promises on a real disk, in one process.

mod common;

use std::fs;

use common::{draft, files_under, nodes, open, open_read_only, publish, publish_all};
use flow_cache::{Access, CacheError, KeyFields, Store};

#[test]
fn what_was_published_is_a_hit_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not/there/yet");
    let (key, new) = draft("student", "weights");
    let published = publish(&open(&root), &key, new.clone()).unwrap();

    let Some(hit) = open(&root).lookup(&key).unwrap() else {
        panic!("a miss")
    };
    assert_eq!(hit.read("model").unwrap(), b"weights");
    assert_eq!(fs::read(hit.path("model").unwrap()).unwrap(), b"weights");
    assert_eq!(hit.names().collect::<Vec<_>>(), ["model"]);
    assert_eq!(hit.digest(), published.digest());
    assert_eq!(hit.summary(), published.summary());
    assert_eq!(hit.summary().metrics, new.metrics, "an infinite loss is a result too");
    assert!(matches!(hit.read("optimizer"), Err(CacheError::Corrupt { .. })));
    assert!(
        fs::read(root.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with(b"Signature: 8a477f597d28d172789f06886806bc55")
    );
}

#[test]
fn a_run_of_hits_and_commits_never_opens_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a", "b"]);
    let (key, _) = draft("a", "a");
    assert!(store.lookup(&key).unwrap().is_some());
    assert!(!dir.path().join("index").exists());
}

#[test]
fn who_publishes_a_key_second_gets_what_the_first_published() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open(dir.path()), open(dir.path()));
    let (key, new) = draft("student", "weights");
    assert!(first.lookup(&key).unwrap().is_none() && second.lookup(&key).unwrap().is_none());
    let winner = first.publish(&key, &new).unwrap();
    let mut later = new;
    later.finished_unix_ms += 60_000;
    assert_eq!(
        second.publish(&key, &later).unwrap().summary(),
        winner.summary(),
        "the first writer's record stands"
    );
}

#[test]
fn other_outputs_under_the_same_key_are_reported_and_the_first_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, one) = draft("student", "weights");
    let (_, other) = draft("student", "weightz");
    let kept = store.publish(&key, &one).unwrap();
    let error = store.publish(&key, &other).unwrap_err();
    let CacheError::NonDeterministic(found) = &error else {
        panic!("{error}")
    };
    assert_eq!(found.published, kept.digest());
    assert_ne!(found.published, found.new);
    assert_eq!(found.files, ["model"]);
    let text = error.to_string();
    for part in [&found.published.short(), &found.new.short(), "student"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(store.peek(&key).unwrap().unwrap().read("model").unwrap(), b"weights");
}

#[test]
fn a_draft_that_does_not_fit_its_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, _) = draft("student", "weights");
    let (_, another) = draft("teacher", "weights");
    assert!(matches!(
        store.publish(&key, &another),
        Err(CacheError::InvalidDraft { .. })
    ));

    let (_, mut twice) = draft("student", "weights");
    twice.files.push(twice.files[0].clone());
    assert!(matches!(
        store.publish(&key, &twice),
        Err(CacheError::InvalidDraft { .. })
    ));
    assert!(store.lookup(&key).unwrap().is_none());
}

#[test]
fn a_read_only_store_serves_hits_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    publish_all(&open(dir.path()), &["a", "b"]);
    let before = files_under(dir.path());
    let store = open_read_only(dir.path());
    let (hit, _) = draft("a", "a");
    let Some(artifact) = store.lookup(&hit).unwrap() else {
        panic!("a miss")
    };
    assert_eq!(artifact.read("model").unwrap(), b"a");
    assert_eq!(nodes(&store.query("node = b", &[]).unwrap()), ["b"]);

    let (missed, new) = draft("c", "c");
    assert!(store.lookup(&missed).unwrap().is_none());
    assert!(matches!(store.publish(&missed, &new), Err(CacheError::ReadOnly { .. })));
    assert!(matches!(
        store.scratch(&missed).save("epoch", b"1"),
        Err(CacheError::ReadOnly { .. })
    ));
    assert!(matches!(
        store.discard(&hit, "a test says so"),
        Err(CacheError::ReadOnly { .. })
    ));
    assert!(matches!(store.rebuild_index(), Err(CacheError::ReadOnly { .. })));
    assert_eq!(files_under(dir.path()), before);

    // A corrupt entry cannot be set aside there, and is a miss all the same.
    fs::write(artifact.path("model").unwrap(), "longer").unwrap();
    assert!(store.lookup(&hit).unwrap().is_none());
}

#[test]
fn a_read_only_store_that_does_not_exist_is_empty_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("absent");
    let store = open_read_only(&root);
    assert_eq!(store.records().unwrap(), []);
    assert!(store.lookup(&draft("a", "a").0).unwrap().is_none());
    assert!(!root.exists());
}

#[test]
fn a_folder_of_something_else_is_not_taken_for_a_cache() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        assert!(matches!(
            Store::open(dir.path(), access),
            Err(CacheError::NotACache { .. })
        ));
    }
    assert_eq!(files_under(dir.path()), [dir.path().join("thesis.tex")]);
}

#[test]
fn checkpoints_are_whole_bound_to_their_action_and_gone_once_it_publishes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ((key, new), (other, _)) = (draft("a", "a"), draft("b", "b"));
    let scratch = store.scratch(&key);
    assert_eq!(scratch.load("epoch").unwrap(), None);
    scratch.save("epoch", b"3").unwrap();
    scratch.save("epoch", b"4").unwrap();
    assert_eq!(scratch.load("epoch").unwrap().as_deref(), Some(&b"4"[..]));
    assert_eq!(
        open(dir.path()).scratch(&key).load("epoch").unwrap().as_deref(),
        Some(&b"4"[..])
    );

    let folder = dir.path().join("scratch");
    let file = folder.join(key.to_string()).join("epoch");
    fs::create_dir(folder.join(other.to_string())).unwrap();
    fs::copy(&file, folder.join(other.to_string()).join("epoch")).unwrap();
    assert_eq!(
        store.scratch(&other).load("epoch").unwrap(),
        None,
        "another action's checkpoint"
    );
    fs::copy(&file, folder.join(key.to_string()).join("best")).unwrap();
    assert_eq!(scratch.load("best").unwrap(), None, "another name's checkpoint");

    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, &flipped).unwrap();
        assert_eq!(scratch.load("epoch").unwrap(), None, "byte {at} flipped");
        fs::write(&file, &whole[..at]).unwrap();
        assert_eq!(scratch.load("epoch").unwrap(), None, "cut to {at} bytes");
    }

    scratch.save("epoch", b"5").unwrap();
    publish(&store, &key, new).unwrap();
    assert!(!folder.join(key.to_string()).exists());
    for name in ["", ".hidden", "../escape", "a/b", "UPPER"] {
        assert!(
            matches!(scratch.save(name, b""), Err(CacheError::InvalidName { .. })),
            "{name}"
        );
    }
}

#[test]
fn verification_tells_sound_corrupt_missing_and_orphaned_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["sound", "flipped", "gone", "garbled"]);
    let path = |node: &str| {
        store
            .peek(&draft(node, node).0)
            .unwrap()
            .unwrap()
            .path("model")
            .unwrap()
    };
    let (flipped, gone) = (path("flipped"), path("gone"));
    fs::write(flipped, "flippeD").unwrap();
    fs::remove_file(gone).unwrap();
    let garbled = draft("garbled", "garbled").0.to_string();
    fs::write(
        dir.path()
            .join("records")
            .join(&garbled[..2])
            .join(format!("{garbled}.json")),
        "{}",
    )
    .unwrap();

    let report = store.verify().unwrap();
    assert_eq!(report.ok, [draft("sound", "").0]);
    let mut corrupt: Vec<_> = report
        .corrupt
        .iter()
        .map(|fault| (fault.key, fault.output.as_deref()))
        .collect();
    corrupt.sort();
    let mut expected = [(draft("flipped", "").0, Some("model")), (draft("garbled", "").0, None)];
    expected.sort();
    assert_eq!(corrupt, expected);
    assert_eq!(
        report.missing.iter().map(|fault| fault.key).collect::<Vec<_>>(),
        [draft("gone", "").0]
    );
    assert_eq!(report.orphans, [flow_cache::Digest::of(b"garbled")]);
    assert!(!report.is_sound());
}

#[test]
fn staged_files_of_a_crash_are_swept_and_those_of_the_living_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let staged = dir.path().join("staging/new-1");
    fs::write(&staged, "on its way").unwrap();
    drop(open(dir.path()));
    assert!(staged.exists(), "another process may be about to move it");
    drop(store);
    drop(open(dir.path()));
    assert!(!staged.exists());
}

#[test]
fn a_miss_is_explained_by_the_nearest_record_of_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let components = |kind: &str, lr: f64, epochs: u32, seed: u32| {
        KeyFields::new(kind, 1)
            .param("lr", &lr.into())
            .param("epochs", &epochs.into())
            .param("seed", &seed.into())
            .finish()
    };
    let add = |kind: &str, node: &str, lr, epochs, seed, finished| {
        let (key, components) = components(kind, lr, epochs, seed);
        let (_, mut new) = draft(node, node);
        (new.kind, new.components, new.finished_unix_ms) = (kind.into(), components, finished);
        publish(&store, &key, new).unwrap();
    };
    add("pretrain", "far", 0.1, 10, 0, 9);
    add("pretrain", "near", 0.2, 20, 0, 1);
    add("pretrain", "near_too", 0.2, 20, 1, 2);
    add("finetune", "equal but of another kind", 0.2, 20, 2, 3);

    let (key, wanted) = components("pretrain", 0.2, 20, 2);
    let (_, new) = draft("any", "any");
    publish(
        &store,
        &key,
        flow_cache::Draft {
            kind: "pretrain".into(),
            components: wanted.clone(),
            ..new
        },
    )
    .unwrap();
    let mut asked = store.record(&key).unwrap().unwrap();
    asked.started_unix_ms = 5;
    let mut nearest = |node: &str| {
        asked.node = node.to_owned();
        store.nearest(&asked).unwrap()
    };
    assert_eq!(nearest("near").unwrap().node, "near", "the same node before others");
    let changes = nearest("near").unwrap().components.diff(&wanted);
    assert_eq!(
        changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(),
        ["param.seed"]
    );
    assert_eq!(nearest("new").unwrap().node, "near_too", "the newest of equal ones");
    assert_eq!(
        nearest("far").unwrap().node,
        "near_too",
        "`far` had not finished when it began"
    );
    asked.kind = "evaluate".into();
    assert_eq!(store.nearest(&asked).unwrap(), None);
}

#[test]
fn records_are_found_by_the_beginning_of_their_key_or_by_node() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a", "bb"]);
    let key = draft("a", "a").0.to_string();
    assert_eq!(nodes(&store.find(&key[..4]).unwrap()), ["a"]);
    assert_eq!(nodes(&store.find(&key).unwrap()), ["a"]);
    assert_eq!(nodes(&store.find("bb").unwrap()), ["bb"]);
    assert_eq!(store.find(&key[..3]).unwrap(), [], "too short to mean a key");
    assert_eq!(nodes(&store.records().unwrap()), ["bb", "a"], "newest first");
}

#[test]
fn a_node_is_found_without_the_values_of_its_matrix_unless_one_has_just_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["net[seed=0]", "net[seed=10]", "network", "head[seed=0]"]);
    assert_eq!(nodes(&store.find("net").unwrap()), ["net[seed=10]", "net[seed=0]"]);
    assert_eq!(nodes(&store.find("head").unwrap()), ["head[seed=0]"]);
    publish_all(&store, &["net"]);
    assert_eq!(nodes(&store.find("net").unwrap()), ["net"]);
}
