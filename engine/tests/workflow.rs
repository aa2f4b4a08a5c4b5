//! From TOML to instances: what a matrix, `over` and `rounds` expand to, and how a mistake is told.

mod toys;

use std::path::Path;

use flow_engine::{Override, Workflow};
use insta::assert_snapshot;
use proptest::prelude::*;
use toys::{Bench, describe, problems, problems_with, registry};

fn expanded(text: &str) -> String {
    describe(&Bench::new().load(text))
}

#[test]
fn only_what_uses_a_variable_is_expanded_by_it() {
    assert_snapshot!(expanded(
        r#"
[workflow]
name = "m"
[matrix]
labels = [40, 100]
seed = [0, 1]
[nodes.images]
kind = "const"
value = "x"
[nodes.labelled]
kind = "concat"
of = ["images"]
separator = "${labels}-${seed}"
[nodes.simclr]
kind = "concat"
of = ["images"]
separator = "seed ${seed}"
[nodes.student]
kind = "concat"
of = ["labelled", "simclr"]
"#
    ));
}

#[test]
fn a_reference_may_be_a_variable_and_each_arm_takes_only_what_it_names() {
    assert_snapshot!(expanded(
        r#"
[workflow]
name = "arms"
[matrix]
arm = ["scratch", "both"]
seed = [0, 1]
[nodes.scratch]
kind = "const"
value = "x"
seed = "${seed}"
[nodes.both]
kind = "const"
value = "y"
[nodes.score]
kind = "first"
of = "${arm}"
[nodes.verdict]
kind = "gather"
compare = ["score"]
over = ["seed", "arm"]
"#
    ));
}

#[test]
fn over_gathers_some_variables_and_is_expanded_by_the_others() {
    assert_snapshot!(expanded(
        r#"
[workflow]
name = "over"
[matrix]
labels = [40, 100]
seed = [1, 0]
[nodes.data]
kind = "const"
value = "l${labels}"
[nodes.a]
kind = "const"
value = "a${labels}"
seed = "${seed}"
[nodes.b]
kind = "const"
value = "b"
seed = "${seed}"
[nodes.table]
kind = "gather"
compare = ["a", "b"]
data = "data"
over = ["seed"]
"#
    ));
}

const ROUNDS: &str = r#"
[workflow]
name = "rounds"
[matrix]
seed = [0]
[nodes.images]
kind = "const"
value = "x"
[nodes.scratch]
kind = "const"
value = "s"
seed = "${seed}"
[nodes.pseudo]
kind = "pseudo"
teacher = "scratch"
data = "images"
[nodes.student]
kind = "concat"
of = ["pseudo", "images"]
rounds = 2
becomes = "pseudo.teacher"
[nodes.score]
kind = "first"
of = "student"
[nodes.early]
kind = "first"
of = "student@1"
"#;

#[test]
fn rounds_unroll_and_outside_the_last_is_meant() {
    assert_snapshot!(expanded(ROUNDS));
}

#[test]
fn rounds_feed_each_student_to_the_next_round() {
    let bench = Bench::new();
    let run = bench.run(ROUNDS);
    assert_eq!(toys::text_of(&bench, &run, "student@2[seed=0]"), "x by (x by (s)x)x");
}

#[test]
fn defaults_of_a_kind_hold_where_a_node_says_nothing() {
    let text = "[workflow]\nname = \"d\"\n[defaults.concat]\nseparator = \"-\"\n\
                [nodes.a]\nkind = \"const\"\nvalue = \"x\"\n\
                [nodes.b]\nkind = \"concat\"\nof = [\"a\", \"a\"]\n\
                [nodes.c]\nkind = \"concat\"\nof = [\"a\", \"a\"]\nseparator = \"+\"\n";
    let bench = Bench::new();
    let run = bench.run(text);
    assert_eq!(toys::text_of(&bench, &run, "b"), "x-x");
    assert_eq!(toys::text_of(&bench, &run, "c"), "x+x");
}

#[test]
fn an_override_takes_the_place_of_a_value() {
    let registry = registry();
    let sets = ["nodes.scratch.value=t", "matrix.seed=[3]"].map(|s| Override::parse(s).unwrap());
    let workflow = Workflow::from_text(Path::new("w.toml"), ROUNDS, &registry, &sets).unwrap();
    assert!(describe(&workflow).contains("student@2[seed=3]"));
}

#[test]
fn broken_toml_tells_all_its_errors() {
    assert_snapshot!(problems("[workflow\nname = \"x\"\n[nodes.a]\nkind = \n"));
}

#[test]
fn unknown_keys_kinds_and_nodes_are_told_at_once_with_the_nearest_name() {
    assert_snapshot!(problems(
        r#"
[workflow]
name = "typos"
quesiton = "?"
[nodes.word]
kind = "const"
value = "x"
sed = 1
[nodes.joined]
kind = "concat"
of = ["word", "wrod"]
style = { caes = "upper" }
[nodes.other]
kind = "concta"
"#
    ));
}

#[test]
fn a_cycle_is_printed_whole() {
    assert_snapshot!(problems(
        r#"
[workflow]
name = "cycle"
[nodes.a]
kind = "first"
of = "c"
[nodes.b]
kind = "first"
of = "a"
[nodes.c]
kind = "concat"
of = ["b"]
[nodes.d]
kind = "first"
of = "d"
"#
    ));
}

#[test]
fn wrong_types_values_and_missing_keys_point_at_the_place() {
    assert_snapshot!(problems(
        r#"
[workflow]
name = "types"
[nodes.a]
kind = "const"
value = 5
[nodes.b]
kind = "const"
value = "x"
seed = "five"
[nodes.c]
kind = "concat"
of = ["b"]
style.case = "uper"
[nodes.d]
kind = "slow"
[nodes.e]
kind = "slow"
steps = -1
"#
    ));
}

#[test]
fn a_port_says_what_it_takes_and_what_would_fit() {
    assert_snapshot!(problems(
        r#"
[workflow]
name = "ports"
[nodes.a]
kind = "const"
value = "x"
[nodes.size]
kind = "length"
of = "a"
[nodes.b]
kind = "concat"
of = ["a", "size"]
"#
    ));
}

#[test]
fn unknown_variables_and_bad_matrices_are_told() {
    assert_snapshot!(problems(
        r#"
[workflow]
name = "variables"
[matrix]
seed = [0, 0]
empty = []
arm = "x"
"#
    ));
    assert_snapshot!(problems(
        r#"
[workflow]
name = "variables"
[matrix]
seed = [0, 1]
[nodes.a]
kind = "const"
value = "${sede}"
[nodes.b]
kind = "const"
value = "${seed"
"#
    ));
}

#[test]
fn over_and_rounds_explain_what_they_need() {
    assert_snapshot!(problems(&ROUNDS.replace("pseudo.teacher", "pseudo.teach")));
    assert_snapshot!(problems(&ROUNDS.replace("pseudo.teacher", "score.of")));
    assert_snapshot!(problems(&ROUNDS.replace("rounds = 2", "rounds = 0")));
    assert_snapshot!(problems(&ROUNDS.replace("student@1", "student@3")));
    assert_snapshot!(problems(
        "[workflow]\nname = \"o\"\n[matrix]\nseed = [0]\n[nodes.a]\nkind = \"const\"\nvalue = \"x\"\n\
         [nodes.t]\nkind = \"gather\"\ncompare = [\"a\"]\nover = [\"seed\"]\n"
    ));
}

#[test]
fn a_kind_objects_once_for_all_instances() {
    assert_snapshot!(problems(
        "[workflow]\nname = \"f\"\n[matrix]\nseed = [0, 1, 2]\n\
         [nodes.a]\nkind = \"const\"\nvalue = \"x\"\nseed = \"${seed}\"\nloudness = 1.5\n"
    ));
}

#[test]
fn a_missing_file_points_at_the_parameter_that_names_it() {
    let told = problems("[workflow]\nname = \"f\"\n[nodes.a]\nkind = \"file\"\npath = \"nowhere.txt\"\n");
    assert!(
        told.contains("cannot read `nowhere.txt`") && told.contains("w.toml:5:8"),
        "{told}"
    );
}

#[test]
fn a_bad_override_is_shown_as_it_was_given() {
    let text = "[workflow]\nname = \"s\"\n[nodes.word]\nkind = \"const\"\nvalue = \"x\"\n";
    assert_snapshot!(problems_with(text, &["nodes.wrod.seed=1"]));
    assert_snapshot!(problems_with(text, &["nodes.word.seed=many"]));
}

#[test]
fn ten_thousand_instances_expand_and_share_their_inputs() {
    let seeds: Vec<String> = (0..2500).map(|i| i.to_string()).collect();
    let text = format!(
        "[workflow]\nname = \"big\"\n[matrix]\nseed = [{}]\n[nodes.a]\nkind = \"const\"\nvalue = \"x\"\nseed = \"${{seed}}\"\n\
         [nodes.b]\nkind = \"first\"\nof = \"a\"\n[nodes.c]\nkind = \"concat\"\nof = [\"a\", \"b\"]\n\
         [nodes.d]\nkind = \"first\"\nof = \"c\"\n[nodes.t]\nkind = \"gather\"\ncompare = [\"d\"]\nover = [\"seed\"]\n",
        seeds.join(",")
    );
    let workflow = Bench::new().load(&text);
    assert_eq!(workflow.instances().len(), 10_001);
    assert_eq!(workflow.instances()[10_000].inputs().count(), 2500);
}

/// Texts that look like workflows, so that more than the TOML parser is reached.
fn workflow_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("${v}".to_owned()),
        Just("${".to_owned()),
        Just("a@2".to_owned()),
        "[a-z$@{}.]{0,6}".prop_map(|s| s),
    ];
    let value = (0..6, word.clone()).prop_map(|(form, word)| match form {
        0 => format!("\"{word}\""),
        1 => format!("[\"{word}\", 1]"),
        2 => format!("[\"{word}\"]"),
        3 => "2".to_owned(),
        4 => format!("{{ {} = 1 }}", if word.is_empty() { "x" } else { "y" }),
        _ => "nan".to_owned(),
    });
    let key = prop::sample::select(vec![
        "kind", "of", "value", "over", "rounds", "becomes", "compare", "v", "name", "teacher",
    ]);
    let kinds = prop::sample::select(vec!["const", "concat", "first", "gather", "pseudo", "nothing"]);
    let header = prop::sample::select(vec![
        "[workflow]",
        "[matrix]",
        "[nodes.a]",
        "[nodes.b]",
        "[defaults.const]",
        "[x]",
    ]);
    let line = prop_oneof![
        (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        kinds.prop_map(|kind| format!("kind = \"{kind}\"")),
    ];
    prop::collection::vec((header, prop::collection::vec(line, 0..5)), 0..6).prop_map(|sections| {
        sections
            .into_iter()
            .map(|(h, lines)| format!("{h}\n{}\n", lines.join("\n")))
            .collect()
    })
}

fn never_panics(text: &str) {
    if let Err(diagnostics) = Workflow::from_text(Path::new("w.toml"), text, &registry(), &[]) {
        assert!(!diagnostics.problems().is_empty());
        let _ = format!("{:?}", miette::Report::new(diagnostics));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        never_panics(&text);
    }

    #[test]
    fn nothing_like_a_workflow_makes_it_panic(text in workflow_like()) {
        never_panics(&text);
    }
}

#[test]
fn an_exploding_matrix_is_told_and_not_expanded() {
    let many: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let many = many.join(",");
    let node = |name: &str| format!("[nodes.{name}]\nkind = \"const\"\nvalue = \"v${{{name}}}\"\n");
    let text = format!(
        "[workflow]\nname = \"x\"\n[matrix]\na = [{many}]\nb = [{many}]\nc = [{many}]\n{}{}{}\
         [nodes.all]\nkind = \"concat\"\nof = [\"a\", \"b\", \"c\"]\n",
        node("a"),
        node("b"),
        node("c")
    );
    let told = problems(&text);
    assert!(
        told.contains("more than 200000 nodes") && told.contains("while expanding `all`"),
        "{told}"
    );
}

#[test]
fn a_number_where_a_string_is_expected_says_what_to_write() {
    let said = problems("[matrix]\nn = [3]\n[nodes.a]\nkind = \"const\"\nvalue = \"${n}\"\n");
    assert!(
        said.contains("write \"3\" in quotes") && said.contains("name = [\"3\"]"),
        "{said}"
    );
}

#[test]
fn an_undeclared_environment_variable_is_refused_with_the_nearest() {
    let said = problems("[env]\nDATA = \"d\"\n[nodes.a]\nkind = \"const\"\nvalue = \"${env.DAT}\"\n");
    assert!(
        said.contains("`DAT` is not declared") && said.contains("did you mean `DATA`?"),
        "{said}"
    );
}
