//! What nodes cost, told before anything runs, and what follows from it.

use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Spending, Spent,
};
use flow_engine::{Registry, Workflow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const THING: ArtifactType = ArtifactType("thing");

/// Costs so much, or what is left of so much.
#[derive(Clone, JsonSchema, Serialize, Deserialize)]
struct Train {
    #[serde(default)]
    of: Vec<NodeRef>,
    costs: Option<f64>,
    left_of: Option<f64>,
}

impl Node for Train {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = THING;

    fn ports(&self) -> Vec<Port> {
        vec![Port::many("of", &self.of, &[THING])]
    }

    fn spends(&self, _: &InputFacts) -> Option<Spending> {
        self.costs.map(Spending::all)
    }

    fn settled(&self, spent: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let Some(all) = self.left_of else { return Ok(None) };
        let before = spent.before().ok_or_else(|| ParamError {
            key: "left_of".into(),
            message: "who knows".into(),
            help: None,
        })?;
        Ok(Some(Self {
            costs: Some((all - before.allowed) / f64::from(spent.rounds_left())),
            left_of: None,
            ..self.clone()
        }))
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Err(NodeError::failed("it is not run"))
    }
}

/// Adds up what others cost.
#[derive(JsonSchema, Serialize, Deserialize)]
struct Ledger {
    of: Vec<NodeRef>,
    #[serde(default)]
    most: Option<f64>,
}

impl Node for Ledger {
    const KIND: &'static str = "ledger";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = THING;

    fn ports(&self) -> Vec<Port> {
        vec![Port::many("of", &self.of, &[THING]).labelled().gathers()]
    }

    fn account(&self, spent: &Spent<'_>) -> Result<Option<String>, ParamError> {
        let totals = spent.of("of").into_iter().map(|input| match input.total() {
            Some(total) => format!("{} {}", input.node, total.allowed),
            None => format!("{} unknown", input.node),
        });
        let text = totals.collect::<Vec<_>>().join(", ");
        let over = |most: f64| {
            spent
                .of("of")
                .iter()
                .filter_map(flow_engine::node::InputSpent::total)
                .any(|total| total.used > most)
        };
        if self.most.is_some_and(over) {
            return Err(ParamError {
                key: "most".into(),
                message: format!("too much: {text}"),
                help: None,
            });
        }
        Ok(Some(text))
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Err(NodeError::failed("it is not run"))
    }
}

fn load(text: &str) -> Result<Workflow, String> {
    let mut registry = Registry::new();
    registry.register::<Train>().register::<Ledger>();
    Workflow::from_text(Path::new("w.toml"), text, &registry, &[]).map_err(|problems| format!("{problems:?}"))
}

fn account(text: &str) -> String {
    load(text).expect("a sound workflow").accounts()[0].text.clone()
}

const DIAMOND: &str = r#"
[nodes.base]
kind = "train"
costs = 10.0
[nodes.left]
kind = "train"
of = ["base"]
costs = 3.0
[nodes.right]
kind = "train"
of = ["base", "base"]
costs = 4.0
[nodes.top]
kind = "train"
of = ["left", "right"]
left_of = 20.0
[nodes.sum]
kind = "ledger"
of = ["top", "left"]
"#;

#[test]
fn what_is_reached_on_two_ways_counts_once_and_the_rest_is_what_is_left() {
    assert_eq!(account(DIAMOND), "top 20, left 13");
}

#[test]
fn each_round_counts_and_has_an_even_part_of_the_rest() {
    let rounds = r#"
[nodes.teacher]
kind = "train"
costs = 4.0
[nodes.guess]
kind = "train"
of = ["teacher"]
costs = 1.0
[nodes.student]
kind = "train"
of = ["guess"]
left_of = 31.0
rounds = 2
becomes = "guess.of"
[nodes.sum]
kind = "ledger"
of = ["student@1", "student"]
"#;
    // After the teacher and a guess 26 are left for two rounds; the second guess takes 1 of what the second student has.
    assert_eq!(account(rounds), "student@1 18, student 31");
}

#[test]
fn what_is_not_known_is_no_number_and_leaves_no_rest() {
    let unknown = DIAMOND.replace("costs = 4.0\n", "");
    let problem = load(&unknown).err().expect("there is no rest");
    assert!(problem.contains("who knows"), "{problem}");
    assert_eq!(
        account(&unknown.replace("left_of = 20.0", "costs = 1.0")),
        "top unknown, left 13"
    );
}

#[test]
fn a_node_may_refuse_what_its_inputs_cost() {
    let problem = load(&DIAMOND.replace("of = [\"top\", \"left\"]", "of = [\"top\"]\nmost = 19.0"));
    let problem = problem.err().expect("it is too much");
    assert!(problem.contains("too much: top 20"), "{problem}");
}
