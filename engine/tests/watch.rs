//! Watching: what counts as a change, and that none is missed, whatever way an editor saves.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::time::Duration;

use flow_engine::StopFlag;
use flow_engine::watch::{Changed, Watch, WatchError, WatchOptions, watch};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.write("w.toml", "one");
        bench.write("data.txt", "one");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn options(&self) -> WatchOptions {
        let rescan = Duration::from_millis(300);
        WatchOptions {
            debounce: Duration::from_millis(20),
            rescan,
            ..WatchOptions::default()
        }
    }

    fn watch(&self) -> Watch {
        let mut watch = Watch::new(&self.path("w.toml"), self.options()).unwrap();
        watch.inputs(vec![self.path("data.txt")]).unwrap();
        watch
    }

    fn workflow_only() -> Changed {
        Changed {
            workflow: true,
            files: Vec::new(),
        }
    }

    fn data_only(&self) -> Changed {
        Changed {
            workflow: false,
            files: vec![self.path("data.txt")],
        }
    }
}

#[test]
fn only_a_change_of_content_is_a_change() {
    let bench = Bench::new();
    let mut watch = bench.watch();
    bench.write("w.toml", "one");
    bench.write("unrelated.txt", "x");
    assert!(watch.look().is_empty());
    bench.write("w.toml", "two");
    assert_eq!(watch.wait(&StopFlag::new()), Some(Bench::workflow_only()));
    assert!(watch.look().is_empty());
}

#[test]
fn a_file_replaced_by_a_rename_and_one_that_was_deleted_are_seen() {
    let bench = Bench::new();
    let mut watch = bench.watch();
    bench.write("data.txt.new", "two");
    std::fs::rename(bench.path("data.txt.new"), bench.path("data.txt")).unwrap();
    assert_eq!(watch.wait(&StopFlag::new()), Some(bench.data_only()));
    std::fs::remove_file(bench.path("data.txt")).unwrap();
    assert_eq!(watch.wait(&StopFlag::new()), Some(bench.data_only()));
    bench.write("data.txt", "three");
    assert_eq!(watch.wait(&StopFlag::new()), Some(bench.data_only()));
}

#[test]
fn polling_sees_the_same() {
    let bench = Bench::new();
    let options = WatchOptions {
        poll: Some(Duration::from_millis(50)),
        ..bench.options()
    };
    let mut watch = Watch::new(&bench.path("w.toml"), options).unwrap();
    bench.write("w.toml", "two");
    assert_eq!(watch.wait(&StopFlag::new()), Some(Bench::workflow_only()));
}

#[test]
fn an_edit_during_a_step_leads_to_the_next_and_a_failed_load_keeps_the_inputs() {
    let bench = Bench::new();
    let stop = StopFlag::new();
    let mut steps: Vec<Changed> = Vec::new();
    let result: Result<(), WatchError> = watch(&bench.path("w.toml"), bench.options(), &stop, |changed, watch| {
        steps.push(changed.clone());
        match steps.len() {
            1 => {
                watch.inputs(vec![bench.path("data.txt")])?;
                bench.write("w.toml", "broken");
            }
            2 => bench.write("data.txt", "two"),
            _ => stop.request(),
        }
        Ok(())
    });
    result.unwrap();
    assert_eq!(
        steps,
        [Bench::workflow_only(), Bench::workflow_only(), bench.data_only()]
    );
}

#[test]
fn a_request_to_stop_ends_the_waiting() {
    let bench = Bench::new();
    let stop = StopFlag::new();
    stop.request();
    assert_eq!(bench.watch().wait(&stop), None);
}
