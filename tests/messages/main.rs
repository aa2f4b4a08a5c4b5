//! What the commands say to a person, word for word: transcripts of what was typed and what was answered.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod pages;
mod pictures;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Ended, Place, TWO};

/// What is another in every run, and on every machine.
const CHANGING: &[(&str, &str)] = &[
    (r"\b[0-9a-f]{64}\b", "[digest]"),
    (r"\b[0-9a-f]{12}\b", "[key]"),
    (r"\b\d{8}T\d{6}\.\d{3}Z-([a-z]+)-[0-9a-f]{6}\b", "[time]-$1-[id]"),
    (r"`[0-9a-f]{6}`", "`[id]`"),
    (r"(?m)^ [0-9a-f]{6}( +two)", " [id]$1"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]"),
    (r"this run has [0-9.]+ GiB", "this run has [x] GiB"),
    (r"after [0-9.]+ s and was stopped", "after [x] s and was stopped"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[time]"),
    (r"\b\d+\.\d+ s\b", "[time]"),
    (r"\b[0-9.]+ (B|KiB|MiB)\b", "[size]"),
    (r"on 1 thread of \S+", "on 1 thread of [host]"),
    (r"/\S*/\.tmp\w+", "[dir]"),
    (r"is asked for, but [^\n]+", "is asked for, but [reason]"),
    (r"\b\d\.\d{5,}\b", "[x]"),
    (r"(\S) {3,}", "$1  "),
    // The directories above are another on each machine.
    (
        r"(only its owner can enter )\S+(: [^\n]+)(\nonly its owner can enter [^\n]+)*",
        "$1[dir]$2",
    ),
];

/// A transcript, and where it is written.
struct Transcript {
    place: Place,
    text: String,
}

impl Transcript {
    fn new(workflow: &str) -> Self {
        Self {
            place: Place::new(workflow),
            text: String::new(),
        }
    }

    /// Types a command, of which the words are separated by spaces, or quoted by `'`; variables of its environment may come first.
    fn flow(&mut self, line: &str) {
        let mut words: Vec<&str> = Vec::new();
        for (i, part) in line.split('\'').enumerate() {
            match i % 2 {
                0 => words.extend(part.split_whitespace()),
                _ => words.push(part),
            }
        }
        let is_variable = |word: &str| {
            word.split_once('=')
                .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        };
        let variables = words.iter().take_while(|word| is_variable(word)).count();
        let mut command: Command = self.place.command(&words[variables..]);
        command.envs(words[..variables].iter().filter_map(|word| word.split_once('=')));
        self.type_in(line, &mut command);
    }

    /// Types a command that was prepared.
    fn type_in(&mut self, line: &str, command: &mut Command) {
        command.env("RAYON_NUM_THREADS", "2").env("CUDA_VISIBLE_DEVICES", "");
        let ended = Ended::from(command.output().expect("flow starts"));
        self.text.push_str(&format!("$ flow {line}\n"));
        for said in [&ended.stdout, &ended.stderr] {
            said.trim_end().lines().for_each(|line| {
                self.text.push_str(line.trim_end());
                self.text.push('\n');
            });
        }
        if ended.code != 0 {
            self.text.push_str(&format!("[exit code {}]\n", ended.code));
        }
        self.text.push('\n');
    }

    /// The directory of the newest run.
    fn newest(&self) -> std::path::PathBuf {
        let run = self.place.flow(&["runs", "show", "--json"]).json();
        self.place.path(run["dir"].as_str().expect("a directory"))
    }

    /// What a node of the newest run wrote into its log, and the engine beside it.
    fn log(&self, node: &str) -> String {
        std::fs::read_to_string(self.newest().join("logs").join(format!("{node}.log"))).expect("a log")
    }

    /// The same of all its nodes.
    fn logs(&mut self) {
        let logs = std::fs::read_dir(self.newest().join("logs")).expect("there are some");
        let mut logs: Vec<_> = logs.map(|log| log.expect("a file").path()).collect();
        logs.sort();
        for log in logs {
            let text = std::fs::read_to_string(&log).expect("a log");
            let name = log.file_name().expect("a name").display();
            self.text.push_str(&format!("--- the log {name}\n{text}\n"));
        }
    }

    /// Lines of what a command printed that have some words in them, without what was measured.
    fn lines(&mut self, line: &str, words: &str) {
        let ended = self.place.flow(&line.split(' ').collect::<Vec<_>>());
        let numbers = regex::Regex::new(r"\d+(\.\d+)?").expect("a regular expression");
        let found = [ended.stdout, ended.stderr].join("\n");
        let found: Vec<&str> = found.lines().filter(|line| line.contains(words)).collect();
        let shown = numbers.replace_all(&found.join("\n"), "[x]").into_owned();
        self.text.push_str(&format!("$ flow {line}\n{shown}\n\n"));
    }

    /// Runs `workflow`, which is told apart by what it is about.
    fn run(&mut self, about: &str, workflow: &str) {
        self.place.write("w.toml", workflow);
        self.text.push_str(&format!("--- {about}\n"));
        self.flow("run w.toml");
    }

    /// Compares it with what was read and found good.
    fn check(self, name: &str) {
        let mut text = self.text;
        for (changing, shown) in CHANGING {
            let changing = regex::Regex::new(changing).expect("a regular expression");
            text = changing.replace_all(&text, *shown).into_owned();
        }
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn plans_and_runs() {
    let mut typed = Transcript::new(TWO);
    typed.flow("plan w.toml");
    // One thread: then they end in the order in which they begin.
    typed.flow("run w.toml -j 1");
    typed.flow("run w.toml");
    typed.flow("plan w.toml --set nodes.first.params.n=2 --force second");
    typed.flow("plan w.toml --only nobody");
    typed.flow("plan w.toml --only first[n=3]");
    typed.flow("plan w.toml --only second --force frist");
    typed.flow("run w.toml --set nodes.first.n");
    typed.flow("run w.toml --set nodes.frist.params.n=2");
    typed.flow("run nowhere.toml");
    typed.flow("run .");
    typed.flow("run w.toml --runs w.toml");
    typed.flow("run w.toml --cache w.toml");
    typed.place.write("own", "");
    typed.flow("run w.toml --cache own/cache");
    typed.flow("graph nowhere.toml");
    let more = "[nodes.third]\nkind = \"command\"\nrun = [\"true\"]\nstdout = \"o\"\n";
    typed.place.write("more.toml", format!("{TWO}{more}"));
    typed.flow("plan more.toml --force first");
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let mut into_full = typed.place.command(&["plan", "w.toml"]);
    typed.type_in("plan w.toml > /dev/full", into_full.stdout(full));
    typed.place.write(
        "env.toml",
        format!("{TWO}[env]\nFLOW_TEST_LATIN = {{ required = true }}\n"),
    );
    let mut latin = typed.place.command(&["plan", "env.toml"]);
    let value: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
    typed.type_in("plan env.toml", latin.env("FLOW_TEST_LATIN", value));
    let secret = "[env]\nFLOW_TEST_KEY = { default = \"hush-hush\", secret = true }\n[nodes.third]\nkind = \"command\"\nrun = [\"true\", \"${env.FLOW_TEST_KEY}\"]\nstdout = \"o\"\n";
    typed.place.write("secret.toml", format!("{TWO}{secret}"));
    typed.place.write(".flow/cache/secret.key", "short");
    typed.flow("plan secret.toml");
    typed.check("plans_and_runs");
}

#[test]
fn parts_of_a_workflow() {
    let matrix = "[matrix]\nn = [1, 2]\n\n[nodes.first]";
    let workflow = TWO.replace("[nodes.first]", matrix).replace("n = 1", "n = \"${n}\"");
    let mut typed = Transcript::new(&workflow);
    typed.flow("plan w.toml --only second[n=2]");
    typed.flow("plan w.toml --only first[n=3]");
    typed.check("parts_of_a_workflow");
}

#[test]
fn nodes_that_fail() {
    let mut typed = Transcript::new("");
    let program = |rest: &str| format!("[nodes.a]\nkind = \"command\"\n{rest}\n");
    let shell = |script: &str, rest: &str| program(&format!("run = [\"sh\", \"-c\", \"{script}\"]\n{rest}"));
    typed.run("no such program", &program("run = [\"nonesuch\"]\noutputs = [\"o\"]"));
    let fails = shell("echo loud >&2; echo why >&2; exit 3", "outputs = [\"o\"]");
    typed.run("a program that fails", &fails);
    typed.run(
        "another attempt",
        &format!("{fails}retry = {{ times = 1, wait_s = 0 }}"),
    );
    typed.logs();
    typed.run("a program that is killed", &shell("kill -9 $$", "outputs = [\"o\"]"));
    typed.run(
        "an output that is not there",
        &shell("true", "outputs = [\"o\", \"p\"]"),
    );
    typed.run(
        "an output that was not announced",
        &shell("touch {outputs}/o {outputs}/p", "outputs = [\"o\"]"),
    );
    typed.run(
        "an output that is a link",
        &shell("ln -s /etc/passwd {outputs}/o", "outputs = [\"o\"]"),
    );
    let metrics = |text: &str| shell(&format!("printf '{text}' > {{outputs}}/m.json"), "metrics = \"m.json\"");
    typed.run("metrics that are not JSON", &metrics("accuracy: 1"));
    typed.run("metrics that are no object", &metrics("[1]"));
    typed.run("metrics that are texts", &metrics("{{\\\"a\\\": \\\"high\\\"}}"));
    typed.run(
        "a limit of time",
        &shell("sleep 100", "outputs = [\"o\"]\ntimeout_s = 0.2"),
    );
    typed.run(
        "more GPUs than there are",
        &shell("true", "stdout = \"o\"\nresources = { gpus = 2 }"),
    );
    typed.run(
        "more memory than there is",
        &shell("true", "stdout = \"o\"\nresources = { memory = \"900TB\" }"),
    );
    typed.run(
        "code that is not there",
        &shell("true", "stdout = \"o\"\ncode = [\"train.py\"]"),
    );
    let next = "[nodes.b]\nkind = \"command\"\nrun = [\"true\"]\nstdout = \"o\"\ninputs = { a = \"a\" }\n[nodes.c]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo hello >&2\"]\nstdout = \"o\"\n";
    typed.place.write("w.toml", format!("{fails}{next}"));
    typed.flow("run w.toml --keep-going -j 1");
    typed.logs();
    typed.place.write("manifest", "{\"build\": \"another\"}\n");
    let manifest = std::fs::File::open(typed.place.path("manifest")).expect("written");
    let mut worker = typed.place.command(&["__worker"]);
    typed.type_in("__worker < manifest", worker.stdin(manifest));
    typed.check("nodes_that_fail");
}

#[test]
fn sources_that_cannot_be_read() {
    let mut typed = Transcript::new("");
    let dataset = |rest: &str| format!("[nodes.a]\nkind = \"dataset\"\n{rest}\n");
    typed.place.write("texts.tsv", "good\tfine\nno tab\n");
    typed.place.write("one.tsv", "good\tfine\n");
    std::fs::create_dir_all(typed.place.path("empty")).expect("writable");
    std::fs::create_dir_all(typed.place.path("bad/cat")).expect("writable");
    typed.place.write("bad/cat/a.png", "no image");
    typed.run("no such source", &dataset("source = \"foldr\""));
    typed.run("no path", &dataset("source = \"folder\""));
    typed.run(
        "a folder that is not there",
        &dataset("source = \"folder\"\npath = \"nowhere\"\nside = 8"),
    );
    typed.run(
        "a folder without images",
        &dataset("source = \"folder\"\npath = \"empty\"\nside = 8"),
    );
    typed.run(
        "an image that cannot be read",
        &dataset("source = \"folder\"\npath = \"bad\"\nside = 8"),
    );
    typed.run(
        "idx files that are not there",
        &dataset("source = \"idx\"\npath = \"empty\""),
    );
    typed.run(
        "a text that is not there",
        &dataset("source = \"text\"\npath = \"nowhere.tsv\""),
    );
    typed.run(
        "a line without a tab",
        &dataset("source = \"text\"\npath = \"texts.tsv\""),
    );
    typed.run("one class", &dataset("source = \"text\"\npath = \"one.tsv\""));
    typed.run(
        "a setting of another source",
        &dataset("source = \"fashion-mnist\"\nside = 8"),
    );
    typed.flow("data inspect nowhere");
    typed.flow("data inspect empty");
    typed.flow("data inspect bad");
    typed.check("sources_that_cannot_be_read");
}

#[test]
fn entries_of_the_cache() {
    let mut typed = Transcript::new(TWO);
    typed.flow("cache ls");
    typed.place.run(&["-j", "1"]);
    typed.place.run(&["-j", "1", "--set", "nodes.first.params.n=2"]);
    typed.flow("cache ls");
    typed.flow("cache query 'node = nobody'");
    typed.flow("cache query 'params.m = 1'");
    typed.flow("cache query 'node = second order by finished desc limit 1'");
    typed.flow("cache show second");
    typed.flow("cache why first");
    typed.flow("cache why second");
    typed.flow("cache diff first second");
    typed.flow("cache diff second second");
    typed.flow("cache tree second");
    typed.flow("cache tree second --down");
    typed.flow("cache tree first");
    typed.flow("cache pin first --note 'for the paper'");
    typed.flow("cache pin 'node = first'");
    typed.flow("cache tag best second");
    typed.flow("cache tag 'a b' second");
    typed.flow("cache marks");
    typed.flow("cache unpin first");
    typed.flow("cache untag best");
    typed.flow("cache untag best");
    typed.flow("cache gc");
    typed.flow("cache gc --max-size 1B");
    let before = typed.text.len();
    typed.flow("cache gc --max-size 1B --keep-runs 0 --delete");
    // What took the shortest is removed first, and which that is is another in each run.
    let mut removed: Vec<String> = typed.text.split_off(before).lines().map(str::to_owned).collect();
    removed[2..5].sort_by_key(|row| row.split_whitespace().nth(1).map(str::to_owned));
    typed.text.push_str(&(removed.join("\n") + "\n\n"));
    typed.flow("cache why first");
    typed.flow("cache export first -o first.tar.zst");
    typed.place.run(&["-j", "1", "--set", "nodes.first.params.n=2"]);
    typed.flow("cache export second --with-inputs -o all.tar.zst");
    typed.flow("cache export first second --to onnx -o net.onnx");
    typed.flow("cache export second --to torch -o net.safetensors");
    typed.flow("cache import all.tar.zst --cache other");
    typed.flow("cache import all.tar.zst --cache other");
    typed.flow("cache import w.toml");
    typed.flow("cache import nowhere.tar.zst");
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(typed.place.path(""), own).expect("it is ours");
    typed.flow("cache init --shared --cache ours");
    typed.flow("cache rebuild");
    typed.flow("cache verify");
    typed.check("entries_of_the_cache");
}

#[test]
fn damage_in_the_cache() {
    let mut typed = Transcript::new(TWO);
    typed.place.run(&["-j", "1"]);
    let blob = common::blob(&typed.place, "first", "n.txt");
    std::fs::write(&blob, "9\n").expect("a blob of ours");
    typed.flow("cache verify");
    typed.flow("run w.toml -j 1 --force second");
    typed.flow("cache verify --repair");
    std::fs::write(common::blob(&typed.place, "first", "n.txt"), "9\n").expect("a blob of ours");
    typed.flow("cache verify --repair");
    typed.flow("cache gc --litter-older-than 0s");
    typed.place.run(&["-j", "1"]);
    common::reword_record(&typed.place, "second", "\"schema\": 1", "\"schema\": 9");
    typed.flow("cache verify");
    typed.flow("cache gc --max-size 1B");
    typed.check("damage_in_the_cache");
}

#[test]
fn words_that_stand_for_entries_and_runs() {
    let matrix = "[matrix]\nn = [1, 2]\n\n[nodes.first]";
    let several = TWO
        .replace("[nodes.first]", matrix)
        .replace("{ n = 1 }", "{ n = \"${n}\" }");
    let mut typed = Transcript::new(&several);
    typed.flow("cache show first");
    typed.flow("runs ls");
    typed.flow("runs show");
    typed.flow("runs show 1234");
    typed.place.run(&["-j", "1"]);
    for word in [
        "frist",
        "first[n=3]",
        "ffffffff",
        "nobody:first",
        "two:frist",
        "2",
        "second[n=1,",
    ] {
        typed.flow(&format!("cache show '{word}'"));
    }
    typed.flow("cache diff first 'first[n=1]'");
    typed.flow("cache export nobody -o x");
    typed.check("words_that_stand_for_entries_and_runs");
}

#[test]
fn runs() {
    let mut typed = Transcript::new(TWO);
    typed.place.run(&["-j", "1"]);
    typed.place.run(&["-j", "1", "--set", "nodes.first.params.n=2"]);
    typed.flow("runs ls");
    typed.flow("runs show");
    typed.flow("runs show nobody");
    let ids = typed.place.flow(&["runs", "ls", "--json"]).json_lines();
    let short = |i: usize| {
        let id = ids[i]["id"].as_str().expect("an id").to_owned();
        id.rsplit('-').next().expect("its end").to_owned()
    };
    let compared = typed.place.flow(&["runs", "compare", &short(1), &short(0)]);
    let named = compared.stdout.replace(&short(1), "A").replace(&short(0), "B");
    typed.text.push_str(&format!("$ flow runs compare A B\n{named}\n"));
    let compared = typed.place.flow(&["runs", "compare", &short(0), &short(0)]);
    typed
        .text
        .push_str(&format!("$ flow runs compare A A\n{}\n", compared.stdout));
    typed.flow("runs gc --keep 1 --dry-run");
    typed.flow("runs gc --keep 1");
    let summary = typed.newest().join("summary.json");
    let text = std::fs::read_to_string(&summary).expect("a summary");
    std::fs::write(&summary, text.replacen(": 1,", ": 9,", 1).replacen(":1,", ":9,", 1)).expect("written");
    typed.flow("runs show");
    std::fs::remove_file(&summary).expect("it is there");
    typed.flow("runs show");
    typed.check("runs");
}

#[test]
fn watching() {
    let mut typed = Transcript::new(TWO);
    let mut command = typed.place.command(&["watch", "w.toml", "-j", "1"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("flow starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    typed.text.push_str("$ flow watch w.toml -j 1\n");
    let save = |typed: &Transcript, text: &str| {
        // As editors do, so that no half-written file is ever seen.
        typed.place.write("w.toml.new", text);
        std::fs::rename(typed.place.path("w.toml.new"), typed.place.path("w.toml")).expect("renamed");
    };
    for next in ["[workflow", &TWO.replace("n = 1 }", "n = 2 }")] {
        loop {
            let line = lines.next().expect("it goes on").expect("UTF-8");
            typed.text.push_str(&format!("{}\n", line.trim_end()));
            if line.starts_with("watching") {
                break;
            }
        }
        typed.text.push_str("--- the workflow is saved\n");
        save(&typed, next);
    }
    let mut until = |typed: &mut Transcript, words: &str| {
        for line in lines.by_ref().map_while(Result::ok) {
            typed.text.push_str(&format!("{}\n", line.trim_end()));
            if line.contains(words) {
                break;
            }
        }
    };
    until(&mut typed, "watching");
    typed
        .text
        .push_str("--- the workflow is saved, with a node that waits\n");
    let waits = "[nodes.slow]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"while [ ! -e FILE ]; do sleep 0.02; done\"]\nstdout = \"o\"\n";
    let go = typed.place.path("go");
    let waits = waits.replace("FILE", &go.display().to_string());
    save(&typed, &format!("{TWO}{waits}"));
    until(&mut typed, "start  slow");
    typed.text.push_str("--- the workflow is saved\n");
    save(&typed, "[workflow");
    until(&mut typed, "the run goes on");
    std::fs::write(go, "").expect("written");
    typed.text.push_str("--- and goes on\n");
    until(&mut typed, "watching");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    child.wait().expect("it ends");
    typed.check("watching");
}

#[test]
fn beginnings() {
    let mut typed = Transcript::new(TWO);
    typed.flow("init nowhere");
    typed.flow("init --list");
    typed.flow("init --template nobody");
    typed.flow("init -o w.toml");
    typed.flow("init -o new.toml");
    typed.flow("kinds fintune");
    typed.flow("kinds finetune bacth");
    typed.flow("doctor --reference nowhere");
    let doctor = typed.place.flow(&["doctor"]).stdout;
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let names: Vec<String> = doctor.lines().map(first).collect();
    typed.text.push_str(&format!("$ flow doctor\n{}\n\n", names.join(", ")));
    for line in [
        "bench train-step --backbone nobody",
        "bench gpu --precision half",
        "bench train-step --precision half",
        "bench augment --recipe weak --image 3x3",
        "bench augment --recipe simclr --image 1x8x8",
        "bench prefetch --recipe weak --image 3x16x16 --batch 2 --steps 2 --backbone nothing",
        "bench prefetch --recipe weak --image 3x3",
        "cache init --cache mine",
        "kinds finetune",
        "run --help",
    ] {
        typed.flow(line);
    }
    typed.lines("bench augment --recipe weak --image 3x8x8 --batch 2", "a view");
    typed.lines(
        "bench prefetch --recipe weak --image 3x16x16 --batch 2 --steps 2 --backbone conv3",
        "a step on",
    );
    typed.lines(
        "bench train-step --image 3x16x16 --batch 2 --steps 1 --backbone conv3 --layers",
        "peak, by",
    );
    typed.check("beginnings");
}
