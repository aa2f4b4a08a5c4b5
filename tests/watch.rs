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
            .recv_timeout(Duration::from_secs(60))
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

#[test]
fn a_saved_workflow_runs_what_it_changes_and_broken_toml_is_survived() {
    let place = Place::new(SMALL);
    let mut command = place.command(&["watch", "w.toml"]);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("flow starts");
    let log = lines(child.stderr.take().expect("a pipe"));
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

    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
