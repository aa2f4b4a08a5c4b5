//! Killed and resumed: the same bits as without.

#![cfg(unix)]

mod common;

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
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint was written");
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
    assert!(resumed.stderr.contains("goes on after epoch"), "{}", resumed.stderr);
    assert_eq!(whole.digests(), killed.digests());
    let scratch = std::fs::read_dir(killed.path(".flow/cache/scratch")).expect("the scratch space");
    assert_eq!(scratch.count(), 0, "a published node leaves no checkpoint");
}

#[test]
fn an_interrupt_stops_at_a_checkpoint_with_code_130() {
    let place = Place::new(&long());
    let child = started(&place);
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill runs");
    let ended = common::Ended::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 130);
    let resumed = place.run(&["-v"]);
    assert!(resumed.stderr.contains("goes on after epoch"), "{}", resumed.stderr);
}
