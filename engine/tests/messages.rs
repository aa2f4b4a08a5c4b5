//! Every message of the store, of queries, of runs and of plans that a person reads, as it reads. A variant that is added does not
//! compile until it is listed here.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod toys;

use std::io;
use std::path::{Path, PathBuf};

use flow_cache::{ActionKey, ArchiveError, CacheError, Digest, KeyFields, NonDeterminism, Store};
use flow_engine::node::NodeError;
use flow_engine::watch::WatchError;
use flow_engine::{Override, PlanError, Reason, RunError, RunsError, WorkerProgram, Workflow, in_words};
use insta::assert_snapshot;
use miette::Diagnostic;
use serde_json::json;
use toys::Bench;

fn key() -> ActionKey {
    KeyFields::new("kind", 1).finish().0
}

fn path() -> PathBuf {
    PathBuf::from("cache/file")
}

fn failure() -> io::Error {
    io::Error::other("the system's reason")
}

/// The error that is listed after this one; `None` after the last.
fn after(error: &CacheError) -> Option<CacheError> {
    let (path, source) = (path(), failure());
    Some(match error {
        CacheError::Io { .. } => CacheError::Limit {
            action: "open",
            path,
            source,
            advice: "Raise the limit, and run again",
        },
        CacheError::Limit { .. } => CacheError::Interrupted {
            holder: "process 123 on host".into(),
        },
        CacheError::Interrupted { .. } => CacheError::BadOutputName {
            node: "fit".into(),
            source: flow_cache::OutputName::try_from("../x".to_owned()).expect_err("it climbs"),
        },
        CacheError::BadOutputName { .. } => CacheError::DiskFull {
            action: "write",
            path,
            source,
        },
        CacheError::DiskFull { .. } => CacheError::Corrupt {
            key: key(),
            name: "encoder".into(),
            path,
            why: "is missing".into(),
        },
        CacheError::Corrupt { .. } => CacheError::NonDeterministic(Box::new(NonDeterminism {
            key: key(),
            node: "fit[seed=0]".into(),
            published: Digest::of(b"a"),
            new: Digest::of(b"b"),
            files: vec!["encoder".into(), "history.json".into()],
        })),
        CacheError::NonDeterministic(_) => CacheError::Locked {
            path,
            holder: "process 123 on host".into(),
        },
        CacheError::Locked { .. } => CacheError::ReadOnly { root: path },
        CacheError::ReadOnly { .. } => CacheError::NotACache { root: path },
        CacheError::NotACache { .. } => CacheError::UnknownSchema {
            path,
            found: 9,
            known: 1,
        },
        CacheError::UnknownSchema { .. } => CacheError::InvalidDraft {
            key: key(),
            node: "fit".into(),
            why: "its components do not hash to the key".into(),
        },
        CacheError::InvalidDraft { .. } => CacheError::InvalidTag { name: "a b".into() },
        CacheError::InvalidTag { .. } => CacheError::InvalidName { name: "../x".into() },
        CacheError::InvalidName { .. } => return None,
    })
}

#[test]
fn every_error_of_the_store_says_what_where_and_what_to_do() {
    let first = CacheError::Io {
        action: "read",
        path: path(),
        source: failure(),
    };
    let errors = std::iter::successors(Some(first), after);
    let archive = [
        ArchiveError::Io {
            action: "read",
            path: path(),
            source: failure(),
        },
        ArchiveError::Unusable {
            path: path(),
            why: "it is not a flow archive, or one of another version".into(),
        },
    ];
    let lines = errors.map(|error| error.to_string());
    let lines: Vec<String> = lines.chain(archive.map(|error| error.to_string())).collect();
    assert_snapshot!(lines.join("\n\n"));
}

/// The error that is listed after this one; `None` after the last.
fn after_of_runs(error: &RunsError) -> Option<RunsError> {
    Some(match error {
        RunsError::Io { .. } => RunsError::Damaged {
            path: path(),
            why: "expected value at line 1 column 1".into(),
        },
        RunsError::Damaged { .. } => RunsError::NotFound {
            id: "1234".into(),
            dir: path(),
            known: Vec::new(),
        },
        RunsError::NotFound { .. } => return None,
    })
}

/// The error that is listed after this one; `None` after the last.
fn after_of_node(error: &NodeError) -> Option<NodeError> {
    Some(match error {
        NodeError::Stopped => NodeError::failed("the learning rate is 0").with_help("raise it"),
        NodeError::Failed { .. } => NodeError::Cache(CacheError::ReadOnly { root: path() }),
        NodeError::Cache(_) => return None,
    })
}

#[test]
fn every_error_of_a_run_says_what_where_and_what_to_do() {
    let first = RunsError::Io {
        action: "write",
        path: path(),
        source: failure(),
    };
    let runs = std::iter::successors(Some(first), after_of_runs).map(|error| RunError::from(error).to_string());
    let nodes = std::iter::successors(Some(NodeError::Stopped), after_of_node).map(|source| {
        let node = "fit[seed=0]".to_owned();
        RunError::Plan(PlanError::Node {
            node,
            source: Box::new(source),
        })
        .to_string()
    });
    let plan = RunError::Plan(PlanError::Cache(CacheError::ReadOnly { root: path() })).to_string();
    let watch = WatchError {
        path: path(),
        source: notify::Error::generic("the system's reason"),
    };
    let lines: Vec<String> = runs.chain(nodes).chain([plan, watch.to_string()]).collect();
    assert_snapshot!(lines.join("\n\n"));
}

#[test]
fn every_error_of_a_query_points_at_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), flow_cache::Access::ReadWrite).expect("a store");
    let lines = [
        "knd = pretrain",
        "kind = fintune",
        "kind pretrain",
        "kind =",
        "kind = pretrain adn node = a",
        "node in a",
        "pinned = yes",
        "size > large",
        "age > 2x",
        "started > today",
        "key = XYZ",
        "cost.wall_s = fast",
        "kind = 'pretrain",
        "(kind = pretrain",
        "kind = pretrain order metrics.accuracy",
        "kind = pretrain limit many",
        "kind = pretrain limit 3 4",
        "kind = pretrain order by finished desc x",
        "pinned < true",
        "size ~ 1",
        "kind in [=]",
        "cost.wall_s = [1",
        &format!("{}kind = pretrain", "not ".repeat(70)),
        "kind = \u{1}",
        "key < abcdef",
    ]
    .map(|query| match store.query(query, &["pretrain", "finetune"]) {
        Ok(_) => panic!("{query} was taken"),
        Err(error) => error.to_string(),
    });
    assert_snapshot!(lines.join("\n\n"));
}

#[test]
fn every_name_that_cannot_be_an_output_is_told_why() {
    let long = ["a".repeat(300), "a/".repeat(600) + "a"];
    let names = ["", "/a", "a//b", "../a", "a\u{7}"];
    let names = names.into_iter().chain(long.iter().map(String::as_str));
    let outputs = names.filter_map(|name| Some(flow_cache::OutputName::try_from(name.to_owned()).err()?.to_string()));
    let digest = "xyz".parse::<Digest>().expect_err("no digest").to_string();
    let lines: Vec<String> = outputs.chain([digest]).collect();
    assert_snapshot!(lines.join("\n\n"));
}

/// Why nodes fail, or why a run cannot begin, and what to do.
fn failures(bench: &Bench, workflow: &str, worker: Option<&str>) -> String {
    let mut options = bench.options();
    options.worker = worker.map(|script| match script.strip_prefix("program: ") {
        Some(program) => WorkerProgram {
            program: program.into(),
            arguments: Vec::new(),
        },
        None => WorkerProgram {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
        },
    });
    let ran = flow_engine::run(&bench.load(workflow), &bench.store, &options, &mut Vec::new());
    let said = match ran {
        Err(RunError::Plan(PlanError::Node { node, source })) => match *source {
            NodeError::Failed { message, help } => format!("{node}: {message}\n  help: {}", help.unwrap_or_default()),
            other => other.to_string(),
        },
        Err(error) => error.to_string(),
        Ok(outcome) => outcome
            .failures
            .iter()
            .map(|failure| {
                format!(
                    "{}\n  help: {}",
                    failure.message,
                    failure.help.as_deref().unwrap_or("none")
                )
            })
            .collect::<Vec<String>>()
            .join("\n"),
    };
    said.replace(&bench.path("").display().to_string(), "[dir]/")
}

#[test]
fn a_node_that_panics_is_a_bug_and_says_what_to_do() {
    assert_snapshot!(failures(
        &Bench::new(),
        "[nodes.a]\nkind = \"trouble\"\npanic = true\n",
        None
    ));
}

#[test]
fn a_file_that_cannot_be_read_as_it_is_says_why_and_what_to_do() {
    let bench = Bench::new();
    let file = |path: &str, more: &str| format!("[nodes.f]\nkind = \"file\"\npath = \"{path}\"\n{more}");
    bench.write("text", "hello");
    std::fs::create_dir(bench.path("code")).expect("made");
    bench.write("code/.flowignore", &"#".repeat((1 << 20) + 1));
    let said =
        [("text", "disturb = true\n"), ("code", "")].map(|(path, more)| failures(&bench, &file(path, more), None));
    assert_snapshot!(said.join("\n\n"));
}

/// A process that is no worker, or ends as none should: the node fails at once, without a time limit.
#[test]
fn a_process_that_does_not_do_a_workers_work_says_what_it_did() {
    let bench = Bench::new();
    let workflow = "[nodes.a]\nkind = \"const\"\nvalue = \"x\"\nisolate = true\n";
    let done = "{\"done\":{\"files\":[\"text\"],\"large\":[],\"metrics\":{},\"wall_s\":0.1,\"peak_rss_bytes\":null}}";
    let left_nothing = format!("read -r manifest; echo '{done}'");
    let mut said = String::new();
    for (about, script) in [
        ("no such program", "program: /nowhere/flow"),
        ("no word", "read -r manifest"),
        ("last words", "echo why >&2; exit 3"),
        ("words that are no message", "read -r manifest; echo hello; sleep 600"),
        (
            "a message that is cut",
            "read -r manifest; printf '{\"note\": '; exit 3",
        ),
        (
            "a message of another version",
            "read -r manifest; echo '{\"nite\": \"x\"}'; sleep 600",
        ),
        ("an output that is not there", left_nothing.as_str()),
    ] {
        said.push_str(&format!("--- {about}\n{}\n", failures(&bench, workflow, Some(script))));
    }
    assert_snapshot!(said);
}

#[test]
fn every_reason_of_a_plan_reads_as_a_sentence() {
    let reasons = [
        Reason::New,
        Reason::ParamChanged {
            name: "lr".into(),
            old: Some(json!(0.1)),
            new: Some(json!(0.2)),
        },
        Reason::ParamChanged {
            name: "decay".into(),
            old: None,
            new: Some(json!(1)),
        },
        Reason::InputChanged {
            port: "data.0".into(),
            node: Some("images".into()),
        },
        Reason::InputChanged {
            port: "data.1".into(),
            node: None,
        },
        Reason::FileChanged {
            name: "code/train.py".into(),
        },
        Reason::VersionChanged {
            old: Some(json!(1)),
            new: Some(json!(2)),
        },
        Reason::Missing,
        Reason::Collected,
        Reason::Forced,
        Reason::Upstream { node: "images".into() },
    ];
    assert_snapshot!(in_words(&reasons).join("\n"));
}

/// What is said of a workflow that may include the files of a directory: message, what stands below the places, and help.
fn said_of(dir: &Path, text: &str, overrides: &[&str]) -> String {
    let overrides: Result<Vec<Override>, String> = overrides.iter().map(|set| Override::parse(set)).collect();
    let loaded = match overrides {
        Ok(overrides) => Workflow::from_text(&dir.join("w.toml"), text, &toys::registry(), &overrides),
        Err(why) => return format!("{why}\n"),
    };
    let Err(problems) = loaded else {
        return "(nothing)\n".to_owned();
    };
    let mut said = match problems.problems() {
        [_] => String::new(),
        _ => format!("{problems}:\n"),
    };
    for problem in problems.problems() {
        said.push_str(&format!("{problem}\n"));
        for label in Diagnostic::labels(problem)
            .into_iter()
            .flatten()
            .filter_map(|label| label.label().map(str::to_owned))
        {
            said.push_str(&format!("  here: {label}\n"));
        }
        if let Some(help) = Diagnostic::help(problem) {
            said.push_str(&format!("  help: {help}\n"));
        }
    }
    said.replace(&dir.display().to_string(), "[dir]")
}

/// A node that says a word, and one that joins it to others.
const TWO: &str = "[nodes.a]\nkind = \"const\"\nvalue = \"x\"\n[nodes.b]\nkind = \"concat\"\nof = [\"a\"]\n";

/// What is written wrongly in a file, one thing each.
const WRITTEN: &[(&str, &str)] = &[
    ("a name of a workflow", "[workflow]\nname = \"a/b\"\n"),
    ("a name of a node", "[nodes.A]\nkind = \"const\"\nvalue = \"x\"\n"),
    ("no kind", "[nodes.c]\nvalue = \"x\"\n"),
    ("an unknown parameter among defaults", "[defaults]\nvalu = \"x\"\n"),
    ("a key that has no default", "[defaults]\nkind = \"const\"\n"),
    ("two definitions", "[matrix]\nn = [1]\n[variables]\nn = 2\n"),
    (
        "a list in a text",
        "[variables]\nl = [1]\n[nodes.c]\nkind = \"const\"\nvalue = \"a ${l}\"\n",
    ),
    (
        "an undeclared variable of the environment",
        "[nodes.c]\nkind = \"const\"\nvalue = \"${env.NOBODY}\"\n",
    ),
    (
        "a variable of the environment that is not set",
        "[env]\nFLOW_TEST_NOBODY = { required = true }\n",
    ),
    ("a declaration that is none", "[env]\nFLOW_TEST_NOBODY = 1\n"),
    (
        "an unknown key of a declaration",
        "[env]\nFLOW_TEST_NOBODY = { defalt = \"x\" }\n",
    ),
    ("values that are no list", "[matrix]\nn = 1\n"),
    ("a value twice", "[matrix]\nn = [1, 1]\n"),
    ("a value that is a list", "[matrix]\nn = [[1]]\n"),
    ("exclude that is no list", "[matrix]\nn = [1, 2]\nexclude = 1\n"),
    ("exclude of a list", "[matrix]\nn = [1, 2]\nexclude = [{ n = [1] }]\n"),
    ("exclude of nothing", "[matrix]\nn = [1, 2]\nexclude = [{}]\n"),
    (
        "exclude of an unknown variable",
        "[matrix]\nn = [1, 2]\nexclude = [{ m = 1 }]\n",
    ),
    (
        "exclude of an unknown value",
        "[matrix]\nn = [1, 2]\nexclude = [{ n = 3 }]\n",
    ),
    (
        "exclude twice",
        "[matrix]\nn = [1, 2]\nexclude = [{ n = 1 }, { n = 1 }]\n",
    ),
    (
        "exclude of all",
        "[matrix]\nn = [1, 2]\nexclude = [{ n = 1 }, { n = 2 }]\n",
    ),
    (
        "include of what is there",
        "[matrix]\nn = [1, 2]\ninclude = [{ n = 1 }]\n",
    ),
    (
        "include of half a combination",
        "[matrix]\nn = [1, 2]\nm = [1, 2]\ninclude = [{ n = 3 }]\n",
    ),
    (
        "too many combinations",
        "[matrix]\na1 = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nb = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nc = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nd = [1, 2, 3, 4, 5, 6, 7, 8, 9]\ne = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nf = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nexclude = [{ a1 = 1 }]\n",
    ),
    (
        "too many instances",
        "[matrix]\na1 = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nb = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nc = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nd = [1, 2, 3, 4, 5, 6, 7, 8, 9]\ne = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nf = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n[nodes.c]\nkind = \"const\"\nvalue = \"${a1}${b}${c}${d}${e}${f}\"\n",
    ),
    (
        "over that is no list",
        "[nodes.c]\nkind = \"gather\"\ncompare = [\"a\"]\nover = \"n\"\n",
    ),
    (
        "over of no text",
        "[nodes.c]\nkind = \"gather\"\ncompare = [\"a\"]\nover = [1]\n",
    ),
    (
        "over of an unknown variable",
        "[matrix]\nn = [1]\n[nodes.c]\nkind = \"gather\"\ncompare = [\"a\"]\nover = [\"m\"]\n",
    ),
    (
        "over of its own variable",
        "[matrix]\nn = [\"x\", \"y\"]\n[nodes.v]\nkind = \"const\"\nvalue = \"${n}\"\n[nodes.c]\nkind = \"gather\"\ncompare = [\"v\"]\ndata = \"v\"\nover = [\"n\"]\n",
    ),
    (
        "over of a variable that it names",
        "[matrix]\nn = [\"a\", \"b\"]\n[nodes.c]\nkind = \"gather\"\ncompare = [\"a\"]\ndata = \"${n}\"\nover = [\"n\"]\n",
    ),
    (
        "a secret in a name",
        "[env]\nFLOW_TEST_SECRET = { default = \"hush-hush\", secret = true }\n[matrix]\nn = [\"hush-hush\"]\n[nodes.c]\nkind = \"const\"\nvalue = \"${n}\"\n",
    ),
    (
        "a later round of itself",
        "[nodes.p]\nkind = \"pseudo\"\nteacher = \"a\"\ndata = \"x\"\n[nodes.q]\nkind = \"concat\"\nof = [\"p\"]\nrounds = 2\nbecomes = \"p.teacher\"\n[nodes.x]\nkind = \"concat\"\nof = [\"q@2\"]\n",
    ),
    (
        "rounds alone",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nrounds = 2\n",
    ),
    (
        "becomes alone",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nbecomes = \"b.of\"\n",
    ),
    (
        "rounds that are no number",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nrounds = \"2\"\nbecomes = \"b.of\"\n",
    ),
    (
        "becomes without a port",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nrounds = 2\nbecomes = \"b\"\n",
    ),
    (
        "becomes an unknown node",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nrounds = 2\nbecomes = \"nobody.of\"\n",
    ),
    (
        "a round of what has none",
        "[nodes.c]\nkind = \"concat\"\nof = [\"a@1\"]\n",
    ),
    (
        "two loops",
        "[nodes.p]\nkind = \"pseudo\"\nteacher = \"a\"\ndata = \"a\"\n[nodes.q]\nkind = \"concat\"\nof = [\"p\"]\nrounds = 2\nbecomes = \"p.teacher\"\n[nodes.r]\nkind = \"concat\"\nof = [\"p\"]\nrounds = 2\nbecomes = \"p.data\"\n",
    ),
    (
        "inputs that never meet",
        "[matrix]\nn = [\"x\", \"y\"]\n[nodes.c]\nkind = \"const\"\nvalue = \"${n}\"\nwhen = \"n == 'x'\"\n[nodes.d]\nkind = \"const\"\nvalue = \"${n}\"\nwhen = \"n == 'y'\"\n[nodes.e]\nkind = \"concat\"\nof = [\"c\", \"d\"]\n",
    ),
    (
        "a time limit",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\ntimeout_s = 0\n",
    ),
    (
        "a wait",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nretry = { times = 1, wait_s = -1 }\n",
    ),
    (
        "no thread",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nresources = { threads = 0 }\n",
    ),
    (
        "no finite number",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nloudness = inf\n",
    ),
    (
        "a number that is too large",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nseed = 99999999999999999999\n",
    ),
    ("no truth", "[nodes.c]\nkind = \"trouble\"\npanic = 1\n"),
    ("nobody makes it", "[nodes.c]\nkind = \"gather\"\ncompare = [\"a\"]\n"),
    (
        "a word behind the end",
        "[nodes.c]\nkind = \"const\"\nvalue = \"x\"\nwhen = \"1 == 1 x\"\n",
    ),
    ("include that is no list", "include = \"x.toml\"\n"),
    ("include of a number", "include = [1]\n"),
    ("include of nothing", "include = [\"nowhere.toml\"]\n"),
    ("include of itself", "include = [\"round.toml\"]\n"),
    ("include with a name", "include = [\"named.toml\"]\n"),
    ("include of what is here", "include = [\"again.toml\"]\n"),
    ("include of no UTF-8", "include = [\"latin.toml\"]\n"),
    ("include of UTF-16", "include = [\"utf16.toml\"]\n"),
    ("includes that are deep", "include = [\"deep0.toml\"]\n"),
    ("include of too much", "include = [\"huge.toml\"]\n"),
];

/// Conditions, with a variable for numbers and one for words.
const CONDITIONS: &[&str] = &[
    "1",
    "[n]",
    "\"n ==\"",
    "\"m == 1\"",
    "\"n in [a]\"",
    "\"n == 'x'\"",
    "\"w == 1\"",
    "\"w == true\"",
    "\"w < true\"",
    "\"n\"",
    "\"n in n\"",
    "\"n ~ n\"",
    "\"w < w\"",
    "\"t == 1\"",
    "\"n == 1 or\"",
    "\"n == (\"",
    "\"n == 3\"",
];

#[test]
fn every_error_of_a_workflow_says_what_where_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
    write("round.toml", b"include = [\"round.toml\"]\n");
    write("named.toml", b"[workflow]\nname = \"x\"\n");
    write("again.toml", TWO.as_bytes());
    write("latin.toml", b"# \xe9\n");
    write("utf16.toml", b"\xff\xfe#\x00");
    let huge = std::fs::File::create(dir.path().join("huge.toml")).expect("made");
    huge.set_len((16 << 20) + 1).expect("a hole");
    for depth in 0..70 {
        write(
            &format!("deep{depth}.toml"),
            format!("include = [\"deep{}.toml\"]\n", depth + 1).as_bytes(),
        );
    }
    let mut said = String::new();
    for (about, text) in WRITTEN {
        // What stands before the first table must come first.
        let text = match text.starts_with("include") {
            true => format!("{text}{TWO}"),
            false => format!("{TWO}{text}"),
        };
        said.push_str(&format!("--- {about}\n{}\n", said_of(dir.path(), &text, &[])));
    }
    for condition in CONDITIONS {
        let text = format!(
            "[matrix]\nn = [1, 2]\nw = [\"x\", \"y\"]\n[variables]\nt = {{ a = 1 }}\n[nodes.c]\nkind = \"const\"\nvalue = \"${{n}}${{w}}\"\nwhen = {condition}\n"
        );
        said.push_str(&format!(
            "--- when = {condition}\n{}\n",
            said_of(dir.path(), &text, &[])
        ));
    }
    let deep = format!("nodes{}=1", ".a".repeat(200));
    let nested = format!("nodes.a.value={}", "[".repeat(200));
    for set in [
        "=1",
        "nodes.a.value.b=1",
        "nodes.a.value=inf",
        &deep,
        &nested,
        "nodes.a",
    ] {
        let shown: String = set.chars().take(40).collect();
        said.push_str(&format!("--- --set {shown}\n{}\n", said_of(dir.path(), TWO, &[set])));
    }
    for number in 0..1001 {
        write(&format!("many{number}.toml"), b"");
    }
    let many: String = (0..1001).map(|number| format!("\"many{number}.toml\", ")).collect();
    let constants: String = (0..13)
        .map(|number| format!("[nodes.c{number}]\nkind = \"const\"\nvalue = \"x\"\n"))
        .collect();
    let values: String = (0..500).map(|number| format!("\"{number}\", ")).collect();
    let length = "[nodes.l]\nkind = \"length\"\n";
    for (about, text) in [
        ("many files", format!("include = [{many}]\n{TWO}")),
        (
            "a node of which none can be the input",
            format!("[nodes.g]\nkind = \"gather\"\n{length}of = \"g\"\n"),
        ),
        (
            "a node for which many would do",
            format!("{constants}{length}of = \"c0\"\n[nodes.m]\nkind = \"length\"\nof = \"l\"\n"),
        ),
        (
            "a node of too many instances",
            format!(
                "[matrix]\nm = [{values}]\nn = [{values}]\n[nodes.c]\nkind = \"const\"\nvalue = \"${{m}}\"\n[nodes.d]\nkind = \"const\"\nvalue = \"${{n}}\"\n[nodes.e]\nkind = \"concat\"\nof = [\"c\", \"d\"]\n"
            ),
        ),
    ] {
        said.push_str(&format!("--- {about}\n{}\n", said_of(dir.path(), &text, &[])));
    }
    for text in [
        format!("x = {}1{}", "[".repeat(70), "]".repeat(70)),
        "a".repeat(300) + " = 1",
        format!("x = {}", "[".repeat(300)),
        "a.".repeat(300) + "a = 1",
    ] {
        said.push_str(&format!("--- nested\n{}\n", said_of(dir.path(), &text, &[])));
    }
    assert_snapshot!(said);
}
