//! Faults: whatever happens, no wrong hit, no finished node lost, and the next command works. The digests at the end are those
//! of a run to which nothing happened. What a fault does to single writes is tested beside the store, on a simulated disk.

#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use common::{Ended, Place, SMALL};

/// A chain and a fan of small nodes, in threads and in processes; every node leaves a line in `log`.
fn graph(place: &Place) -> String {
    let log = place.path("log");
    let mut text =
        String::from("[workflow]\nname = \"faults\"\n[nodes.n0]\nkind = \"concat\"\nfiles = [\"leaf.txt\"]\n");
    for i in 1..24 {
        let before = i - 1;
        text += &format!(
            "[nodes.n{i}]\nkind = \"concat\"\ninputs = [\"n{before}\", \"n{}\"]\ntext = \"{i}\\n\"\nkeep_last = 40\n",
            i / 2
        );
    }
    for i in 0..6 {
        let script = format!("cat inputs/n/text; echo {i}; echo c{i} >> {}", log.display());
        let from = i * 3;
        text += &format!(
            "[nodes.c{i}]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"{script}\"]\ninputs = {{ n = \"n{from}\" }}\nstdout = \"said\"\n"
        );
    }
    text
}

fn placed() -> Place {
    let place = Place::new("");
    place.write("leaf.txt", "leaf\n");
    place.write("w.toml", graph(&place));
    place
}

/// The digests of a run to which nothing happened.
fn clean() -> std::collections::BTreeMap<String, String> {
    let place = placed();
    place.run(&[]);
    place.digests()
}

/// What is done to a file, by name.
type Damage = (&'static str, fn(&mut Vec<u8>));

/// A small generator of numbers: the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
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
    found.sort();
    found
}

/// Changes a file and puts its times back.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let before = std::fs::metadata(path).expect("a file");
    let mut bytes = std::fs::read(path).expect("it can be read");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("it can be written");
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it can be opened");
    file.set_modified(before.modified().expect("a time"))
        .expect("its time can be set");
}

#[test]
fn killed_at_two_hundred_random_times_a_run_ends_as_if_nothing_had_happened() {
    let expected = clean();
    let (mut dice, mut kills) = (Dice(7), 0);
    while kills < 200 {
        let place = placed();
        // Killed again and again until it gets through: each attempt goes on from what the last one left.
        for attempt in 0.. {
            let mut command = place.command(&["run", "w.toml", "-q"]);
            let mut run = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("flow starts");
            std::thread::sleep(Duration::from_micros(dice.roll(60_000) * (1 + attempt / 8)));
            let killed = run.try_wait().expect("it can be asked").is_none();
            run.kill().expect("SIGKILL");
            run.wait().expect("it ends");
            kills += u32::from(killed);
            if !killed {
                break;
            }
        }
        let last = place.run(&[]);
        assert!(
            last.stderr.contains("0 ran, 30 cached"),
            "a finished node was lost: {}",
            last.stderr
        );
        assert_eq!(place.digests(), expected, "after {kills} kills");
        let verified = place.flow(&["cache", "verify"]);
        assert_eq!(verified.code, 0, "{}", verified.stderr);
    }
}

#[test]
fn killed_at_every_write_of_the_store_a_run_ends_as_if_nothing_had_happened() {
    let text = graph(&Place::new(""))
        .split("[nodes.n3]")
        .next()
        .expect("three nodes")
        .to_owned();
    let placed = || {
        let place = Place::new(&text);
        place.write("leaf.txt", "leaf\n");
        place
    };
    let clean = placed();
    clean.run(&["-j", "1"]);
    let mut kills = 0;
    for writes in 0.. {
        let place = placed();
        let mut command = place.command(&["run", "w.toml", "-q", "-j", "1"]);
        let run = command.env("FLOW_FAILPOINT_DIE_AFTER", writes.to_string()).output();
        if run.expect("flow starts").status.success() {
            break;
        }
        kills += 1;
        place.run(&["-j", "1"]);
        assert_eq!(place.digests(), clean.digests(), "killed at write {writes}");
        assert_eq!(place.flow(&["cache", "verify"]).code, 0, "killed at write {writes}");
    }
    assert!(kills >= 30, "three nodes take many writes, not {kills}");
}

#[test]
fn damaged_blobs_are_never_served_and_what_rests_on_them_comes_out_as_before() {
    let expected = clean();
    let damages: [Damage; 3] = [
        ("flipped", |bytes| bytes[0] ^= 1),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", |bytes| bytes.fill(0)),
    ];
    for (name, change) in damages {
        let place = placed();
        place.run(&[]);
        for blob in files_under(&place.path(".flow/cache/blobs")) {
            damage(&blob, change);
        }
        let found = place.flow(&["cache", "verify"]);
        assert_ne!(found.code, 0, "{name}: {}", found.stderr);
        // What depends on damaged inputs is recomputed with other parameters, so that every input is read.
        place.write("w.toml", graph(&place).replace("keep_last = 40", "keep_last = 39"));
        place.run(&["--keep-going"]);
        assert_eq!(place.flow(&["cache", "verify", "--repair"]).code, 0);
        place.write("w.toml", graph(&place));
        place.run(&[]);
        // Two entries of each node are listed by now.
        let listed = place.flow(&["cache", "ls", "--json"]).stdout;
        for (file, digest) in &expected {
            assert!(listed.contains(digest.as_str()), "{name}: {file} is gone");
        }
        assert_eq!(place.flow(&["cache", "verify"]).code, 0, "{name}");
    }
}

#[test]
fn an_index_that_is_gone_cut_or_garbage_costs_nothing_but_time() {
    let place = placed();
    place.run(&[]);
    let query = ["cache", "query", "kind = concat order by node", "--json"];
    let answer = place.flow(&query).stdout;
    assert_eq!(answer.lines().count(), 24);
    let index = place.path(".flow/cache/index");
    let mut dice = Dice(3);
    for fault in ["gone", "cut", "garbage"] {
        for file in files_under(&index) {
            match fault {
                "gone" => std::fs::remove_file(&file).expect("it can be removed"),
                "cut" => damage(&file, |bytes| bytes.truncate(bytes.len() / 3)),
                _ => damage(&file, |bytes| {
                    bytes.iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
                }),
            }
        }
        assert_eq!(place.flow(&query).stdout, answer, "{fault}");
        assert!(place.run(&[]).stderr.contains("0 ran, 30 cached"), "{fault}");
    }
}

#[test]
fn a_pipe_in_place_of_a_file_of_the_cache_is_waited_for_by_nobody() {
    let text = graph(&Place::new(""));
    let text = text.split("[nodes.n3]").next().expect("three nodes");
    let place = Place::new(text);
    place.write("leaf.txt", "leaf\n");
    place.run(&[]);
    let expected = place.digests();
    let files = files_under(&place.path(".flow/cache"));
    for file in files.iter().filter(|file| file.is_file()) {
        std::fs::remove_file(file).expect("it is there");
        let made = std::process::Command::new("mkfifo").arg(file).status();
        assert!(made.expect("mkfifo starts").success());
        // What waits for a pipe waits for ever.
        let mut bounded = std::process::Command::new("timeout");
        let run = bounded
            .args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_flow"), "run", "w.toml", "-q"])
            .current_dir(place.dir.path());
        let ended = Ended::from(run.output().expect("flow starts"));
        assert_eq!(ended.code, 0, "{}: {}", file.display(), ended.stderr);
        // A file of sled's, or a lock, may still be a pipe: it is put back for the next.
        if std::fs::symlink_metadata(file).is_ok_and(|found| !found.is_file()) {
            std::fs::remove_file(file).expect("it is there");
        }
    }
    place.run(&[]);
    assert_eq!(place.digests(), expected);
}

#[test]
fn a_pipe_in_place_of_any_file_of_a_cache_or_a_run_or_as_an_archive_holds_no_command_up() {
    let place = Place::new("[matrix]\nx = [0]\n[nodes.a]\nkind = \"concat\"\ntext = \"${x}.\"\n");
    let pipe = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo starts").success());
    };
    let bounded = |arguments: &[&str]| {
        // What waits for a pipe waits for ever.
        let mut command = std::process::Command::new("timeout");
        command
            .args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_flow")])
            .args(arguments);
        let ended = command.current_dir(place.dir.path()).output().expect("flow starts");
        assert!(
            ended.status.code().is_some_and(|code| code != 137),
            "{arguments:?}: {ended:?}"
        );
        ended
    };
    place.run(&[]);
    place.flow(&["cache", "pin", "a"]);
    place.flow(&["cache", "tag", "best", "a"]);
    place.flow(&["cache", "query", "kind = concat"]);
    let files = files_under(&place.path(".flow"));
    for (number, file) in files.iter().enumerate() {
        // Some are gone: what was damaged before was set aside.
        if !file.is_file() {
            continue;
        }
        std::fs::remove_file(file).expect("it is there");
        pipe(file);
        let fresh = format!("matrix.x=[{}]", number + 1);
        let run = bounded(&["run", "w.toml", "-q", "--set", &fresh]);
        assert!(run.status.success(), "{}: {run:?}", file.display());
        for more in [
            "runs ls",
            "runs show",
            "report",
            "cache gc --max-size 1GB --delete",
            "cache verify --repair",
        ] {
            bounded(&more.split(' ').collect::<Vec<_>>());
        }
    }
    pipe(&place.path("archive"));
    assert_eq!(bounded(&["cache", "import", "archive"]).status.code(), Some(1));
}

#[test]
fn locks_leases_and_claims_of_the_dead_hold_nobody_up() {
    let place = placed();
    place.run(&["--only", "n3"]);
    let cache = place.path(".flow/cache");
    // Process 1 is alive on every machine, and never one of ours: a number that was given out again.
    for file in ["lock", "staging.lock", "publish.lock", "leases/1-0"] {
        let path = cache.join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        std::fs::write(&path, "process 1 on here\n").expect("it can be written");
    }
    let plan = place.flow(&["plan", "w.toml", "--json"]).json();
    let nodes = plan["nodes"].as_array().expect("nodes");
    let keys = nodes.iter().filter_map(|node| node["state"]["key"].as_str());
    let board = keys.fold("process 1 on here\n".to_owned(), |board, key| board + key + "\n");
    std::fs::create_dir_all(cache.join("claims")).expect("a directory");
    std::fs::write(cache.join("claims/1-0"), board).expect("it can be written");
    let run = place.run(&[]);
    assert!(!run.stderr.contains("is running it"), "{}", run.stderr);
    assert_eq!(place.digests(), clean());
    assert_eq!(
        place
            .flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"])
            .code,
        0
    );
}

#[test]
fn too_many_open_files_are_told_and_the_next_run_finishes() {
    let place = placed();
    let flow = env!("CARGO_BIN_EXE_flow");
    for limit in [4, 6, 8, 10, 12, 14, 18] {
        let command = format!("ulimit -n {limit}; exec {flow} run w.toml -q");
        let run = std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(place.dir.path())
            .output();
        let ended = Ended::from(run.expect("sh starts"));
        assert!(!ended.stderr.contains("panicked"), "{limit}: {}", ended.stderr);
        if ended.code != 0 {
            assert!(
                !ended.stderr.trim().is_empty(),
                "{limit} files: it failed without a word"
            );
        }
    }
    place.run(&[]);
    assert_eq!(place.digests(), clean());
}

#[test]
fn a_file_size_limit_in_the_middle_of_publishing_loses_nothing() {
    // The nearest thing to a full disk that needs no disk: no file may grow beyond so many blocks of 512 bytes.
    let place = Place::new("");
    let log = place.path("big.txt");
    std::fs::write(&log, "x".repeat(200_000)).expect("it can be written");
    let text = "[workflow]\nname = \"full\"\n[nodes.small]\nkind = \"concat\"\ntext = \"s\"\n[nodes.big]\nkind = \"concat\"\nfiles = [\"big.txt\"]\ninputs = [\"small\"]\n";
    place.write("w.toml", text);
    let flow = env!("CARGO_BIN_EXE_flow");
    let command = format!("trap '' XFSZ; ulimit -f 100; exec {flow} run w.toml");
    let run = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(place.dir.path())
        .output();
    let ended = Ended::from(run.expect("sh starts"));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("big") && ended.stderr.contains("File too large"),
        "{}",
        ended.stderr
    );
    assert!(
        place.run(&[]).stderr.contains("1 ran, 1 cached"),
        "what was published before is kept"
    );
    assert_eq!(place.flow(&["cache", "verify"]).code, 0);
}

/// `flow` as someone who may read the place, but write nowhere in it but in `runs`. For root, whom no permission stops, another user is
/// taken.
fn as_a_reader(place: &Place, arguments: &[&str]) -> Ended {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let flow = place.path("flow");
    if !flow.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_flow"), &flow).expect("it can be copied");
        std::fs::create_dir(place.path("runs")).expect("a directory");
    }
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    // A cache is its owner's alone: here it is opened to readers.
    let files = files_under(&place.path(".flow/cache"));
    files.iter().for_each(|file| chmod(file, 0o444));
    let above = |file: &PathBuf| -> Vec<PathBuf> {
        let all = file.ancestors().skip(1);
        all.take_while(|folder| folder.starts_with(place.dir.path()))
            .map(Path::to_owned)
            .collect()
    };
    let read_only: BTreeSet<PathBuf> = files.iter().flat_map(above).collect();
    read_only.iter().for_each(|path| chmod(path, 0o555));
    chmod(&place.path("runs"), 0o777);
    let is_root = std::fs::metadata(place.dir.path()).expect("it is there").uid() == 0;
    let mut command = if is_root {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups"]).arg(&flow);
        command
    } else {
        std::process::Command::new(&flow)
    };
    let ended = command
        .args(arguments)
        .args(["--runs", "runs"])
        .current_dir(place.dir.path())
        .output();
    read_only.iter().rev().for_each(|path| chmod(path, 0o755));
    Ended::from(ended.expect("flow starts"))
}

#[test]
fn a_read_only_cache_serves_what_it_has_and_says_what_it_cannot_make() {
    let place = placed();
    place.run(&[]);
    let query = ["cache", "query", "kind = concat order by node", "--json"];
    let answer = place.flow(&query).stdout;
    let before = files_under(&place.path(".flow/cache"));
    let found = as_a_reader(&place, &query);
    assert_eq!((found.code, found.stdout), (0, answer), "{}", found.stderr);
    let hits = as_a_reader(&place, &["run", "w.toml"]);
    assert_eq!(hits.code, 0, "{}", hits.stderr);
    assert!(hits.stderr.contains("0 ran, 30 cached"), "{}", hits.stderr);
    place.write("leaf.txt", "another leaf\n");
    let misses = as_a_reader(&place, &["run", "w.toml"]);
    assert_eq!(misses.code, 1, "{}", misses.stderr);
    assert!(misses.stderr.contains("is read-only"), "{}", misses.stderr);
    let after = files_under(&place.path(".flow/cache"));
    let shared = |files: &[PathBuf]| -> BTreeSet<PathBuf> {
        let shared = files.iter().filter(|file| !file.to_string_lossy().contains("/index/"));
        shared.cloned().collect()
    };
    assert_eq!(shared(&before), shared(&after), "nothing was written");
    assert!(place.run(&[]).stderr.contains("30 ran"));
}

#[test]
fn code_that_is_edited_while_its_program_runs_does_not_change_what_is_kept() {
    let place = Place::new("");
    place.write("code.sh", "sleep 0.6; cat data.txt\n");
    place.write("data.txt", "before\n");
    place.write(
        "w.toml",
        "[workflow]\nname = \"edited\"\n[nodes.n]\nkind = \"command\"\nrun = [\"sh\", \"code.sh\"]\ncode = [\"code.sh\", \"data.txt\"]\nstdout = \"said\"\n",
    );
    let mut command = place.command(&["run", "w.toml"]);
    let run = command.stderr(Stdio::piped()).spawn().expect("flow starts");
    std::thread::sleep(Duration::from_millis(300));
    place.write("data.txt", "after!\n");
    // The workflow too: a run is of the text that it has read.
    place.write("w.toml", "[workflow");
    let ended = Ended::from(run.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said = || {
        let path = place
            .flow(&["cache", "query", "node = n order by started desc limit 1", "--path"])
            .stdout;
        std::fs::read_to_string(place.path(path.trim())).expect("what it said")
    };
    assert_eq!(said(), "before\n", "the program ran on a copy of what its key says");
    place.write(
        "w.toml",
        "[workflow]\nname = \"edited\"\n[nodes.n]\nkind = \"command\"\nrun = [\"sh\", \"code.sh\"]\ncode = [\"code.sh\", \"data.txt\"]\nstdout = \"said\"\n",
    );
    place.run(&[]);
    assert_eq!(said(), "after!\n", "what was edited is another action");
}

#[test]
fn a_collection_beside_a_run_takes_nothing_that_the_run_needs() {
    let expected = clean();
    let place = placed();
    for _ in 0..6 {
        let mut command = place.command(&["run", "w.toml", "-j", "2"]);
        let run = command.stderr(Stdio::piped()).spawn().expect("flow starts");
        for _ in 0..4 {
            let gc = place.flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"]);
            assert!(gc.code == 0 || gc.stderr.contains("there is no cache"), "{}", gc.stderr);
        }
        let ended = Ended::from(run.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        // In between everything goes: the next run makes it again.
        place.flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"]);
    }
    place.run(&[]);
    assert_eq!(place.digests(), expected);
    assert_eq!(place.flow(&["cache", "verify"]).code, 0);
}

#[test]
fn a_file_with_its_times_set_back_or_ahead_is_still_seen_to_have_changed() {
    let place = placed();
    place.run(&[]);
    let leaf = place.path("leaf.txt");
    let old = SystemTime::now() - Duration::from_hours(400 * 24);
    let set = |time| {
        let file = std::fs::File::options()
            .write(true)
            .open(&leaf)
            .expect("it can be opened");
        file.set_modified(time).expect("its time can be set");
    };
    set(old);
    assert!(
        place.run(&[]).stderr.contains("0 ran, 30 cached"),
        "the same content is the same"
    );
    damage(&leaf, |bytes| bytes[0] = b'L');
    let changed = place.run(&[]);
    assert!(
        changed.stderr.contains("30 ran"),
        "equal size and time, other content: {}",
        changed.stderr
    );
    damage(&leaf, |bytes| bytes[0] = b'l');
    set(SystemTime::now() + Duration::from_hours(400 * 24));
    assert!(
        place.run(&[]).stderr.contains("0 ran, 30 cached"),
        "the first content again"
    );
}

/// A training that was killed after a checkpoint, and where that lies.
fn half_trained(text: &str) -> (Place, PathBuf) {
    let place = Place::new(text);
    let mut run = place.command(&["run", "w.toml", "-q"]).spawn().expect("flow starts");
    let scratch = place.path(".flow/cache/scratch");
    for _ in 0..6000 {
        if !files_under(&scratch).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().expect("SIGKILL");
    run.wait().expect("it ends");
    // The worker goes with its engine: it is given the time to.
    std::thread::sleep(Duration::from_millis(200));
    let checkpoint = files_under(&scratch)
        .into_iter()
        .find(|file| file.ends_with("checkpoint"));
    (place, checkpoint.expect("a checkpoint"))
}

#[test]
fn a_checkpoint_that_is_cut_flipped_or_of_another_node_is_not_gone_on_from() {
    let start = SMALL.find("[nodes.scratch]").expect("the fixture has it");
    let text = SMALL[..start]
        .replace("epochs = 3", "epochs = 40")
        .replace("seed = [0, 1]", "seed = [0]");
    let text = text.replace("arm = ", "# arm = ");
    let whole = Place::new(&text);
    whole.run(&[]);
    let faults: [Damage; 3] = [
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("flipped", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }),
        ("emptied", |bytes| bytes.clear()),
    ];
    for (name, change) in faults {
        let (place, checkpoint) = half_trained(&text);
        damage(&checkpoint, change);
        place.run(&[]);
        assert_eq!(place.digests(), whole.digests(), "{name}");
    }
    let (_other, of_another) = half_trained(&text.replace("seed = [0]", "seed = [1]"));
    let (place, checkpoint) = half_trained(&text);
    std::fs::copy(of_another, checkpoint).expect("it can be copied");
    place.run(&[]);
    assert_eq!(place.digests(), whole.digests(), "of another node");
}
