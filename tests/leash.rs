//! Programs are on a leash: whatever they print, leave or start, a node ends, and nothing of it outlives the engine.

#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ended, Place};

/// How long something that is sure to happen is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A workflow of one command node, which a shell runs.
fn shell(script: &str, more: &str) -> Place {
    let place = Place::new("");
    let script = toml::Value::from(script);
    place.write(
        "w.toml",
        format!("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script}]\n{more}\n"),
    );
    place
}

/// `flow run` with a limit of the shell's, e.g. `-v 2000000`.
fn limited(place: &Place, limit: &str, arguments: &str) -> Ended {
    let flow = env!("CARGO_BIN_EXE_flow");
    let command = format!("ulimit {limit}; exec {flow} {arguments}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &command])
        .current_dir(place.dir.path())
        .env("NO_COLOR", "1");
    Ended::from(shell.output().expect("sh starts"))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} is still to come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that have a word on their command lines.
fn processes(word: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

fn started(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("flow starts")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_program_that_prints_without_end_costs_bounded_memory_and_a_bounded_log() {
    let place = shell(
        "yes | head -3000000; echo the end; touch {outputs}/f",
        "outputs = [\"f\"]",
    );
    let run = limited(&place, "-v 3000000", "run w.toml");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let logs = place.logs();
    assert!(logs.len() < 11 << 20, "{} bytes", logs.len());
    assert!(logs.contains("lines are left out here") && logs.trim_end().ends_with("the end"));
    let all: u64 = files_under(&place.path(".flow/runs"))
        .iter()
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    assert!(all < 16 << 20, "{all} bytes of a run's folder");
    for pipe in ["cat /dev/zero", "cat /dev/zero >&2", "yes"] {
        let place = shell(
            &format!("touch {{outputs}}/f; {pipe}"),
            "outputs = [\"f\"]\ntimeout_s = 1.0",
        );
        let run = limited(&place, "-v 3000000", "run w.toml");
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(run.stderr.contains("still running after 1 s"), "{pipe}: {}", run.stderr);
    }
}

#[test]
fn what_goes_to_a_file_is_kept_whole_and_the_end_of_it_is_shown_when_the_program_fails() {
    let place = shell("yes | head -100000", "stdout = \"f\"");
    place.run(&[]);
    let kept = std::fs::metadata(common::blob(&place, "a", "f")).expect("a blob").len();
    assert_eq!(kept, 200_000);
    let failing = shell("yes | head -100000; echo the reason; exit 3", "stdout = \"f\"");
    let run = failing.flow(&["run", "w.toml"]);
    assert!(run.stderr.contains("the reason"), "{}", run.stderr);
}

#[test]
fn whatever_is_left_among_the_outputs_or_kept_open_a_node_ends() {
    let cases = [
        ("mkfifo {outputs}/f", "`f` in {outputs}, which is a FIFO"),
        (
            "ln -s . {outputs}/a; ln -s . {outputs}/b; echo x > {outputs}/f",
            "not a regular file",
        ),
        ("ln -s /etc/hostname {outputs}/f", "outside of it"),
        ("ln -s /dev/zero {outputs}/f", "outside of it"),
    ];
    for (script, expected) in cases {
        let run = shell(script, "outputs = [\"f\"]").flow(&["run", "w.toml"]);
        assert_eq!(run.code, 1, "{script}");
        assert!(run.stderr.contains(expected), "{script}: {}", run.stderr);
    }
    // A daemon keeps the pipes: it is not waited for, and ended.
    let word = format!("600.{}", std::process::id());
    let place = shell(
        &format!("setsid sleep {word} & sleep 0.2; echo x > {{outputs}}/f"),
        "outputs = [\"f\"]",
    );
    place.run(&[]);
    assert_eq!(processes(&format!("sleep {word}")), Vec::<String>::new());
}

#[test]
fn nothing_that_a_program_started_outlives_the_engine_however_that_ends() {
    for (number, how) in ["HUP", "INT", "QUIT", "TERM", "KILL"].into_iter().enumerate() {
        for isolate in [false, true] {
            let word = format!("60{number}{}.{}", u8::from(isolate), std::process::id());
            let script = format!(
                "setsid sleep {word} < /dev/null > /dev/null 2>&1 & (sleep {word}) & touch started; sleep {word}"
            );
            let place = Place::new("");
            let started_file = place.path("started");
            let script = script.replace("touch started", &format!("touch {}", started_file.display()));
            let script = toml::Value::from(script);
            place.write(
                "w.toml",
                format!("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script}]\nstdout = \"f\"\nisolate = {isolate}\n"),
            );
            let mut run = started(&place, &["run", "w.toml"]);
            until("the program", || {
                started_file.exists() && processes(&format!("sleep {word}")).len() >= 3
            });
            signal(&run, how);
            run.wait().expect("it ends");
            until(&format!("the end of all after SIG{how}"), || {
                processes(&word).is_empty()
            });
        }
    }
}

#[test]
fn the_exit_code_tells_which_signal_ended_a_run() {
    for (how, code) in [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let place = Place::new("");
        let started_file = place.path("started");
        place.write(
            "w.toml",
            format!(
                "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"touch {}; sleep 600\"]\nstdout = \"f\"\n",
                started_file.display()
            ),
        );
        let mut run = started(&place, &["run", "w.toml"]);
        until("the program", || started_file.exists());
        signal(&run, how);
        assert_eq!(run.wait().expect("it ends").code(), Some(code), "SIG{how}");
    }
}

#[test]
fn a_second_copy_is_never_started_beside_the_first_of_a_killed_engine() {
    let place = Place::new("");
    let (lock, log, started_file) = (place.path("lock"), place.path("log"), place.path("started"));
    let script = format!(
        "trap '' TERM; exec 9> {lock}; flock -n 9 || echo overlap >> {log}; touch {started}; if [ -e {go} ]; then exit; fi; sleep 600",
        lock = lock.display(),
        log = log.display(),
        started = started_file.display(),
        go = place.path("go").display(),
    );
    let script = toml::Value::from(script);
    place.write(
        "w.toml",
        format!("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script}]\nstdout = \"f\"\n"),
    );
    for _ in 0..5 {
        let mut run = started(&place, &["run", "w.toml"]);
        until("the program", || started_file.exists());
        std::fs::remove_file(&started_file).expect("it is there");
        signal(&run, "KILL");
        run.wait().expect("it ends");
    }
    place.write("go", "");
    place.run(&[]);
    assert!(!log.exists(), "two copies ran at once");
}

#[test]
fn a_killed_engine_leaves_no_temporary_folder() {
    let place = Place::new("");
    let (temporary, started_file) = (place.path("tmp"), place.path("started"));
    std::fs::create_dir(&temporary).expect("a folder");
    let script = format!("touch {}; sleep 600", started_file.display());
    place.write(
        "w.toml",
        format!("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"{script}\"]\nstdout = \"f\"\n"),
    );
    let mut run = place
        .command(&["run", "w.toml", "-q"])
        .env("TMPDIR", &temporary)
        .spawn()
        .expect("flow starts");
    until("the program", || started_file.exists());
    signal(&run, "KILL");
    run.wait().expect("it ends");
    let is_empty = || std::fs::read_dir(&temporary).expect("a folder").next().is_none();
    until("an empty folder", is_empty);
}

#[test]
fn the_worker_is_the_program_that_runs_also_after_its_file_was_replaced() {
    let place = Place::new("");
    let flow = place.path("flow");
    std::fs::copy(env!("CARGO_BIN_EXE_flow"), &flow).expect("copied");
    let (started_file, go) = (place.path("started"), place.path("go"));
    let first = format!(
        "touch {}; while ! [ -e {} ]; do sleep 0.05; done",
        started_file.display(),
        go.display()
    );
    place.write(
        "w.toml",
        format!(
            "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"{first}\"]\nstdout = \"f\"\n[nodes.b]\nkind = \"concat\"\ninputs = [\"a\"]\ntext = \"b\"\nisolate = true\n"
        ),
    );
    let run = Command::new(&flow)
        .args(["run", "w.toml"])
        .current_dir(place.dir.path())
        .stderr(Stdio::piped())
        .spawn();
    let run = run.expect("flow starts");
    until("the first node", || started_file.exists());
    place.write("another", "#!/bin/sh\necho another program\n");
    std::fs::rename(place.path("another"), &flow).expect("replaced");
    place.write("go", "");
    let ended = Ended::from(run.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let shown = place.flow(&["cache", "show", "b", "--json"]).stdout;
    assert!(
        shown.contains(&format!("\"{}+", env!("CARGO_PKG_VERSION"))),
        "the record has the build: {shown}"
    );
}

/// A folder with a program of one's own, in PATH.
fn with_tool(place: &Place, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let bin = place.path("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    std::fs::write(bin.join("own-tool"), text).expect("written");
    std::fs::set_permissions(bin.join("own-tool"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default())
}

fn run_in_path(place: &Place, path: &str) -> String {
    let output = place.command(&["run", "w.toml"]).env("PATH", path).output();
    let ended = Ended::from(output.expect("flow starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn ones_own_program_and_named_tools_are_part_of_the_key() {
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"own-tool\"]\nstdout = \"o\"\n[nodes.b]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"own-tool\"]\ntools = [\"own-tool\", \"data.txt\"]\nstdout = \"o\"\n[nodes.c]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"own-tool\"]\nstdout = \"o\"\n",
    );
    place.write("data.txt", "1");
    let path = with_tool(&place, "#!/bin/sh\necho version 1\n");
    assert!(run_in_path(&place, &path).contains("3 ran"));
    assert!(run_in_path(&place, &path).contains("0 ran, 3 cached"));
    with_tool(&place, "#!/bin/sh\necho version 2\n");
    assert!(run_in_path(&place, &path).contains("2 ran, 1 cached"));
    place.write("data.txt", "2");
    assert!(run_in_path(&place, &path).contains("1 ran, 2 cached"));
    let plan = place.command(&["plan", "w.toml"]).env("PATH", &path).output();
    let told = Ended::from(plan.expect("flow starts")).stderr;
    assert!(
        told.contains("not part of any key") && told.contains("`sh` of b and 1 more"),
        "{told}"
    );
}

#[test]
fn secrets_are_in_the_key_and_nowhere_in_clear() {
    const SECRET: &str = "hunter2-is-no-password";
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[env]\nAPI_TOKEN = { required = true }\nPHRASE = { default = \"open-sesame-77\", secret = true }\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo $T; echo $T >&2; echo {params.p} >&2; exit $FAIL\"]\nenv = { T = \"Bearer ${env.API_TOKEN}\", FAIL = \"0\" }\nparams = { p = \"${env.PHRASE}\" }\nstdout = \"o\"\n[nodes.b]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo ${env.API_TOKEN}\"]\nstdout = \"o\"\nisolate = true\n",
    );
    let with = |arguments: &[&str], secret: &str| {
        let trace = ["--trace", "trace.json"];
        let arguments = [&["run", "w.toml"], arguments, &trace].concat();
        let output = place.command(&arguments).env("API_TOKEN", secret).output();
        Ended::from(output.expect("flow starts"))
    };
    let first = with(&[], SECRET);
    assert!(first.stderr.contains("2 ran"), "{}", first.stderr);
    assert!(with(&[], SECRET).stderr.contains("0 ran, 2 cached"));
    assert!(
        with(&[], "another-secret-1").stderr.contains("2 ran"),
        "it is part of the key"
    );
    let set = format!("env.API_TOKEN={SECRET}");
    assert!(
        with(&["--set", &set], "another-secret-1")
            .stderr
            .contains("0 ran, 2 cached")
    );
    let phrase = with(&["--set", "env.PHRASE=mellon-mellon"], SECRET);
    assert!(phrase.stderr.contains("1 ran, 1 cached"), "{}", phrase.stderr);
    // One that fails has its last words in events, summary and on the terminal.
    let failed = with(&["--set", "nodes.a.env.FAIL='3'"], SECRET);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("***"), "{}", failed.stderr);
    place.flow(&["cache", "query", "kind = command", "--json"]);
    let exported = place.flow(&["cache", "export", "a", "--output", "a.tar.zst"]);
    let shown = place.flow(&["runs", "show", "--json"]).stdout;
    for secret in [SECRET, "another-secret-1", "open-sesame-77", "mellon-mellon"] {
        let has = |text: &[u8]| text.windows(secret.len()).any(|window| window == secret.as_bytes());
        let is_workflow = |file: &PathBuf| *file == place.path("w.toml");
        let leaks: Vec<PathBuf> = files_under(place.dir.path())
            .into_iter()
            .filter(|file| !is_workflow(file) && has(&std::fs::read(file).expect("ours")))
            .collect();
        assert!(leaks.is_empty(), "{secret} is in {leaks:?}");
        for text in [&failed.stderr, &shown, &exported.stderr] {
            assert!(!has(text.as_bytes()), "{text}");
        }
    }
    let key = std::fs::metadata(place.path(".flow/cache/secret.key")).expect("a key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_secret_cannot_be_part_of_a_name() {
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[env]\nAPI_KEY = \"k-1234567\"\n[matrix]\nk = [\"${env.API_KEY}\", \"x\"]\n[nodes.a]\nkind = \"concat\"\ntext = \"${k}\"\n",
    );
    let run = place.flow(&["run", "w.toml"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("`API_KEY`") && !run.stderr.contains("k-1234567"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_file_size_limit_is_an_error_and_not_a_silent_end() {
    let place = Place::new("[workflow]\nname = \"w\"\n[nodes.big]\nkind = \"concat\"\nfiles = [\"big.txt\"]\n");
    place.write("big.txt", "x".repeat(200_000));
    let run = limited(&place, "-f 100", "run w.toml");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("big") && run.stderr.contains("File too large"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_log_that_is_begun_in_a_folder_of_code_is_no_part_of_it_for_a_worker_either() {
    let place = Place::new("");
    std::fs::create_dir(place.path("src")).expect("a folder");
    place.write("src/main.sh", "echo done\n");
    place.write(
        "w.toml",
        "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"sh\", \"src/main.sh\"]\ncode = [\"src\"]\nstdout = \"o\"\nisolate = true\n",
    );
    let log = std::fs::File::create(place.path("src/run.log")).expect("a log");
    let ended = place
        .command(&["run", "w.toml", "-v"])
        .stderr(log)
        .status()
        .expect("flow starts");
    assert!(
        ended.success(),
        "{}",
        std::fs::read_to_string(place.path("src/run.log")).expect("a log")
    );
}

#[test]
fn a_plan_is_made_where_no_cache_can_be() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"concat\"\ntext = \"a\"\n");
    // A file where the cache's folder would be: not even root can make it.
    place.write(".flow", "");
    std::fs::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o555)).expect("ours");
    let plan = place.flow(&["plan", "w.toml"]);
    std::fs::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    assert!(plan.stderr.contains("1 to run"), "{}", plan.stderr);
}

#[test]
fn too_little_memory_and_too_few_processes_are_one_clear_error() {
    let place = Place::new(
        "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"command\"\nrun = [\"echo\", \"x\"]\nstdout = \"o\"\n",
    );
    // Below some 75 MB, or 110 if it is not optimised, the system cannot start a program of this size, which ends before it can say so.
    for kib in [150_000, 200_000, 600_000, 1_000_000, 2_000_000] {
        let run = limited(&place, &format!("-v {kib}"), "run w.toml");
        assert_eq!(run.code, 1, "{kib}: {}", run.stderr);
        assert!(run.stderr.contains("ulimit -v"), "{kib}: {}", run.stderr);
    }
    // Root is not limited: whoever runs this as root takes another user.
    let chmod = |path: PathBuf| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("ours");
    chmod(place.dir.path().to_owned());
    std::fs::copy(env!("CARGO_BIN_EXE_flow"), place.path("flow")).expect("copied");
    for processes in [1, 3, 5, 9] {
        let command = format!("ulimit -u {processes}; exec ./flow run w.toml");
        let is_root = std::fs::metadata(place.dir.path()).expect("it is there").uid() == 0;
        let mut shell = Command::new(if is_root { "setpriv" } else { "bash" });
        if is_root {
            shell.args(["--reuid=65533", "--clear-groups", "bash"]);
        }
        shell.args(["-c", &command]).current_dir(place.dir.path());
        let run = Ended::from(shell.output().expect("sh starts"));
        assert_eq!(run.code, 1, "{processes}: {}", run.stderr);
        assert!(run.stderr.contains("ulimit -u"), "{processes}: {}", run.stderr);
    }
}

#[test]
fn a_time_limit_covers_the_wait_for_publication() {
    let place = Place::new("[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"concat\"\ntext = \"a\"\ntimeout_s = 1.2\n");
    place.flow(&["cache", "init"]);
    let lock = place.path(".flow/cache/publish.lock");
    let collection = std::fs::File::options()
        .create(true)
        .append(true)
        .open(lock)
        .expect("a file");
    collection.lock().expect("nobody has it");
    let run = place.flow(&["run", "w.toml"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("still running after 1.2 s"), "{}", run.stderr);
    drop(collection);
    place.run(&[]);
}

#[test]
fn an_output_larger_than_memory_is_an_error_of_its_node() {
    // A hole: it takes no room on the disk.
    let run = shell("truncate -s 4T {outputs}/f", "outputs = [\"f\"]").flow(&["run", "w.toml"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("4398046511104 bytes, for which there is not enough memory"),
        "{}",
        run.stderr
    );
}
