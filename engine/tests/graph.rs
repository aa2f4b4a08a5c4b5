//! Drawings of a workflow.

mod toys;

use flow_engine::graph::{Detail, dot, mermaid};
use insta::assert_snapshot;
use toys::Bench;

const TEXT: &str = r#"
[workflow]
name = "drawn"
[matrix]
seed = [0, 1]
[nodes.images]
kind = "const"
value = "x"
[nodes.letter]
kind = "first"
of = "images"
[nodes.joined]
kind = "concat"
of = ["images", "letter"]
separator = "s${seed}"
[nodes.verdict]
kind = "gather"
compare = ["joined"]
over = ["seed"]
"#;

#[test]
fn nodes_are_drawn_once_and_edges_that_follow_are_left_out() {
    assert_snapshot!(dot(&Bench::new().load(TEXT), Detail::Nodes));
    assert_snapshot!(mermaid(&Bench::new().load(TEXT), Detail::Nodes));
}

#[test]
fn instances_are_drawn_each() {
    assert_snapshot!(dot(&Bench::new().load(TEXT), Detail::Instances));
}
