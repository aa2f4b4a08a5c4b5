//! The workflow language, as a person who writes it meets it: what a file means, and how a slip is told.

mod common;

use common::{Ended, Place, SMALL};

/// Two nodes that say words, one for every combination of the matrix; a third that joins all of them.
const WORDS: &str = r#"
[workflow]
name = "words"

[matrix]
word = ["one", "two"]
times = [1, 2]

[nodes.say]
kind = "command"
run = ["echo", "${word}", "x${times}"]
stdout = "said.txt"

[nodes.count]
kind = "command"
run = ["wc", "-c", "{inputs.said}/said.txt"]
inputs = { said = "say" }
stdout = "count.txt"
"#;

/// The names of all nodes that are planned, sorted.
fn planned(place: &Place, more: &[&str]) -> Vec<String> {
    let plan = place.flow(&[&["plan", "w.toml", "--json"], more].concat());
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    let plan = plan.json();
    let nodes = plan["nodes"].as_array().expect("nodes").clone();
    let mut names: Vec<String> = nodes
        .iter()
        .map(|node| node["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Refused as an invalid workflow with all of these words, whatever the lines that they are broken into.
fn refused(ended: &Ended, expected: &[&str]) {
    assert_eq!(ended.code, 3, "{}{}", ended.stdout, ended.stderr);
    let words = |text: &str| {
        let text = text.replace(['│', '\n'], " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = words(&ended.stderr);
    for part in expected {
        assert!(said.contains(&words(part)), "no {part:?} in\n{}", ended.stderr);
    }
}

fn plan(text: &str) -> Ended {
    Place::new(text).flow(&["plan", "w.toml"])
}

#[test]
fn excluded_combinations_are_not_made_and_included_ones_are() {
    let text = WORDS.replace(
        "times = [1, 2]",
        "times = [1, 2]\nexclude = [{ word = \"two\", times = 2 }]\ninclude = [{ word = \"ten\", times = 10 }]",
    );
    let place = Place::new(&text);
    assert_eq!(
        planned(&place, &["--only", "say"]),
        [
            "say[times=1,word=one]",
            "say[times=1,word=two]",
            "say[times=10,word=ten]",
            "say[times=2,word=one]"
        ]
    );
    place.run(&[]);
    assert_eq!(place.ran().len(), 8, "{:?}", place.ran());
}

#[test]
fn inputs_meet_only_in_combinations_that_there_are() {
    let text = r#"
[workflow]
name = "meet"
[matrix]
a = [1, 2]
b = [1, 2]
exclude = [{ a = 1, b = 2 }]
[nodes.first]
kind = "command"
run = ["echo", "a${a}"]
stdout = "x"
[nodes.second]
kind = "command"
run = ["echo", "b${b}"]
stdout = "x"
[nodes.both]
kind = "command"
run = ["cat", "{inputs.a}/x", "{inputs.b}/x"]
inputs = { a = "first", b = "second" }
stdout = "x"
"#;
    let place = Place::new(text);
    let both: Vec<String> = planned(&place, &[])
        .into_iter()
        .filter(|n| n.starts_with("both"))
        .collect();
    assert_eq!(both, ["both[a=1,b=1]", "both[a=2,b=1]", "both[a=2,b=2]"]);
}

#[test]
fn an_exclusion_that_fits_nothing_is_pointed_at() {
    let text = WORDS.replace("times = [1, 2]", "times = [1, 2]\nexclude = [{ word = \"tow\" }]");
    refused(
        &plan(&text),
        &["`word` is never tow", "w.toml:8:21", "did you mean `two`?"],
    );
}

#[test]
fn defaults_hold_for_every_kind_that_takes_them_and_a_node_has_the_last_word() {
    let text = format!("{SMALL}\n[defaults]\nbatch = 4\nseed = 7\n");
    let text = text.replacen("batch = 16\n", "", 1);
    let place = Place::new(&text);
    place.run(&["--only", "simclr", "--only", "scratch"]);
    let found = |query: &str| place.flow(&["cache", "query", query, "--json"]).json_lines().len();
    assert_eq!(found("kind = pretrain and params.batch = 4"), 2, "for all kinds");
    assert_eq!(
        found("kind = finetune and params.batch = 8"),
        4,
        "the kind's own comes first"
    );
    assert_eq!(found("node = images and params.seed = 7"), 1, "for all kinds");
    assert_eq!(
        found("kind = pretrain and params.seed = 7"),
        0,
        "the node's own comes first"
    );
}

#[test]
fn an_unknown_default_is_told_with_what_was_meant_even_if_no_node_uses_it() {
    let with = |defaults: &str| plan(&format!("{WORDS}\n{defaults}\n"));
    refused(
        &with("[defaults.finetune]\nstesp = 3"),
        &["unknown key `stesp`", "w.toml:21:1", "did you mean `steps`?"],
    );
    refused(
        &with("[defaults]\nbatsh = 3"),
        &["`batsh`", "w.toml:21:1", "did you mean `batch`?"],
    );
    refused(
        &with("[defaults.finetun]\nsteps = 3"),
        &["`finetun`", "did you mean `finetune`?"],
    );
    refused(&with("[defaults]\nkind = \"command\""), &["`kind` has no default"]);
}

/// What a default for all kinds rests on: a kind tells which parameters it takes.
#[test]
fn every_kind_with_parameters_of_its_own_knows_them() {
    for (kind, key) in [
        ("dataset", "source"),
        ("augment", "ops"),
        ("pretrain", "epochs"),
        ("pseudo-label", "threshold"),
        ("finetune", "steps"),
        ("evaluate", "model"),
        ("command", "stdout"),
    ] {
        let ended = plan(&format!("{WORDS}\n[defaults.{kind}]\nzzzzzzzz = 3\n"));
        refused(&ended, &["unknown key `zzzzzzzz`", &format!("`{key}`")]);
    }
}
