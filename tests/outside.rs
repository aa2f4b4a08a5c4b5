//! What reaches the outside: stdout, names of entries and runs, the files of a program, paths.

#![cfg(target_os = "linux")]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use common::{Ended, Place};

/// Three programs, two of which do the same.
const PROGRAMS: &str = r#"
[matrix]
lr = [0.1, 0.01]
[nodes.fit]
kind = "command"
run = ["echo", "lr ${lr}"]
stdout = "o"
[nodes.twin]
kind = "command"
run = ["echo", "lr 0.1"]
stdout = "o"
"#;

fn full(place: &Place, arguments: &[&str]) -> Ended {
    let full = File::options().write(true).open("/dev/full").expect("a full disk");
    let mut command = place.command(arguments);
    Ended::from(command.stdout(full).output().expect("flow starts"))
}

/// The commands below `path`, by what help says.
fn leaves(place: &Place, path: &[String]) -> Vec<String> {
    let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = place.flow(&arguments).stdout;
    let Some((_, below)) = help.split_once("Commands:\n") else {
        return vec![path.join(" ")];
    };
    let names = below.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    names
        .flat_map(|name| leaves(place, &[path, &[name.to_owned()]].concat()))
        .collect()
}

#[test]
fn a_failed_write_to_stdout_is_an_error_of_every_command() {
    let place = Place::new(PROGRAMS);
    place.run(&[]);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let more = |command: &str| -> Option<Vec<&str>> {
        Some(match command {
            "run" => vec!["w.toml", "--json"],
            "plan" | "graph" => vec!["w.toml"],
            "doctor" => vec!["--reference", golden],
            "completions" => vec!["bash"],
            "bench augment" => vec!["--image", "3x16x16", "--batch", "2"],
            "bench train-step" => vec![
                "--backbone",
                "conv3",
                "--image",
                "1x16x16",
                "--batch",
                "2",
                "--steps",
                "1",
            ],
            "cache show" | "cache why" | "cache tree" => vec!["twin"],
            "cache diff" => vec!["fit[lr=0.1]", "fit[lr=0.01]"],
            "cache query" => vec!["kind = command", "--json"],
            "cache gc" => vec!["--max-size", "1GB"],
            "runs compare" => vec!["2", "2", "--json", "--all"],
            "cache ls" | "cache marks" | "runs ls" | "runs show" | "kinds" | "schema" => vec![],
            // They print nothing on stdout, take too long here, need images or a trained network, or do not end.
            "predict" | "embed" | "report" | "init" | "data inspect" | "cache init" | "runs gc" | "cache export"
            | "cache import" | "cache pin" | "cache unpin" | "cache tag" | "cache untag" | "cache verify"
            | "cache rebuild" | "bench prefetch" | "bench scale" | "bench gpu" | "watch" | "ui" => return None,
            other => panic!("`flow {other}` is not tried on a full disk"),
        })
    };
    for command in leaves(&place, &[]) {
        let words: Vec<&str> = command.split(' ').collect();
        let help = full(&place, &[&words[..], &["--help"]].concat());
        assert_eq!(help.code, 1, "{command} --help: {}", help.stderr);
        let Some(more) = more(&command) else { continue };
        let ended = full(&place, &[&words[..], &more].concat());
        assert_eq!(ended.code, 1, "{command}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("cannot write to stdout"),
            "{command}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("bug"), "{command}: {}", ended.stderr);
    }
    assert_eq!(full(&place, &["--version"]).code, 1);
    assert_eq!(
        full(&place, &["cache", "show", "nobody"]).code,
        2,
        "its own exit code is kept"
    );
}

#[test]
fn a_closed_pipe_is_silent_and_no_nodes_exit_code_is_lost() {
    let place = Place::new(&format!(
        "{PROGRAMS}[nodes.bad]\nkind = \"command\"\nrun = [\"false\"]\nstdout = \"o\"\n"
    ));
    for (arguments, code) in [
        (&["run", "w.toml", "--json", "-q"][..], 1),
        (&["completions", "zsh"], 0),
        (&["cache", "ls"], 0),
    ] {
        let mut child = place.command(arguments);
        let mut child = child
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("flow starts");
        drop(child.stdout.take());
        let ended = Ended::from(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("ipe"), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn every_way_to_name_an_entry_leads_there_and_every_command_takes_it() {
    let place = Place::new(PROGRAMS);
    place.run(&[]);
    let key = |word: &str| {
        let ended = place.flow(&["cache", "show", word, "--json"]);
        assert_eq!(ended.code, 0, "{word}: {}", ended.stderr);
        ended.json()["key"].as_str().expect("a key").to_owned()
    };
    let run = place.flow(&["runs", "show", "--json"]).json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let expected = key("fit[lr=0.1]");
    assert_eq!(place.flow(&["cache", "tag", "best", "fit[lr=1e-1]"]).code, 0);
    for word in [
        "fit[ lr = \"0.1\" ]",
        "twin",
        "best",
        &expected[..12],
        &format!("{run}:twin"),
        &format!("{}:fit[lr=0.10]", &run[run.len() - 6..]),
    ] {
        assert_eq!(key(word), expected, "{word}");
    }
    for command in [
        &["cache", "pin", "fit[lr=0.1]"][..],
        &["cache", "unpin", "twin"],
        &["cache", "why", "twin"],
        &["cache", "tree", "twin"],
        &["cache", "export", "twin", "-o", "t.tar"],
    ] {
        let ended = place.flow(command);
        assert_eq!(ended.code, 0, "{command:?}: {}", ended.stderr);
    }
    let several = place.flow(&["cache", "show", "fit"]);
    assert!(
        several.code == 0 && several.stderr.contains("2 entries: using the newest"),
        "{}",
        several.stderr
    );
    let pinned = place.flow(&["cache", "pin", &run]);
    assert!(pinned.stderr.contains("2 entries pinned"), "{}", pinned.stderr);
    let unknown = place.flow(&["cache", "show", "twni"]);
    assert!(
        unknown.code == 2 && unknown.stderr.contains("did you mean `twin`"),
        "{}",
        unknown.stderr
    );
    let instance = place.flow(&["cache", "show", "fit[lr=0.2]"]);
    assert!(
        instance.code == 2 && instance.stderr.contains("fit[lr=0.1]"),
        "{}",
        instance.stderr
    );
}

#[test]
fn a_node_that_was_renamed_is_found_under_both_names() {
    let place = Place::new(PROGRAMS);
    place.run(&[]);
    place.write("w.toml", PROGRAMS.replace("nodes.fit", "nodes.tuned"));
    assert!(place.run(&[]).stderr.contains("0 ran"));
    for word in ["fit[lr=0.01]", "tuned[lr=0.01]"] {
        assert_eq!(place.flow(&["cache", "show", word]).code, 0, "{word}");
    }
}

/// A program in a directory of code in which flow is started.
const IN_CODE: &str =
    "[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"exp/go.sh\"]\ncode = [\"exp\"]\nstdout = \"o\"\n";

#[test]
fn what_flow_leaves_in_a_folder_of_code_is_no_part_of_it() {
    let place = Place::new(IN_CODE);
    std::fs::create_dir(place.path("exp")).expect("made");
    place.write("exp/go.sh", "ls -A exp\n");
    for (more, ran) in [
        (&[][..], "1 ran"),
        (&[], "0 ran"),
        (&["--runs", "mine", "--cache", "store"], "1 ran"),
        (&["--runs", "mine", "--cache", "store"], "0 ran"),
    ] {
        let mut command = place.command(&[&["run", "../w.toml"], more].concat());
        let log = File::create(place.path("exp/log")).expect("a log");
        let status = command
            .current_dir(place.path("exp"))
            .stderr(log)
            .status()
            .expect("flow starts");
        let said = std::fs::read_to_string(place.path("exp/log")).expect("a log");
        std::fs::remove_file(place.path("exp/log")).expect("removed");
        assert!(status.success() && said.contains(ran), "{more:?}: {said}");
    }
    let listed = Command::new("sh")
        .arg("-c")
        .arg("cat exp/store/blobs/*/*")
        .current_dir(place.dir.path())
        .output();
    assert_eq!(
        String::from_utf8_lossy(&listed.expect("read").stdout),
        "go.sh\n",
        "what the program saw"
    );
}

#[test]
fn a_program_runs_on_a_copy_and_its_original_may_be_edited_meanwhile() {
    let place = Place::new(
        "[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"go.sh\"]\ncode = [\"go.sh\"]\npass_env = [\"HERE\"]\nstdout = \"o\"\n",
    );
    // It edits its own original.
    let program = "echo '# next' >> \"$HERE/go.sh\"\n";
    place.write("go.sh", program);
    let mut command = place.command(&["run", "w.toml"]);
    let ended = Ended::from(command.env("HERE", place.dir.path()).output().expect("flow starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        place.flow(&["plan", "w.toml"]).stdout.contains("run"),
        "the edit is another key"
    );
    place.write("go.sh", program);
    assert!(place.flow(&["plan", "w.toml"]).stdout.contains("cached"));
}

#[test]
fn a_fifo_is_an_error_that_names_it_and_is_never_waited_for() {
    let place = Place::new("include = [\"pipe\"]\n");
    let made = Command::new("mkfifo").arg(place.path("pipe")).status();
    assert!(made.expect("mkfifo").success());
    place.write(
        "code.toml",
        "[nodes.a]\nkind = \"command\"\nrun = [\"true\"]\ncode = [\"pipe\"]\nstdout = \"o\"\n",
    );
    for (file, code) in [("pipe", 3), ("w.toml", 3), ("code.toml", 1)] {
        let ended = place.flow(&["plan", file]);
        assert_eq!(ended.code, code, "{file}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("pipe") && ended.stderr.contains("FIFO"),
            "{file}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_path_need_not_be_utf8() {
    let place = Place::new("");
    let folder = place.dir.path().join(OsStr::from_bytes(b"donn\xe9es"));
    std::fs::create_dir(&folder).expect("made");
    let workflow = format!("{IN_CODE}isolate = true\n");
    std::fs::create_dir(folder.join("exp")).expect("made");
    std::fs::write(folder.join("w.toml"), workflow).expect("written");
    std::fs::write(folder.join("exp/go.sh"), "echo hi\n").expect("written");
    std::fs::write(folder.join("exp").join(OsStr::from_bytes(b"\xff")), "x").expect("written");
    let outside = place.command(&["run"]).arg(folder.join("w.toml")).output();
    let inside = place.command(&["run", "w.toml"]).current_dir(&folder).output();
    let runs = place.command(&["runs", "ls", "--json"]).current_dir(&folder).output();
    for ended in [outside, inside, runs] {
        let ended = Ended::from(ended.expect("flow starts"));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
}
