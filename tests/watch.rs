//! `flow watch`: what a saved file leads to.

#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Place, SMALL};

/// The lines of a pipe as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

/// Waits for a line with `part`; returns all lines up to it.
fn until(lines: &Receiver<String>, part: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let line = lines
            .recv_timeout(Duration::from_mins(1))
            .unwrap_or_else(|_| panic!("no `{part}` after\n{}", seen.join("\n")));
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains(part)) {
            return seen;
        }
    }
}

/// Saves as editors do: written beside, then renamed over, so that no half-written file is ever seen.
fn save(place: &Place, text: &str) {
    place.write("w.toml.new", text);
    std::fs::rename(place.path("w.toml.new"), place.path("w.toml")).expect("renamed");
}

/// A watched place, its lines, and its process.
fn watching(workflow: &str, threads: &str) -> (Place, Receiver<String>, std::process::Child) {
    let place = Place::new(workflow);
    let mut command = place.command(&["watch", "w.toml", "-j", threads]);
    command
        .env("HERE", place.path(""))
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().expect("flow starts");
    let log = lines(child.stderr.take().expect("a pipe"));
    (place, log, child)
}

fn end(mut child: std::process::Child) {
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn a_saved_workflow_runs_what_it_changes_and_broken_toml_is_survived() {
    let (place, log, child) = watching(SMALL, "4");
    until(&log, "watching w.toml");

    save(&place, &SMALL.replace("kind = \"pretext\"", "kind = pretext"));
    let broken = until(&log, "watching w.toml");
    assert!(broken.iter().any(|line| line.contains("w.toml:")), "{broken:?}");

    save(&place, &SMALL.replace("threshold = 0.11", "threshold = 0.1"));
    let again = until(&log, "watching w.toml");
    assert!(
        again
            .iter()
            .any(|line| line.contains("done") && line.contains("guess@1")),
        "{again:?}"
    );
    assert!(
        !again
            .iter()
            .any(|line| line.contains("done") && line.contains("simclr[")),
        "{again:?}"
    );

    end(child);
}

/// Two commands that wait until they are let go by a file, each after it has written a line about its beginning.
const WAITING: &str = r#"
[workflow]
name = "waiting"

[nodes.kept]
kind = "command"
run = ["sh", "-c", "echo begun >> $HERE/kept.log; while [ ! -e $HERE/go ]; do sleep 0.01; done; echo > {outputs}/out"]
outputs = ["out"]
pass_env = ["HERE"]

[nodes.edited]
kind = "command"
run = ["sh", "-c", "echo begun A >> $HERE/edited.log; while [ ! -e $HERE/go ]; do sleep 0.01; done; echo A > {outputs}/out"]
outputs = ["out"]
pass_env = ["HERE"]
"#;

#[test]
fn an_edit_during_a_run_keeps_what_is_still_wanted_and_cancels_what_is_not() {
    let (place, log, child) = watching(WAITING, "4");
    until(&log, "start  edited");
    let begun = |file: &str| std::fs::read_to_string(place.path(file)).unwrap_or_default();
    let wait_for = |file: &str, text: &str| {
        while !begun(file).contains(text) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for("edited.log", "begun A");
    wait_for("kept.log", "begun");

    save(&place, "[workflow");
    until(&log, "the run goes on with the workflow as it was");
    save(&place, &WAITING.replace(" A >", " B >"));
    until(&log, "stop   edited");
    wait_for("edited.log", "begun B");
    place.write("go", "");
    let ended = until(&log, "watching w.toml");
    assert!(ended.iter().any(|line| line.contains("done   kept")), "{ended:?}");
    assert!(!ended.iter().any(|line| line.contains("error")), "{ended:?}");
    assert_eq!(begun("kept.log"), "begun\n", "it ran once");
    assert_eq!(begun("edited.log"), "begun A\nbegun B\n");
    end(child);
}

#[test]
fn on_one_thread_an_edit_under_a_run_leads_to_an_end_whether_the_node_at_work_is_wanted_or_not() {
    let (place, log, child) = watching(WAITING, "1");
    let begun = |text: &str| {
        while !std::fs::read_to_string(place.path("edited.log")).is_ok_and(|log| log.contains(text)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    begun("begun A");
    let edited = WAITING.replace(" A >", " B >");
    save(&place, &edited);
    until(&log, "stop   edited");
    begun("begun B");
    save(&place, &edited.replace("echo > {outputs}", "echo C > {outputs}"));
    until(&log, "changed: ");
    place.write("go", "");
    let ended = until(&log, "watching w.toml");
    assert!(ended.iter().any(|line| line.contains("done   edited")), "{ended:?}");
    assert!(ended.iter().any(|line| line.contains("done   kept")), "{ended:?}");
    assert!(!ended.iter().any(|line| line.contains("error")), "{ended:?}");
    end(child);
}
