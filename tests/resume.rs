//! Killed and resumed: the same bits as without.

#![cfg(unix)]

mod common;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, SMALL};

/// One pre-training, long enough to be killed in the middle.
fn long() -> String {
    let start = SMALL.find("[nodes.scratch]").expect("the fixture has it");
    SMALL[..start]
        .replace("epochs = 3", "epochs = 40")
        .replace("seed = [0, 1]", "seed = [0]")
        .replace("arm = ", "# arm = ")
}

/// Starts a run and waits until a checkpoint of some epochs lies in the scratch space.
#[expect(
    clippy::zombie_processes,
    reason = "the caller waits; where this panics, the test is over"
)]
fn started(place: &Place) -> std::process::Child {
    let child = place.command(&["run", "w.toml", "-v"]).spawn().expect("flow starts");
    let begun = Instant::now();
    loop {
        let scratch = std::fs::read_dir(place.path(".flow/cache/scratch"));
        let any = scratch.is_ok_and(|dirs| {
            dirs.flatten()
                .any(|d| std::fs::read_dir(d.path()).is_ok_and(|f| f.count() > 0))
        });
        if any {
            return child;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn resumes_bit_identically_after_kill_nine() {
    let (whole, killed) = (Place::new(&long()), Place::new(&long()));
    whole.run(&[]);
    let mut child = started(&killed);
    child.kill().expect("SIGKILL");
    assert!(
        !child.wait().expect("it ends").success(),
        "it was done before it could be killed"
    );
    let resumed = killed.run(&["-v"]);
    assert!(resumed.stderr.contains("resumes after epoch"), "{}", resumed.stderr);
    assert_eq!(whole.digests(), killed.digests());
    let scratch = std::fs::read_dir(killed.path(".flow/cache/scratch")).expect("the scratch space");
    assert_eq!(scratch.count(), 0, "a published node leaves no checkpoint");
}

fn signal(child: &std::process::Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn an_interrupt_or_a_request_to_end_stops_at_a_checkpoint_with_a_code_of_its_own() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let place = Place::new(&long());
        let child = started(&place);
        signal(&child, name);
        let ended = common::Ended::from(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, code, "{name}: {}", ended.stderr);
        let resumed = place.run(&["-v"]);
        assert!(resumed.stderr.contains("resumes after epoch"), "{}", resumed.stderr);
    }
}

#[test]
fn a_second_interrupt_ends_at_once_a_program_that_does_not_stop() {
    // It hears nothing of being asked, and would go on for a minute.
    let pid = tempfile::NamedTempFile::new().expect("a file");
    let place = Place::new(&format!(
        "[workflow]\nname = \"deaf\"\n[nodes.deaf]\nkind = \"command\"\nstdout = \"said\"\nrun = [\"sh\", \"-c\", \"echo $$ > {}; trap '' TERM; for i in $(seq 600); do sleep 0.1; done\"]\n",
        pid.path().display()
    ));
    let text = || std::fs::read_to_string(pid.path()).expect("it can be read");
    let child = place.command(&["run", "w.toml"]).spawn().expect("flow starts");
    let begun = Instant::now();
    while text().trim().is_empty() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the program did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    let ended = common::Ended::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let is_there = || {
        let asked = std::process::Command::new("kill").args(["-0", text().trim()]).output();
        asked.expect("kill runs").status.success()
    };
    let begun = Instant::now();
    while is_there() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the program outlived the engine"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A terminal writes `^C` by itself where it is pressed: behind the bars that begins a line, and one of them would stay.
#[test]
fn ctrl_c_in_a_terminal_is_acknowledged_and_leaves_no_bar_behind() {
    let place = Place::new(&long().replace("epochs = 40", "epochs = 100000"));
    let flow = place.command(&[]);
    // Of util-linux: it makes a terminal, and passes on what is written to it as if that were typed.
    let mut command = Command::new("script");
    let run = format!("{} run w.toml", flow.get_program().display());
    command.args(["-qec", &run, "/dev/null"]).current_dir(place.dir.path());
    for (name, value) in flow.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(mut terminal) = command.spawn() else {
        println!("skipped: there is no `script`");
        return;
    };
    let mut keys = terminal.stdin.take().expect("a pipe");
    let mut screen = terminal.stdout.take().expect("a pipe");
    let (mut seen, mut some, mut pressed) = (Vec::new(), [0; 4096], false);
    while let Ok(read @ 1..) = screen.read(&mut some) {
        seen.extend_from_slice(&some[..read]);
        if !pressed && String::from_utf8_lossy(&seen).contains("loss") {
            keys.write_all(b"\x03").expect("typed");
            pressed = true;
        }
    }
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("stopping at the next checkpoint; again to stop now"),
        "{seen}"
    );
    assert!(!seen.contains("^C"), "{seen}");
    assert_eq!(terminal.wait().expect("it ends").code(), Some(130));
}
