//! Why a node ran, how two entries or runs differ, and what depends on what.

mod common;

use common::{Place, TWO};

/// The workflow run with n = 1, then with n = 2.
fn ran_twice() -> Place {
    let place = Place::new(TWO);
    place.run(&[]);
    place.run(&["--set", "nodes.first.params.n=2"]);
    place
}

#[test]
fn why_names_the_parameter_and_the_input_that_changed() {
    let place = ran_twice();
    let first = place.flow(&["cache", "why", "first"]);
    assert!(
        first.stdout.contains("param.params.n") && first.stdout.contains("->"),
        "{}",
        first.stdout
    );
    let second = place.flow(&["cache", "why", "second"]);
    assert!(second.stdout.contains("input.inputs.n"), "{}", second.stdout);
    assert!(
        second.stdout.contains("+1.0000"),
        "the metric's difference: {}",
        second.stdout
    );
}

#[test]
fn a_name_that_stands_for_several_instances_means_the_newest_and_names_the_others() {
    let matrix = "[matrix]\nn = [1, 2]\n\n[nodes.first]";
    let place = Place::new(
        &TWO.replace("[nodes.first]", matrix)
            .replace("{ n = 1 }", "{ n = \"${n}\" }"),
    );
    place.run(&[]);
    let several = place.flow(&["cache", "show", "first"]);
    assert_eq!(several.code, 0, "{}", several.stderr);
    assert!(several.stderr.contains("using the newest"), "{}", several.stderr);
    for name in ["first[n=1]", "first[n=2]"] {
        assert!(several.stderr.contains(name), "{}", several.stderr);
        assert_eq!(place.flow(&["cache", "show", name]).code, 0);
    }
}

#[test]
fn a_forced_node_runs_again_and_what_comes_out_the_same_ends_there() {
    let place = Place::new(TWO);
    place.run(&[]);
    let plan = place.flow(&["plan", "w.toml", "--force", "first", "--json"]).json();
    assert_eq!(plan["nodes"][0]["state"]["reasons"][0]["reason"], "forced", "{plan}");
    place.run(&["--force", "first"]);
    assert_eq!(place.ran(), ["first"]);
    let unknown = place.flow(&["run", "w.toml", "--force", "frist"]);
    assert_eq!(unknown.code, 3);
    assert!(unknown.stderr.contains("first"), "{}", unknown.stderr);
}

#[test]
fn a_forced_node_that_makes_something_else_is_told_not_to_be_deterministic() {
    let place = Place::new(&TWO.replace("echo {params.n}", "date +%s%N"));
    place.run(&[]);
    let before = place.digests();
    let again = place.flow(&["run", "w.toml", "--force", "first"]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(
        again.stderr.contains("deterministic") && again.stderr.contains("n.txt"),
        "{}",
        again.stderr
    );
    assert_eq!(place.digests(), before, "the first outputs are kept");
}

#[test]
fn why_of_the_first_of_its_kind_says_that_it_was_new() {
    let place = Place::new(TWO);
    place.run(&[]);
    let why = place.flow(&["cache", "why", "first"]);
    assert!(why.stdout.contains("new"), "{}", why.stdout);
    assert_eq!(place.flow(&["cache", "why", "nobody"]).code, 2);
}

#[test]
fn diff_of_two_entries_gives_the_same_as_json() {
    let place = ran_twice();
    let keys: Vec<String> = place
        .flow(&["cache", "query", "node = first", "--json"])
        .json_lines()
        .iter()
        .map(|r| r["key"].as_str().expect("a key").to_owned())
        .collect();
    let diff = place.flow(&["cache", "diff", &keys[1], &keys[0], "--json"]).json();
    assert_eq!(diff["changes"].as_array().expect("changes").len(), 1);
    assert_eq!(
        (diff["changes"][0]["old"].as_u64(), diff["changes"][0]["new"].as_u64()),
        (Some(1), Some(2))
    );
    let ambiguous = place.flow(&["cache", "diff", "first", &keys[0]]);
    assert_eq!(ambiguous.code, 0, "{}", ambiguous.stderr);
    assert!(ambiguous.stderr.contains("2 entries"), "{}", ambiguous.stderr);
}

#[test]
fn the_tree_leads_up_and_down() {
    let place = Place::new(TWO);
    place.run(&[]);
    let up = place.flow(&["cache", "tree", "second"]).stdout;
    let lines: Vec<&str> = up.lines().collect();
    assert!(
        lines[0].contains("second") && lines[1].starts_with("  ") && lines[1].contains("first"),
        "{up}"
    );
    let down = place.flow(&["cache", "tree", "first", "--down"]).stdout;
    assert!(down.lines().nth(1).is_some_and(|l| l.contains("second")), "{down}");
}

#[test]
fn only_runs_what_is_wanted_and_what_it_rests_on() {
    let place = Place::new(common::SMALL);
    let plan = place.flow(&["plan", "w.toml", "--only", "pretrained"]);
    assert_eq!(plan.code, 3, "a name that nothing has: {}", plan.stderr);
    let whole = place.flow(&["plan", "w.toml", "--json"]).json();
    let part = place.flow(&["plan", "w.toml", "--only", "guess@1", "--json"]).json();
    let names = |plan: &serde_json::Value| -> Vec<String> {
        let nodes = plan["nodes"].as_array().expect("nodes");
        nodes
            .iter()
            .map(|n| n["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let (whole, part) = (names(&whole), names(&part));
    assert!(
        part.len() < whole.len() && part.iter().all(|n| whole.contains(n)),
        "{part:?}"
    );
    assert!(
        part.iter().any(|n| n.starts_with("guess@1")) && !part.iter().any(|n| n.starts_with("verdict")),
        "{part:?}"
    );
    place.run(&["--only", "guess@1"]);
    let ran = place.ran();
    assert_eq!(ran.len(), part.len(), "{ran:?}");
    place.run(&[]);
    assert!(
        place.ran().iter().all(|n| !part.contains(n)),
        "what --only made is found again: {:?}",
        place.ran()
    );
}

#[test]
fn two_runs_are_compared_node_by_node() {
    let place = ran_twice();
    let runs = place.flow(&["runs", "ls", "--json"]).json_lines();
    let [new, old] = [0, 1].map(|i| runs[i]["id"].as_str().expect("an id").to_owned());
    let table = place.flow(&["runs", "compare", &old, &new]).stdout;
    for expected in ["param.params.n", "metrics.n", "+1.0000"] {
        assert!(table.contains(expected), "no `{expected}` in\n{table}");
    }
    let same = place.flow(&["runs", "compare", &new, &new]).stdout;
    assert!(same.contains("the same"), "{same}");
}

#[test]
fn verify_repair_sets_damage_aside_and_the_next_run_makes_it_anew() {
    let place = Place::new(TWO);
    place.run(&[]);
    let digests = place.digests();
    let path = common::blob(&place, "first", "n.txt");
    std::fs::write(&path, "9\n").expect("a blob of ours");
    assert_eq!(place.flow(&["cache", "verify"]).code, 4);
    let repaired = place.flow(&["cache", "verify", "--repair"]);
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    assert_eq!(place.flow(&["cache", "verify"]).code, 0);
    place.run(&[]);
    assert_eq!(place.ran(), ["first"], "the second's input has the same digest again");
    assert_eq!(place.digests(), digests);
}

#[test]
fn a_trace_has_a_bar_for_every_node_that_ran() {
    let place = Place::new(TWO);
    place.run(&["--trace", "trace.json"]);
    let text = std::fs::read_to_string(place.path("trace.json")).expect("a trace");
    let trace: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let bars: Vec<&serde_json::Value> = trace["traceEvents"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|e| e["ph"] == "X")
        .collect();
    assert_eq!(bars.len(), 2, "{text}");
    let end = |bar: &serde_json::Value| bar["ts"].as_u64().expect("a time") + bar["dur"].as_u64().expect("a time");
    assert!(
        end(bars[0]) <= bars[1]["ts"].as_u64().expect("a time"),
        "the second waits for the first: {text}"
    );
}
