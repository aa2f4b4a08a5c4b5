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
fn a_part_is_named_by_a_node_and_any_of_its_values_in_any_order() {
    let place = Place::new(WORDS);
    let one = ["say[times=1,word=one]"];
    assert_eq!(planned(&place, &["--only", "say[word=one,times=1]"]), one);
    assert_eq!(planned(&place, &["--only", "say[times=1, word=one]"]), one);
    assert_eq!(
        planned(&place, &["--only", "say[word=two]"]),
        ["say[times=1,word=two]", "say[times=2,word=two]"]
    );
    let no_value = place.flow(&["plan", "w.toml", "--only", "say[word=ten]"]);
    refused(
        &no_value,
        &[
            "there is no `say[word=ten]`",
            "of `say`, `times` is 1 or 2; `word` is one or two",
        ],
    );
    let no_variable = place.flow(&["plan", "w.toml", "--only", "count[size=2]"]);
    refused(
        &no_variable,
        &["there is no `count[size=2]`", "of `count`, `times` is 1 or 2"],
    );
    let no_node = place.flow(&["plan", "w.toml", "--only", "sya[word=one]"]);
    refused(&no_node, &["there is no node `sya`", "did you mean `say`?"]);
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

/// What a default for all kinds depends on: a kind tells which parameters it takes.
#[test]
fn every_kind_with_parameters_of_its_own_knows_them() {
    for kind in [
        "dataset",
        "augment",
        "pretrain",
        "pseudo-label",
        "finetune",
        "evaluate",
        "command",
    ] {
        let ended = plan(&format!("{WORDS}\n[defaults.{kind}]\nzzzzzzzz = 3\n"));
        refused(&ended, &["unknown key `zzzzzzzz`", &format!("`flow kinds {kind}`")]);
    }
}

const PARTS: &str = r#"
include = ["parts/words.toml"]

[workflow]
name = "parts"

[nodes.all]
kind = "concat"
inputs = ["one", "two"]
"#;

const WORDS_PART: &str = r#"
[nodes.one]
kind = "concat"
files = ["one.txt"]

[nodes.two]
kind = "concat"
text = "two\n"
"#;

fn parts() -> Place {
    let place = Place::new(PARTS);
    std::fs::create_dir(place.path("parts")).expect("a directory");
    place.write("parts/words.toml", WORDS_PART);
    place.write("parts/one.txt", "one\n");
    place
}

/// What a node made.
fn made(place: &Place, node: &str) -> String {
    let path = place
        .flow(&["cache", "query", &format!("node = \"{node}\""), "--path"])
        .stdout;
    std::fs::read_to_string(place.path(path.trim())).expect("its text")
}

#[test]
fn an_included_file_brings_its_nodes_and_its_paths_are_its_own() {
    let place = parts();
    place.run(&[]);
    assert_eq!(made(&place, "all"), "one\ntwo\n");
    place.write("parts/one.txt", "uno\n");
    assert!(
        place.run(&[]).stderr.contains("2 ran, 1 cached"),
        "a file that an included node reads counts"
    );
    place.write("parts/words.toml", WORDS_PART.replace("text = ", "txt = "));
    refused(
        &place.flow(&["plan", "w.toml"]),
        &["unknown key `txt`", "parts/words.toml:8:1"],
    );
    place.write(
        "parts/words.toml",
        format!("{WORDS_PART}\n[nodes.all]\nkind = \"concat\"\n"),
    );
    let twice = place.flow(&["plan", "w.toml"]);
    refused(
        &twice,
        &["`nodes.all` is defined twice", "parts/words.toml:10", "w.toml"],
    );
}

#[test]
fn variables_and_declared_environment_stand_for_their_values_and_the_value_is_what_counts() {
    let text = r#"
[workflow]
name = "constants"

[variables]
most = 3
greeting = "hello ${env.WHO}"

[env]
WHO = "world"

[nodes.a]
kind = "concat"
text = "${greeting}, and $${env.WHO}"
keep_last = "${most}"

[nodes.b]
kind = "concat"
text = "${greeting}"
"#;
    let place = Place::new(text);
    place.run(&[]);
    assert_eq!(made(&place, "b"), "hello world");
    assert_eq!(made(&place, "a"), "HO}");
    let again = place
        .command(&["run", "w.toml"])
        .env("WHO", "world")
        .output()
        .expect("flow starts");
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("0 ran, 2 cached"),
        "the same value is the same key"
    );
    let moon = place
        .command(&["run", "w.toml"])
        .env("WHO", "moon")
        .output()
        .expect("flow starts");
    assert!(String::from_utf8_lossy(&moon.stderr).contains("2 ran"));
    let summary = place.flow(&["runs", "show", "--json"]).json();
    assert_eq!(summary["summary"]["environment"]["WHO"], "moon");
    place.run(&["--set", "variables.most=5"]);
    assert_eq!(made(&place, "a\" and params.keep_last = 5 and node = \"a"), ".WHO}");
    refused(
        &place.flow(&["plan", "w.toml", "--set", "variables.mst=5"]),
        &["did you mean `most`?"],
    );
}

#[test]
fn an_environment_variable_that_is_not_declared_or_not_set_is_told() {
    let with = |env: &str, text: &str| {
        plan(&format!(
            "[workflow]\nname = \"e\"\n{env}\n[nodes.a]\nkind = \"concat\"\ntext = \"{text}\"\n"
        ))
    };
    let undeclared = with("[env]\nHOMES = \"x\"", "${env.HOME}");
    refused(
        &undeclared,
        &["`HOME` is not declared", "w.toml:7:8", "did you mean `HOMES`?"],
    );
    let unset = with(
        "[env]\nFLOW_TEST_NOT_SET = { required = true }",
        "${env.FLOW_TEST_NOT_SET}",
    );
    refused(&unset, &["FLOW_TEST_NOT_SET is not set", "w.toml:4:1"]);
    refused(&with("[env]\nX = 3", "x"), &["`X` must be a default"]);
}

const WHEN: &str = r#"
[workflow]
name = "when"

[variables]
full = false

[matrix]
n = [1, 2, 3]

[nodes.low]
kind = "concat"
text = "low ${n}\n"
when = "n <= 2"

[nodes.after]
kind = "concat"
inputs = ["low"]
text = "after\n"

[nodes.extra]
kind = "concat"
text = "extra\n"
when = "full"

[nodes.all]
kind = "concat"
inputs = ["after", "extra"]
text = "all\n"

[nodes.more]
kind = "concat"
inputs = ["extra"]
text = "more\n"
"#;

#[test]
fn a_node_exists_where_its_condition_holds_and_what_rests_on_it_follows() {
    let nodes = |more: &[&str]| {
        let place = Place::new(WHEN);
        let plan = place.flow(&[&["plan", "w.toml", "--json"], more].concat()).json();
        let names = plan["nodes"].as_array().expect("nodes").iter();
        let mut names: Vec<String> = names
            .map(|node| node["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    };
    // `all` takes what there is of its list, `more` has nothing left to take.
    let some = [
        "after[n=1]",
        "after[n=2]",
        "all[n=1]",
        "all[n=2]",
        "low[n=1]",
        "low[n=2]",
    ];
    assert_eq!(nodes(&[]), some);
    let full = nodes(&["--set", "variables.full=true"]);
    assert!(
        full.contains(&"extra".to_owned()) && full.contains(&"more".to_owned()),
        "{full:?}"
    );
    let place = Place::new(WHEN);
    place.run(&[]);
    assert_eq!(made(&place, "all[n=2]"), "low 2\nafter\nall\n");
}

#[test]
fn a_condition_that_makes_no_sense_is_told_where_it_stands() {
    let with = |when: &str| plan(&WHEN.replace("\"n <= 2\"", when));
    refused(&with("\"m <= 2\""), &["unknown variable `m`", "w.toml:14:8", "`full`"]);
    refused(&with("\"n <= 'two'\""), &["have no order", "w.toml:14:8"]);
    refused(&with("3"), &["it is the number 3"]);
    let none = WHEN
        .replace("when = \"full\"", "")
        .replace("n <= 2", "n > 9")
        .replace("[nodes.extra]", "[nodes.low2]");
    let none = none
        .replace("\"extra\"", "\"low\"")
        .replace("text = \"extra\\n\"", "inputs = [\"low\"]");
    refused(&plan(&none), &["there is nothing to run"]);
}

#[test]
fn nodes_with_the_same_key_are_one_and_the_plan_says_so() {
    let place = Place::new(
        "[workflow]\nname = \"shared\"\n[nodes.a]\nkind = \"concat\"\ntext = \"x\"\n[nodes.b]\nkind = \"concat\"\ntext = \"x\"\n",
    );
    let plan = place.flow(&["plan", "w.toml"]).stdout;
    assert!(plan.contains("shared") && plan.contains("the same as a"), "{plan}");
    assert!(place.run(&[]).stderr.contains("1 ran, 1 cached"));
}
