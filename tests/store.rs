//! The cache and the directory of runs seen from the command line: who may read them, what is told, what is swept, what limits do.

#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Ended, Place};

const TWO: &str = r#"
[workflow]
name = "two"
[nodes.a]
kind = "command"
run = ["sh", "-c", "echo a"]
stdout = "o"
[nodes.b]
kind = "concat"
text = "b"
"#;

/// A command line of flow under a shell that first does something to itself, like setting a limit.
fn under(place: &Place, first: &str, arguments: &str) -> Ended {
    let script = format!("{first}; exec {} {arguments}", env!("CARGO_BIN_EXE_flow"));
    let mut command = Command::new("sh");
    command
        .current_dir(place.dir.path())
        .args(["-c", &script])
        .env("NO_COLOR", "1");
    for name in ["FLOW_CACHE", "FLOW_RUNS", "FLOW_LOG"] {
        command.env_remove(name);
    }
    Ended::from(command.output().expect("sh starts"))
}

fn all_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).expect("a directory").flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true => found.extend(all_under(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Everything under `.flow` whose permissions are not these.
fn others_than(place: &Place, folders: u32, files: u32) -> Vec<String> {
    let mode = |path: &PathBuf| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    let all = all_under(&place.path(".flow")).into_iter();
    let wrong = all.filter(|path| mode(path) != if path.is_dir() { folders } else { files });
    wrong
        .map(|path| format!("{:o} {}", mode(&path), path.display()))
        .collect()
}

/// Everything that a store and a run directory can hold, but for the index, whose files sled makes.
fn fill(place: &Place, umask: &str) {
    for arguments in [
        "run w.toml",
        "run w.toml -q",
        "cache tag best a",
        "cache pin b --note x",
        "cache verify",
    ] {
        let ended = under(place, &format!("umask {umask}"), arguments);
        assert_eq!(ended.code, 0, "{arguments}: {}", ended.stderr);
    }
}

#[test]
fn cache_and_runs_are_their_owners_alone_whatever_the_umask() {
    let place = Place::new(TWO);
    std::fs::set_permissions(place.path("w.toml"), std::fs::Permissions::from_mode(0o600)).expect("chmod");
    fill(&place, "000");
    assert_eq!(others_than(&place, 0o700, 0o600), [] as [String; 0]);
}

#[test]
fn a_shared_cache_is_its_groups_whatever_the_umask_and_never_everyones() {
    let place = Place::new(TWO);
    let made = under(&place, "umask 077", "cache init --shared");
    assert_eq!(made.code, 0, "{}", made.stderr);
    fill(&place, "077");
    assert_eq!(others_than(&place, 0o2770, 0o660), [] as [String; 0]);
    let listed = under(&place, "umask 077", "cache ls");
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    assert_eq!(
        others_than(&place, 0o2770, 0o660),
        [] as [String; 0],
        "the index as well"
    );
    // What it is can be taken back, with everything in it.
    assert_eq!(place.flow(&["cache", "init"]).code, 0);
    let cache = all_under(&place.path(".flow/cache"));
    let open = cache
        .iter()
        .filter(|path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o077 != 0);
    assert_eq!(open.collect::<Vec<_>>(), [] as [&PathBuf; 0]);
    assert_eq!(place.run(&[]).stderr.matches("2 cached").count(), 1);
}

#[test]
fn escape_sequences_of_others_never_reach_a_terminal() {
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[matrix]\nx = [\"\\u001b]0;title\\u0007\", \"\\u009b2J\"]\n[nodes.a]\nkind = \"concat\"\ntext = \"${x}\"\n",
    );
    let commands: [&[&str]; 8] = [
        &["plan", "w.toml"],
        &["run", "w.toml", "-v"],
        &["cache", "ls"],
        &["cache", "ls", "--json"],
        &["cache", "pin", "a", "--note", "\u{1b}[31mred"],
        &["cache", "marks"],
        &["cache", "show", "\u{1b}[2J"],
        &["runs", "show"],
    ];
    let is_clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    for command in commands {
        let ended = place.flow(command);
        assert!(
            is_clean(&ended.stdout) && is_clean(&ended.stderr),
            "{command:?}: {ended:?}"
        );
    }
    place.write(
        "fails.toml",
        "[workflow]\nname = \"f\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"printf '\\\\033[2J\\\\033]0;x\\\\007' >&2; exit 1\"]\nstdout = \"o\"\n",
    );
    let failed = place.flow(&["run", "fails.toml", "-v"]);
    assert_eq!(failed.code, 1);
    assert!(
        is_clean(&failed.stderr) && failed.stderr.contains("[2J"),
        "{}",
        failed.stderr
    );
    place.write("broken.toml", "[workflow]\nname = \"\u{1b}[2J\n");
    let broken = place.flow(&["plan", "broken.toml"]);
    assert!(broken.code == 3 && is_clean(&broken.stderr), "{}", broken.stderr);
}

#[test]
fn old_runs_go_and_those_that_stay_or_are_under_way_do_not() {
    let place = Place::new(TWO);
    for _ in 0..4 {
        place.run(&["-q"]);
    }
    let ids = || -> Vec<String> {
        let listed = place.flow(&["runs", "ls", "--json"]).json_lines();
        listed
            .iter()
            .map(|run| run["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let before = ids();
    let dir = |id: &str| place.path(".flow/runs").join(id);
    // The oldest is under way: it has no summary yet, and holds its log. The next was killed.
    std::fs::remove_file(dir(&before[3]).join("summary.json")).expect("it was there");
    std::fs::remove_file(dir(&before[2]).join("summary.json")).expect("it was there");
    let log = std::fs::File::open(dir(&before[3]).join("events.jsonl")).expect("a log");
    log.lock().expect("it is free");
    let planned = place.flow(&["runs", "gc", "--keep", "1", "--dry-run", "--json"]).json();
    assert_eq!(ids(), before, "nothing is changed");
    let done = place.flow(&["runs", "gc", "--keep", "1", "--json"]).json();
    assert_eq!(done["removed"], planned["removed"]);
    assert_eq!((&done["kept"], &done["running"]), (&1.into(), &1.into()));
    assert_eq!(ids(), [before[0].clone(), before[3].clone()]);
    assert!(!dir(&before[1]).exists() && !dir(&before[2]).exists());
    // What a removal left that was killed goes with the next.
    std::fs::create_dir(dir(".removed-x")).expect("made");
    drop(log);
    let told = place.flow(&["runs", "gc", "--keep", "0"]);
    assert!(
        told.code == 0 && told.stderr.contains("2 runs removed"),
        "{}",
        told.stderr
    );
    let left = std::fs::read_dir(place.path(".flow/runs")).expect("runs").flatten();
    let folders = left.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 0);
    assert_eq!(
        place.run(&[]).stderr.matches("2 cached").count(),
        1,
        "what they made stays"
    );
}

#[test]
fn too_few_files_may_be_open_is_told_and_is_no_damage_to_the_index() {
    let place = Place::new(TWO);
    place.run(&[]);
    place.flow(&["cache", "query", "kind = concat"]);
    for limit in [8, 10, 12, 14, 16, 20] {
        let ended = under(&place, &format!("ulimit -n {limit}"), "cache query 'kind = concat'");
        let told = ended.code == 0 || ended.stderr.contains("open files");
        assert!(told && !ended.stderr.contains("rebuild"), "{limit}: {ended:?}");
        assert!(!place.path(".flow/cache/quarantine/index").exists(), "{limit}");
    }
    assert_eq!(place.flow(&["cache", "query", "kind = concat"]).stderr, "");
}

#[test]
fn a_file_that_may_not_grow_is_an_error_with_words_and_nothing_is_lost() {
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"head -c 300000 /dev/zero\"]\nstdout = \"o\"\n",
    );
    let ended = under(&place, "ulimit -f 200", "run w.toml");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(!ended.stderr.trim().is_empty(), "it does not end in silence");
    assert_eq!(place.flow(&["cache", "verify"]).code, 0);
    place.run(&[]);
}

#[test]
fn a_read_only_cache_serves_plans_queries_lists_and_hits() {
    let place = Place::new(TWO);
    place.run(&[]);
    let flow = env!("CARGO_BIN_EXE_flow");
    let script = format!(
        "mount --bind .flow .flow && mount -o remount,bind,ro .flow || exit 99
         {flow} plan w.toml && {flow} cache query 'kind = concat' && {flow} cache ls && {flow} cache verify && {flow} cache why a; echo $?
         {flow} cache gc --max-size 1B --delete; echo $?"
    );
    let mut command = Command::new("unshare");
    command
        .current_dir(place.dir.path())
        .args(["-m", "sh", "-c", &script])
        .env("NO_COLOR", "1");
    let Ok(output) = command.output() else { return };
    let ended = Ended::from(output);
    // Not everyone may mount.
    if ended.code == 99 || ended.stderr.contains("unshare") {
        return;
    }
    let codes: Vec<&str> = ended.stdout.lines().filter(|line| line.parse::<u8>().is_ok()).collect();
    assert_eq!(codes, ["0", "1"], "{ended:?}");
    assert!(
        ended.stdout.contains("cached") && ended.stderr.contains("is read-only. Make it writable"),
        "{ended:?}"
    );
}

#[test]
fn a_run_that_waits_for_a_collection_says_for_whom_and_ends_on_ctrl_c() {
    let place = Place::new(TWO);
    place.run(&[]);
    // Held as a collection holds it that was suspended.
    let held = std::fs::File::options()
        .read(true)
        .write(true)
        .open(place.path(".flow/cache/publish.lock"))
        .expect("a lock");
    held.lock().expect("it is free");
    std::fs::write(
        place.path(".flow/cache/publish.lock"),
        "process 7 on there (flow cache gc --delete, since 2026)\n",
    )
    .expect("written");
    place.write("w.toml", TWO.replace("echo a", "echo c"));
    let mut run = place
        .command(&["run", "w.toml"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("flow starts");
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(run.stderr.take().expect("a pipe"))).map_while(Result::ok);
    let told = lines.find(|line| line.contains("waiting for")).expect("it is told");
    assert!(told.contains("process 7 on there (flow cache gc --delete"), "{told}");
    let interrupted = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(interrupted.expect("kill starts").success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(run.wait().expect("it ends").code(), Some(130), "{rest:?}");
    let stopping = rest.iter().find(|line| line.starts_with("stopping"));
    let (_, told) = told.split_once("WARN ").expect("a warning, after the time");
    insta::assert_snapshot!(format!("{told}\n{}", stopping.map_or("", String::as_str)));
    drop(held);
    place.run(&[]);
}
