//! Who runs when, beside what, and what becomes of the others when one fails.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Ended, Place, SMALL};

/// A workflow of commands: each is a name, its script, and more lines for its table.
fn commands(nodes: &[(&str, &str, &str)]) -> String {
    let node = |(name, script, more): &(&str, &str, &str)| {
        format!(
            "[nodes.{name}]\nkind = \"command\"\nrun = [\"sh\", \"-c\", '''{script}''']\nstdout = \"said\"\n{more}\n"
        )
    };
    let nodes: String = nodes.iter().map(node).collect();
    format!("[workflow]\nname = \"schedule\"\n{nodes}")
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What a node printed.
fn said(place: &Place, node: &str) -> String {
    let path = place
        .flow(&["cache", "query", &format!("node = {node}"), "--path"])
        .stdout;
    std::fs::read_to_string(place.path(path.trim())).expect("what it printed")
}

#[test]
fn two_runs_on_one_cache_do_each_node_once_and_the_second_names_the_first() {
    let place = Place::new("");
    let log = place.path("log");
    let step = |name: &str| format!("echo {name} >> {}; sleep 0.4; echo {name}", log.display());
    let (a, b) = (step("a"), step("b"));
    place.write("w.toml", commands(&[("a", &a, ""), ("b", &b, "")]));
    let start = || {
        let mut command = place.command(&["run", "w.toml", "-j", "2"]);
        command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("flow starts")
    };
    let runs = [start(), start()];
    let pids: Vec<u32> = runs.iter().map(std::process::Child::id).collect();
    let ended = runs.map(|run| Ended::from(run.wait_with_output().expect("it ends")));
    let told: String = ended.iter().map(|run| run.stderr.as_str()).collect();
    assert!(ended.iter().all(|run| run.code == 0), "{told}");
    let mut done = lines(&log);
    done.sort();
    assert_eq!(done, ["a", "b"], "{told}");
    let named = pids.iter().any(|pid| told.contains(&format!("process {pid} on ")));
    assert!(named && told.contains("is running it"), "{told}");
}

#[test]
fn a_mutex_keeps_its_nodes_apart_and_nobody_else() {
    let place = Place::new("");
    let log = place.path("log");
    let step = |name: &str| {
        format!(
            "echo +{name} >> {0}; sleep 0.3; echo -{name} >> {0}; echo {name}",
            log.display()
        )
    };
    let (a, b, c) = (step("a"), step("b"), step("c"));
    let one = "mutex = \"licence\"";
    place.write("w.toml", commands(&[("a", &a, one), ("b", &b, one), ("c", &c, "")]));
    place.run(&["-j", "3"]);
    let order = lines(&log);
    let inside = |name: &str, of: &str| {
        let at = |mark: &str| order.iter().position(|line| *line == format!("{mark}{of}")).unwrap();
        let begun = order.iter().position(|line| *line == format!("+{name}")).unwrap();
        (at("+")..at("-")).contains(&begun)
    };
    assert!(!inside("a", "b") && !inside("b", "a"), "{order:?}");
    assert!(
        inside("c", "a") || inside("a", "c") || inside("c", "b") || inside("b", "c"),
        "{order:?}"
    );
}

#[test]
fn a_failure_is_tried_again_as_often_as_the_node_says() {
    let place = Place::new("");
    let tries = place.path("tries");
    let flaky = format!("echo x >> {0}; test $(wc -l < {0}) -ge 3 && echo fine", tries.display());
    place.write(
        "w.toml",
        commands(&[("a", &flaky, "retry = { times = 2, wait_s = 0.01 }")]),
    );
    let told = place.run(&[]).stderr;
    assert_eq!(lines(&tries).len(), 3);
    assert!(told.contains("retry  a") && told.contains("(2 failed"), "{told}");

    let place = Place::new(&commands(&[("a", "exit 3", "retry = { times = 1, wait_s = 0.01 }")]));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("ended with exit status 3"), "{}", ended.stderr);
}

#[test]
fn each_node_gets_gpus_of_its_own_out_of_those_that_were_inherited() {
    let see = "echo $CUDA_VISIBLE_DEVICES; sleep 0.3";
    let one = "resources = { gpus = 1 }\nparams = { n = 1 }";
    let place = Place::new(&commands(&[
        ("a", see, one),
        ("b", see, "resources = { gpus = 1 }\nparams = { n = 2 }"),
        ("c", see, "params = { n = 3 }"),
    ]));
    let run = place
        .command(&["run", "w.toml", "-j", "3"])
        .env("CUDA_VISIBLE_DEVICES", "4,7")
        .output();
    assert!(run.expect("flow starts").status.success());
    let mut given = [said(&place, "a"), said(&place, "b")];
    given.sort();
    assert_eq!(given, ["4\n", "7\n"]);
    assert_eq!(said(&place, "c"), "\n", "a node that asks for none sees none");

    let place = Place::new(&commands(&[("a", see, "resources = { gpus = 2 }")]));
    let ended = place.flow(&["run", "w.toml", "--gpus", "0"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("it needs 2 GPUs, and this run has 1 GPU"),
        "{}",
        ended.stderr
    );
}

#[test]
fn memory_is_shared_out_and_too_much_is_refused() {
    let place = Place::new("");
    let log = place.path("log");
    let step = |name: &str| {
        format!(
            "echo +{name} >> {0}; sleep 0.2; echo -{name} >> {0}; echo {name}",
            log.display()
        )
    };
    let (a, b) = (step("a"), step("b"));
    let half = "resources = { memory = \"600MB\" }";
    place.write("w.toml", commands(&[("a", &a, half), ("b", &b, half)]));
    place.run(&["-j", "2", "--memory", "1GB"]);
    let order: String = lines(&log).iter().filter_map(|line| line.chars().next()).collect();
    assert_eq!(order, "+-+-", "both at once would be 1.2 GB");
    place.write("w.toml", commands(&[("c", "echo", "resources = { memory = \"2GB\" }")]));
    let ended = place.flow(&["run", "w.toml", "--memory", "1GB"]);
    assert!(
        ended.stderr.contains("GiB of memory, and this run has"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_highest_priority_runs_first_and_terms_are_no_part_of_a_key() {
    let place = Place::new("");
    let log = place.path("log");
    let step = |name: &str| format!("echo {name} >> {}; echo {name}", log.display());
    let (a, b, c) = (step("a"), step("b"), step("c"));
    place.write(
        "w.toml",
        commands(&[("a", &a, ""), ("b", &b, "priority = 5"), ("c", &c, "priority = -1")]),
    );
    place.run(&["-j", "1"]);
    assert_eq!(lines(&log), ["b", "a", "c"]);
    let more = "priority = 9\ntimeout_s = 60\nretry = { times = 1 }\nmutex = \"m\"\nresources = { memory = \"1MB\" }";
    place.write("w.toml", commands(&[("a", &a, more), ("b", &b, more), ("c", &c, more)]));
    place.run(&[]);
    assert_eq!(lines(&log).len(), 3, "nothing ran again");
}

#[test]
fn terms_that_make_no_sense_are_told_where_they_stand() {
    let place = Place::new(&commands(&[("a", "echo", "timeout_s = -1\nretry = { time = 2 }")]));
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.contains("time") && ended.stderr.contains("w.toml:"),
        "{}",
        ended.stderr
    );
    place.write(
        "w.toml",
        commands(&[("a", "echo", "resources = { memory = \"lots\" }")]),
    );
    let ended = place.flow(&["plan", "w.toml"]);
    assert!(ended.stderr.contains("a size such as"), "{}", ended.stderr);
}

/// One pre-training of many epochs.
fn training(epochs: u32, more: &str) -> String {
    let start = SMALL.find("[nodes.scratch]").expect("the fixture has it");
    let text = SMALL[..start]
        .replace("epochs = 3", &format!("epochs = {epochs}\n{more}"))
        .replace("seed = [0, 1]", "seed = [0]");
    text.replace("arm = ", "# arm = ")
}

/// The worker processes of a run.
fn workers(engine: u32) -> Vec<u32> {
    let all = std::fs::read_dir(format!("/proc/{engine}/task")).expect("Linux");
    let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let children: String = all.flatten().map(read).collect();
    let is_worker = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("__worker")
    };
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(is_worker)
        .collect()
}

#[test]
fn a_worker_that_is_killed_is_one_failed_node_that_goes_on_from_its_checkpoint() {
    let (whole, killed) = (Place::new(&training(40, "")), Place::new(&training(40, "")));
    whole.run(&[]);
    let mut command = killed.command(&["run", "w.toml"]);
    let run = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("flow starts");
    let begun = Instant::now();
    let has_checkpoint = || {
        let dirs = std::fs::read_dir(killed.path(".flow/cache/scratch"));
        dirs.is_ok_and(|dirs| {
            dirs.flatten()
                .any(|d| std::fs::read_dir(d.path()).is_ok_and(|f| f.count() > 0))
        })
    };
    while !has_checkpoint() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    let worker = *workers(run.id()).first().expect("a worker");
    let kill = std::process::Command::new("kill")
        .args(["-9", &worker.to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    let ended = Ended::from(run.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("its process was killed (signal 9)"),
        "{}",
        ended.stderr
    );
    let resumed = killed.run(&["-v"]);
    assert!(resumed.stderr.contains("resumes after epoch"), "{}", resumed.stderr);
    let logs = killed.logs();
    for part in [
        "failed: its process was killed",
        "resumes after epoch",
        "of 160  epoch",
        "epoch 40: loss",
        "published as ",
    ] {
        assert!(logs.contains(part), "no `{part}` in\n{logs}");
    }
    assert_eq!(whole.digests(), killed.digests());
}

#[test]
fn a_process_of_its_own_changes_no_bit() {
    let (own, here) = (
        Place::new(&training(2, "")),
        Place::new(&training(2, "isolate = false")),
    );
    own.run(&[]);
    here.run(&[]);
    assert_eq!(own.digests(), here.digests());
}
