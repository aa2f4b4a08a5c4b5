//! Several processes and threads on one store. The children are this test binary, started again at `child`.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};

use common::{draft, nodes, open, publish, publish_all};
use flow_cache::{ArtifactSummary, CacheError};

/// Starts this binary's `child` with a task.
fn start(root: &Path, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("FLOW_CACHE_TEST_ROOT", root)
        .env("FLOW_CACHE_TEST_TASK", task)
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lines that a child prints for us, which begin with `> `.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines()
        .map_while(Result::ok)
        .filter_map(|line| Some(line.split_once("> ")?.1.to_owned()))
}

#[test]
#[ignore = "the other side of the tests in this file"]
fn child() {
    let root = std::env::var_os("FLOW_CACHE_TEST_ROOT").expect("started by another test");
    let store = open(Path::new(&root));
    match std::env::var("FLOW_CACHE_TEST_TASK").unwrap().as_str() {
        "publish many" => {
            for i in 0..40 {
                let (key, new) = draft(&format!("node{i}"), &format!("content {i}"));
                publish(&store, &key, new).unwrap();
                println!("> {i}");
            }
        }
        "publish until killed" => {
            for i in 0.. {
                let (key, new) = draft(&format!("node{i}"), &"content ".repeat(i * 100 + 1));
                store.scratch(&key).save("epoch", &vec![7; 10_000]).unwrap();
                publish(&store, &key, new).unwrap();
                println!("> {i}");
            }
        }
        "hold the index" => {
            store.records().unwrap();
            println!("> held");
            // Until the other side closes its end.
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        other => panic!("unknown task {other}"),
    }
}

#[test]
fn threads_that_publish_the_same_key_all_get_the_same_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let start = Arc::new(Barrier::new(8));
    let (key, new) = draft("student", "weights");
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let (store, start, mut new) = (store.clone(), Arc::clone(&start), new.clone());
            new.finished_unix_ms = i;
            std::thread::spawn(move || {
                assert!(store.lookup(&key).unwrap().is_none(), "nobody has published yet");
                start.wait();
                store.publish(&key, &new).unwrap().shared_summary()
            })
        })
        .collect();
    let records: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(records.iter().all(|record| *record == records[0]), "one winner");
    let listed: Vec<ArtifactSummary> = store.records().unwrap().iter().map(ArtifactSummary::from).collect();
    assert_eq!(listed, [(*records[0]).clone()]);
}

#[test]
fn processes_that_publish_the_same_keys_agree() {
    let dir = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> = (0..4).map(|_| start(dir.path(), "publish many")).collect();
    for child in &mut children {
        assert_eq!(lines(child).count(), 40);
        assert!(child.wait().unwrap().success());
    }
    let store = open(dir.path());
    let report = store.verify().unwrap();
    assert_eq!((report.ok.len(), report.is_sound()), (40, true));
    assert_eq!(report.orphans, []);
    assert_eq!(store.records().unwrap().len(), 40);
}

#[test]
fn a_killed_process_loses_nothing_that_it_published() {
    let dir = tempfile::tempdir().unwrap();
    for kill_after in [1, 4, 9, 17] {
        let mut child = start(dir.path(), "publish until killed");
        let published: Vec<String> = lines(&mut child).take(kill_after).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(published.len(), kill_after);

        let store = open(dir.path());
        for i in 0..kill_after {
            let (key, new) = draft(&format!("node{i}"), &"content ".repeat(i * 100 + 1));
            let Some(hit) = store.lookup(&key).unwrap() else {
                panic!("node{i} is gone")
            };
            assert_eq!(hit.read("model").unwrap(), new.files[0].1);
        }
        assert!(store.verify().unwrap().is_sound());
        assert_eq!(store.records().unwrap().len(), store.verify().unwrap().ok.len());
    }
}

#[test]
fn while_another_process_holds_the_index_everything_works_but_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    publish_all(&open(dir.path()), &["a"]);
    let mut holder = start(dir.path(), "hold the index");
    assert_eq!(lines(&mut holder).next().as_deref(), Some("held"));

    let store = open(dir.path());
    publish_all(&store, &["bb"]);
    assert_eq!(nodes(&store.records().unwrap()), ["bb", "a"]);
    assert_eq!(nodes(&store.query("node = bb", &[]).unwrap()), ["bb"]);
    let error = store.rebuild_index().unwrap_err();
    assert!(matches!(error, CacheError::Locked { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("process {}", holder.id())),
        "{error}"
    );

    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(store.rebuild_index().unwrap(), 2);
}
