//! What runs and what does not, seen through toy kinds: the promises of the cache as a person meets them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod toys;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use flow_engine::{Event, NodeStatus, PlanState, RunStatus, StoppedBy};
use toys::{Bench, lines, text_of};

const CHAIN: &str = r#"
[workflow]
name = "chain"

[nodes.word]
kind = "const"
value = "hello"

[nodes.other]
kind = "const"
value = "world"

[nodes.letter]
kind = "first"
of = "word"

[nodes.both]
kind = "concat"
of = ["letter", "other"]
"#;

#[test]
fn a_second_run_and_an_edit_of_a_comment_run_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.run(CHAIN).ran(), ["both", "letter", "other", "word"]);
    assert_eq!(bench.run(CHAIN).started(), [""; 0]);
    let commented = CHAIN.replace("[nodes.word]", "# a thought\n[nodes.word]");
    let again = bench.run(&commented);
    assert_eq!(again.started(), [""; 0]);
    assert_eq!(again.outcome.status, RunStatus::Finished);
    assert_eq!(again.outcome.count(NodeStatus::Cached), 4);
}

#[test]
fn a_change_of_one_parameter_runs_it_and_what_follows() {
    let bench = Bench::new();
    bench.run(CHAIN);
    let edited = CHAIN.replace("world", "moon");
    assert_eq!(bench.run(&edited).ran(), ["both", "other"]);
}

#[test]
fn an_undone_edit_runs_nothing() {
    let bench = Bench::new();
    bench.run(CHAIN);
    bench.run(&CHAIN.replace("world", "moon"));
    assert_eq!(bench.run(CHAIN).started(), [""; 0]);
}

#[test]
fn an_upstream_rerun_with_equal_bytes_stops_there() {
    let bench = Bench::new();
    bench.run(CHAIN);
    let edited = CHAIN.replace("hello", "hi");
    assert_eq!(bench.run(&edited).ran(), ["letter", "word"]);
}

#[test]
fn a_default_written_out_and_a_renamed_node_run_nothing() {
    let bench = Bench::new();
    bench.run(CHAIN);
    let edited = CHAIN
        .replace("value = \"hello\"", "value = \"hello\"\nloudness = 0.1")
        .replace("word", "greeting");
    assert_eq!(bench.run(&edited).started(), [""; 0]);
}

#[test]
fn the_plan_says_old_and_new_and_the_run_does_what_it_said() {
    let bench = Bench::new();
    assert_eq!(
        lines(&bench.plan(CHAIN)),
        "word: will run: new\nother: will run: new\nletter: unknown: new; until word has run\n\
         both: unknown: new; until other has run; until letter has run"
    );
    bench.run(CHAIN);
    let edited = CHAIN.replace("value = \"world\"", "value = \"world\"\nloudness = 0.5");
    let plan = bench.plan(&edited);
    assert_eq!(
        lines(&plan),
        "word: cached\nother: will run: loudness: 0.1 -> 0.5\nletter: cached\nboth: unknown: until other has run"
    );
    let run = bench.run(&edited);
    assert_eq!(run.ran(), ["other"]);
    for node in &plan.nodes {
        let started = run.started().contains(&node.name.as_str());
        match &node.state {
            PlanState::Cached { key } => assert!(!started && run.key(&node.name) == *key),
            PlanState::WillRun { key, .. } => assert!(started && run.key(&node.name) == *key),
            PlanState::Shared { .. } => assert!(!started),
            PlanState::Unknown { .. } => {}
        }
    }
}

#[test]
fn a_plan_is_json() {
    let bench = Bench::new();
    let json = serde_json::to_value(bench.plan(CHAIN)).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["nodes"][0]["state"]["is"], "will_run");
    assert_eq!(json["nodes"][0]["state"]["reasons"][0]["reason"], "new");
}

#[test]
fn a_raised_version_reruns_that_kind_and_what_follows_only_if_bytes_change() {
    let mut bench = Bench::new();
    let text = CHAIN.replace("world", "changes");
    bench.run(&text);
    bench.registry = toys::raised();
    assert!(lines(&bench.plan(&text)).contains("word: will run: the node kind has changed: version 1 -> 2"));
    assert_eq!(bench.run(&text).ran(), ["both", "other", "word"]);
}

#[test]
fn a_changed_file_reruns_and_a_touched_or_moved_one_does_not() {
    let bench = Bench::new();
    let text = "[workflow]\nname = \"f\"\n[nodes.a]\nkind = \"file\"\npath = \"in.txt\"\n";
    bench.write("in.txt", "one");
    assert_eq!(bench.run(text).ran(), ["a"]);
    bench.write("in.txt", "one");
    assert_eq!(bench.run(text).started(), [""; 0]);
    bench.write("moved.txt", "one");
    assert_eq!(bench.run(&text.replace("in.txt", "moved.txt")).started(), [""; 0]);
    bench.write("in.txt", "two");
    assert_eq!(lines(&bench.plan(text)), "a: will run: file path has changed");
    let run = bench.run(text);
    assert_eq!(text_of(&bench, &run, "a"), "two");
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_node_and_publishes_nothing() {
    let bench = Bench::new();
    bench.write("in.txt", "one");
    let run = bench.run("[workflow]\nname = \"f\"\n[nodes.a]\nkind = \"file\"\npath = \"in.txt\"\ndisturb = true\n");
    assert_eq!(run.outcome.status, RunStatus::Failed);
    assert!(
        run.outcome.failures[0]
            .message
            .contains("in.txt changed while it was being read")
    );
    assert!(bench.store.records().unwrap().is_empty());
}

#[test]
fn equal_actions_of_one_run_are_done_once() {
    let bench = Bench::new();
    let text =
        "[workflow]\nname = \"t\"\n[nodes.a]\nkind = \"slow\"\nsteps = 3\n[nodes.b]\nkind = \"slow\"\nsteps = 3\n";
    assert_eq!(lines(&bench.plan(text)), "a: will run: new\nb: shared with a");
    let run = bench.run(text);
    assert_eq!(run.started(), ["a"]);
    assert_eq!(run.key("a"), run.key("b"));
    assert_eq!(run.outcome.status, RunStatus::Finished);
}

/// Stops the run once a node has told so many notes.
struct StopAfter<'a> {
    notes: usize,
    stop: flow_engine::StopFlag,
    events: &'a mut Vec<Event>,
}

impl flow_engine::Reporter for StopAfter<'_> {
    fn report(&mut self, event: &Event) {
        self.events.push(event.clone());
        if matches!(event, Event::NodeNote { .. }) {
            self.notes = self.notes.saturating_sub(1);
            if self.notes == 0 {
                self.stop.request();
            }
        }
    }
}

#[test]
fn a_stopped_node_goes_on_from_its_checkpoint_to_the_same_bytes() {
    let text =
        "[workflow]\nname = \"s\"\n[nodes.a]\nkind = \"slow\"\nsteps = 50\n[nodes.b]\nkind = \"first\"\nof = \"a\"\n";
    let bench = Bench::new();
    let options = bench.options();
    let mut events = Vec::new();
    let mut reporter = StopAfter {
        notes: 3,
        stop: options.stop.clone(),
        events: &mut events,
    };
    toys::kinds::HOLD.store(true, Ordering::SeqCst);
    let stopped = flow_engine::run(&bench.load(text), &bench.store, &options, &mut reporter).unwrap();
    toys::kinds::HOLD.store(false, Ordering::SeqCst);
    assert_eq!(stopped.status, RunStatus::Stopped(StoppedBy::Request));
    assert_eq!(stopped.nodes[0].status, NodeStatus::Stopped);
    assert_eq!(stopped.nodes[1].status, NodeStatus::Skipped);
    let told = events.iter().filter(|e| matches!(e, Event::NodeNote { .. })).count();
    assert_eq!(told, 3);

    let resumed = bench.run(text);
    assert_eq!(resumed.notes("a").first().copied(), Some("step 3"));
    assert_eq!(resumed.outcome.status, RunStatus::Finished);
    let whole = Bench::new();
    assert_eq!(text_of(&bench, &resumed, "a"), text_of(&whole, &whole.run(text), "a"));
}

/// Overwrites every byte of every blob that holds `content`, keeping its length.
fn damage(root: &Path, content: &str) -> usize {
    let mut damaged = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).is_ok_and(|bytes| bytes == content.as_bytes()) {
                let mut permissions = std::fs::metadata(&path).unwrap().permissions();
                #[allow(clippy::permissions_set_readonly_false, reason = "a test damages its own file")]
                permissions.set_readonly(false);
                std::fs::set_permissions(&path, permissions).unwrap();
                std::fs::write(&path, "#".repeat(content.len())).unwrap();
                damaged += 1;
            }
        }
    }
    damaged
}

#[test]
fn a_corrupt_input_is_made_again_and_then_read() {
    let bench = Bench::new();
    bench.run(CHAIN);
    assert_eq!(damage(bench.store.root(), "world"), 1);
    let edited = CHAIN.replace("[\"letter\", \"other\"]", "[\"other\", \"letter\"]");
    let run = bench.run(&edited);
    assert_eq!(run.outcome.status, RunStatus::Finished, "{:?}", run.outcome.failures);
    assert_eq!(run.ran(), ["both", "other"]);
    assert!(
        run.events
            .iter()
            .any(|e| matches!(e, Event::NodeRepaired { node, .. } if node == "other"))
    );
    assert_eq!(text_of(&bench, &run, "both"), "worldh");
}

#[test]
fn a_panic_is_one_failed_node_and_the_rest_is_told() {
    let text = "[workflow]\nname = \"p\"\n[nodes.bad]\nkind = \"trouble\"\npanic = true\n\
                [nodes.after]\nkind = \"first\"\nof = \"bad\"\n";
    let bench = Bench::new();
    let run = bench.run(text);
    assert_eq!(run.outcome.status, RunStatus::Failed);
    let failure = &run.outcome.failures[0];
    assert_eq!(
        (failure.node.as_str(), failure.message.as_str()),
        ("bad", "it panicked: index out of thin air")
    );
    assert!(failure.help.as_ref().unwrap().contains("this is a bug"));
    assert_eq!(run.outcome.nodes[1].status, NodeStatus::Skipped);
}

#[test]
fn a_panic_names_the_node_and_its_inputs() {
    let text = "[workflow]\nname = \"p\"\n[nodes.word]\nkind = \"const\"\nvalue = \"x\"\n\
                [nodes.bad]\nkind = \"trouble\"\npanic = true\nof = \"word\"\n";
    let run = Bench::new().run(text);
    let failure = &run.outcome.failures[0];
    let inputs = format!("(inputs: `word` {})", run.key("word").short());
    assert_eq!(failure.node, "bad");
    assert!(failure.message.ends_with(&inputs), "{}", failure.message);
}

#[test]
fn keep_going_runs_what_does_not_rest_on_the_failed() {
    let text = "[workflow]\nname = \"k\"\n[nodes.bad]\nkind = \"trouble\"\npanic = false\n\
                [nodes.after]\nkind = \"first\"\nof = \"bad\"\n\
                [nodes.zfine]\nkind = \"const\"\nvalue = \"x\"\n[nodes.zthen]\nkind = \"first\"\nof = \"zfine\"\n";
    let mut bench = Bench::new();
    bench.threads = 1;
    assert_eq!(bench.run(text).outcome.count(NodeStatus::Skipped), 3);
    bench.keep_going = true;
    let run = bench.run(text);
    assert_eq!(run.ran(), ["zfine", "zthen"]);
    assert_eq!(run.outcome.count(NodeStatus::Skipped), 1);
    assert_eq!(run.outcome.failures[0].help.as_deref(), Some("try again"));
}

#[test]
fn a_partial_port_goes_on_without_what_failed_and_says_what_is_missing() {
    let text = "[workflow]\nname = \"k\"\n[nodes.bad]\nkind = \"trouble\"\npanic = false\n\
                [nodes.after]\nkind = \"first\"\nof = \"bad\"\n\
                [nodes.fine]\nkind = \"const\"\nvalue = \"x\"\n\
                [nodes.all]\nkind = \"gather\"\nwhatever = [\"fine\", \"after\"]\n\
                [nodes.none]\nkind = \"gather\"\nwhatever = [\"after\"]\n";
    let mut bench = Bench::new();
    assert_eq!(
        bench.run(text).outcome.count(NodeStatus::Skipped),
        3,
        "not unless it is to keep going"
    );
    bench.keep_going = true;
    let run = bench.run(text);
    assert_eq!(text_of(&bench, &run, "all"), "fine {}: x\n");
    assert_eq!(
        run.outcome.count(NodeStatus::Skipped),
        2,
        "with nothing at all there is nothing to do"
    );
    let report = &run.outcome.reports[0].1;
    assert_eq!(report.json["missing"], serde_json::json!(["after"]));
    assert!(
        run.outcome.dir.join("all.dot").is_file(),
        "a report's other files lie beside it"
    );
    // Once nothing fails any more, the whole table is another one.
    let mended = text.replace("kind = \"trouble\"\npanic = false", "kind = \"const\"\nvalue = \"y\"");
    assert_eq!(text_of(&bench, &bench.run(&mended), "all"), "fine {}: x\nafter {}: y\n");
}

const GATHER: &str = r#"
[workflow]
name = "gather"

[matrix]
seed = [0, 1]
arm = ["short", "long"]

[nodes.short]
kind = "const"
value = "s"
seed = "${seed}"

[nodes.long]
kind = "const"
value = "long ${seed}"

[nodes.pick]
kind = "concat"
of = ["${arm}"]

[nodes.verdict]
kind = "gather"
compare = ["pick"]
over = ["seed", "arm"]
"#;

#[test]
fn results_are_the_same_for_any_number_of_threads() {
    let keys = |threads| {
        let mut bench = Bench::new();
        bench.threads = threads;
        let run = bench.run(GATHER);
        assert_eq!(run.outcome.status, RunStatus::Finished);
        let keys: Vec<_> = run.outcome.nodes.iter().map(|n| (n.name.clone(), n.key)).collect();
        (keys, text_of(&bench, &run, "verdict"))
    };
    assert_eq!(keys(1), keys(2));
    assert_eq!(keys(1), keys(7));
}

#[test]
fn a_report_is_written_in_each_run_also_when_its_node_is_cached() {
    let bench = Bench::new();
    for _ in 0..2 {
        let run = bench.run(GATHER);
        let text = "pick {\"arm\":\"short\",\"seed\":0}: s\npick {\"arm\":\"long\",\"seed\":0}: long 0\n\
                    pick {\"arm\":\"short\",\"seed\":1}: s\npick {\"arm\":\"long\",\"seed\":1}: long 1\n";
        let (node, report) = &run.outcome.reports[0];
        assert_eq!((node.as_str(), report.terminal.as_str()), ("verdict", text));
        assert_eq!(
            std::fs::read_to_string(run.outcome.dir.join("verdict.md")).unwrap(),
            format!("# Table\n{text}")
        );
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.outcome.dir.join("verdict.json")).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"rows": 4, "records": [2, 2, 2, 2], "missing": []})
        );
    }
}

#[test]
fn a_corrupt_report_is_made_again() {
    let bench = Bench::new();
    let first = bench.run(GATHER);
    assert_eq!(damage(bench.store.root(), &first.outcome.reports[0].1.terminal), 1);
    let second = bench.run(GATHER);
    assert_eq!(
        second.outcome.status,
        RunStatus::Finished,
        "{:?}",
        second.outcome.failures
    );
    assert_eq!(second.ran(), ["verdict"]);
    assert_eq!(
        second.outcome.reports[0].1.terminal,
        first.outcome.reports[0].1.terminal
    );
}

#[test]
fn a_run_can_be_found_again() {
    let bench = Bench::new();
    let run = bench.run(CHAIN);
    let runs = flow_engine::Runs::open(&bench.path("runs"));
    let listed = runs.list().unwrap();
    assert_eq!(listed.len(), 1);
    let mut found = runs.matching(&run.outcome.id[run.outcome.id.len() - 6..]).unwrap();
    let summary = found.remove(0).summary.unwrap();
    assert_eq!(summary.status, RunStatus::Finished);
    assert_eq!(summary.nodes, run.outcome.nodes);
    let log = std::fs::read_to_string(run.outcome.dir.join("events.jsonl")).unwrap();
    let logged: Vec<Event> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<flow_engine::events::LoggedEvent>(line)
                .unwrap()
                .what
        })
        .collect();
    assert_eq!(logged, run.events);
    assert!(matches!(
        runs.matching("nothing"),
        Err(flow_engine::RunsError::NotFound { .. })
    ));
}

#[test]
fn the_longest_way_goes_first_then_by_name_and_a_lone_node_gets_all_threads() {
    let text = "[workflow]\nname = \"w\"\n[nodes.alone]\nkind = \"const\"\nvalue = \"x\"\n\
                [nodes.z1]\nkind = \"const\"\nvalue = \"z\"\n[nodes.z2]\nkind = \"concat\"\nof = [\"z1\"]\n\
                [nodes.z3]\nkind = \"concat\"\nof = [\"z2\", \"alone\"]\n";
    let order = |threads| {
        let mut bench = Bench::new();
        bench.threads = threads;
        let events = bench.run(text).events;
        let started = events.into_iter().filter_map(|e| match e {
            Event::NodeStarted { node, threads, .. } => Some((node, threads)),
            _ => None,
        });
        started.collect::<Vec<_>>()
    };
    let named = |all: &[(&str, usize)]| all.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect::<Vec<_>>();
    assert_eq!(order(1), named(&[("z1", 1), ("alone", 1), ("z2", 1), ("z3", 1)]));
    assert_eq!(order(8).last(), named(&[("z3", 8)]).last());
}

#[test]
fn a_labelled_port_minds_names_and_others_do_not() {
    let bench = Bench::new();
    bench.run(GATHER);
    let renamed = GATHER
        .replace("nodes.pick", "nodes.choice")
        .replace("[\"pick\"]", "[\"choice\"]");
    assert_eq!(bench.run(&renamed).ran(), ["verdict"]);
}

#[test]
fn a_run_that_is_asked_to_stop_begins_nothing() {
    let bench = Bench::new();
    let options = bench.options();
    options.stop.request();
    let mut events: Vec<Event> = Vec::new();
    let outcome = flow_engine::run(&bench.load(CHAIN), &bench.store, &options, &mut events).unwrap();
    assert_eq!(outcome.status, RunStatus::Stopped(StoppedBy::Request));
    assert_eq!(outcome.count(NodeStatus::Skipped), 4);
}

#[test]
fn a_read_only_store_serves_a_run_and_is_left_as_it_was() {
    let mut bench = Bench::new();
    bench.run(CHAIN);
    let listing = |bench: &Bench| {
        let mut names: Vec<_> = std::fs::read_dir(bench.store.root())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let root = bench.store.root().to_owned();
    std::fs::remove_file(root.join("stat")).ok();
    let before = listing(&bench);
    bench.store = flow_cache::Store::open(&root, flow_cache::Access::ReadOnly).unwrap();
    assert_eq!(bench.run(CHAIN).outcome.count(NodeStatus::Cached), 4);
    assert_eq!(listing(&bench), before);
}
