//! The workflows of the simulation, and its dice.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::{ArtifactType, Context, Inputs, Node, NodeError, NodeRef, Output, Port};
use crate::registry::Registry;
use crate::workflow::Workflow;

/// Small, fast, the same everywhere (SplitMix64).
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }

    pub(super) fn ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }
}

/// Workflows that the seeds share.
pub(super) const SHAPES: u64 = 256;

/// A node that is never run.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Toy {
    #[serde(default)]
    inputs: Vec<NodeRef>,
    #[serde(default)]
    partial: Vec<NodeRef>,
}

const ANY: ArtifactType = ArtifactType("any");

impl Node for Toy {
    const KIND: &'static str = "toy";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = ANY;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("inputs", &self.inputs, &[ANY]),
            Port::many("partial", &self.partial, &[ANY]).partial(),
        ]
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Err(NodeError::failed("it is simulated"))
    }
}

/// A workflow of one to ten nodes with policies of all sorts; some of the shapes force a node.
fn shape(seed: u64) -> Workflow {
    let mut random = Random(seed);
    let count = 1 + random.below(10);
    let mut text = String::from("[workflow]\nname = \"w\"\n");
    for node in 0..count {
        text += &format!("[nodes.n{node}]\nkind = \"toy\"\n");
        let mut some = |random: &mut Random, name: &str, percent| {
            let names: Vec<String> = (0..node)
                .filter(|_| random.percent(percent))
                .map(|input| format!("\"n{input}\""))
                .collect();
            if !names.is_empty() {
                text += &format!("{name} = [{}]\n", names.join(", "));
            }
        };
        some(&mut random, "inputs", 25);
        some(&mut random, "partial", 8);
        let mut maybe = |percent, line: &str| {
            if random.percent(percent) {
                text += line;
            }
        };
        maybe(20, "priority = 5\n");
        maybe(15, "mutex = \"m\"\n");
        maybe(20, "retry = { times = 2, wait_s = 0.05 }\n");
        match random.below(100) {
            0..15 => text += "resources = { gpus = 1, memory = \"1MB\" }\n",
            15..35 => text += "resources = { gpu_memory = \"1MB\" }\n",
            _ => {}
        }
    }
    let mut registry = Registry::new();
    registry.register::<Toy>();
    let workflow = Workflow::from_text(Path::new("w.toml"), &text, &registry, &[]);
    let workflow = workflow.unwrap_or_else(|problems| panic!("{problems:?}"));
    match random.percent(25) {
        true => workflow.force(&["n0".to_owned()]).expect("it has n0"),
        false => workflow,
    }
}

pub(super) fn shapes() -> &'static [Workflow] {
    static SHAPES_MADE: OnceLock<Vec<Workflow>> = OnceLock::new();
    SHAPES_MADE.get_or_init(|| (0..SHAPES).map(shape).collect())
}
