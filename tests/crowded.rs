//! Many processes on one cache: whatever comes between them, every run ends with all done.

#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use common::{Ended, Place};

/// Twelve nodes, six of which depend on the other six.
const FAN: &str = r#"
[workflow]
name = "fan"
[variables]
s = 0
[matrix]
k = [0, 1, 2, 3, 4, 5]
[nodes.a]
kind = "command"
run = ["sh", "-c", "sleep 0.01; echo ${s} ${k}"]
stdout = "o"
[nodes.b]
kind = "command"
run = ["cat", "inputs/a/o"]
inputs = { a = "a" }
stdout = "o"
"#;

/// Pairs of runs at the same time.
const PAIRS: usize = 24;

fn start(place: &Place, round: usize) -> Child {
    let set = format!("variables.s={round}");
    let mut command = place.command(&["run", "w.toml", "-j", "1", "--set", &set]);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("flow starts")
}

fn assert_all_done(run: Child, what: &str) {
    let ended = Ended::from(run.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 0, "{what}: {}", ended.stderr);
    assert!(!ended.stderr.contains("not run"), "{what}: {}", ended.stderr);
}

#[test]
fn of_two_runs_at_the_same_time_neither_ends_before_all_is_done() {
    let place = Place::new(FAN);
    for round in 0..PAIRS {
        let runs = [start(&place, round), start(&place, round)];
        runs.into_iter()
            .for_each(|run| assert_all_done(run, &format!("pair {round}")));
    }
}

#[test]
fn a_run_beside_one_that_is_killed_takes_over_its_work_and_does_all() {
    let place = Place::new(FAN);
    for round in 100..100 + PAIRS / 4 {
        let (mut killed, other) = (start(&place, round), start(&place, round));
        // Killed once it is at work, unless the other one has done everything.
        let log = BufReader::new(killed.stderr.take().expect("a pipe")).lines();
        log.map_while(Result::ok).find(|line| line.contains("start  "));
        killed.kill().expect("it is ours");
        killed.wait().expect("it ends");
        assert_all_done(other, &format!("round {round}"));
    }
}
