//! Trainings on several GPUs: who gets which part, whatever fails.

mod toys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use flow_engine::node::{ArtifactType, Context, InputFacts, Inputs, Node, NodeError, NodeRef, Output, Port, Resources};
use flow_engine::{Event, Gpu, NodeStatus, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use toys::Bench;

/// Bytes of a GPU.
const MEMORY: u64 = 80;

/// What is used of each GPU at the moment, and the most that ever was.
static USED: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());

/// Takes some memory of the GPU that it was given, as a training does that was estimated at `gpu_memory` and takes `takes`.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    #[serde(default)]
    of: Option<NodeRef>,
    estimate: u64,
    takes: u64,
    number: u64,
}

impl Node for Train {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = toys::kinds::TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("of", &self.of, &[toys::kinds::TEXT])]
    }

    fn resources(&self, _: &InputFacts) -> Resources {
        let mut resources = Resources::threads_up_to(1);
        resources.gpu_memory = Some(self.estimate);
        resources
    }

    fn run(&self, _: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let [gpu] = cx.gpus else {
            return Err(NodeError::failed(format!(
                "one GPU was asked for, given: {:?}",
                cx.gpus
            )));
        };
        let change = |by: i64| {
            let mut used = USED.lock().expect("no test panics with it");
            let (now, most) = used.entry(gpu.clone()).or_default();
            *now = now.checked_add_signed(by).expect("never below zero");
            *most = (*most).max(*now);
        };
        change(self.estimate as i64);
        // Others get a turn meanwhile.
        (0..50).for_each(|_| std::thread::yield_now());
        change(-(self.estimate as i64));
        match self.takes > self.estimate {
            true => Err(NodeError::failed("the GPU has no memory left").with_help("lower `batch`")),
            false => Ok(toys::kinds::text_output(self.number.to_string())),
        }
    }
}

fn eight() -> Vec<Gpu> {
    let gpu = |number: u32| Gpu {
        name: number.to_string(),
        memory: Some(MEMORY),
    };
    (0..8).map(gpu).collect()
}

#[test]
fn two_hundred_trainings_share_eight_gpus_and_a_failure_is_one_node() {
    let mut bench = Bench::new();
    bench.registry.register::<Train>();
    bench.keep_going = true;
    bench.threads = 24;
    let mut text = String::new();
    for number in 0..200_u64 {
        // Some want nearly a whole one, every tenth runs out of memory, every fourth depends on the one before.
        let estimate = [10, 25, 40, 75][(number % 7 % 4) as usize];
        let takes = if number % 10 == 9 { estimate + 1 } else { estimate };
        text += &format!(
            "[nodes.n{number}]\nkind = \"train\"\nestimate = {estimate}\ntakes = {takes}\nnumber = {number}\n"
        );
        if number % 4 == 2 {
            text += &format!("of = \"n{}\"\n", number - 1);
        }
    }
    let workflow = bench.load(&text);
    let mut options = bench.options();
    options.machine.gpus = eight();
    let mut events = Vec::new();
    let outcome = flow_engine::run(&workflow, &bench.store, &options, &mut events).expect("it runs");

    assert_eq!(outcome.status, RunStatus::Failed);
    let depends_on_failed = |number: u64| number % 4 == 2 && (number - 1) % 10 == 9;
    for (number, node) in outcome.nodes.iter().enumerate() {
        let expected = match number as u64 {
            number if number % 10 == 9 => NodeStatus::Failed,
            number if depends_on_failed(number) => NodeStatus::Skipped,
            _ => NodeStatus::Ran,
        };
        assert_eq!(node.status, expected, "{}", node.name);
    }
    assert!(
        outcome
            .failures
            .iter()
            .all(|failure| failure.message.contains("no memory left"))
    );
    let given = events.iter().filter_map(|event| match event {
        Event::NodeStarted { gpus, .. } => Some(gpus.clone()),
        _ => None,
    });
    let given: Vec<Vec<String>> = given.collect();
    assert!(given.iter().all(|gpus| gpus.len() == 1), "one each");
    assert_eq!(given.iter().flatten().collect::<BTreeSet<_>>().len(), 8, "all are used");
    let used = USED.lock().expect("no test panics with it");
    for (gpu, (now, most)) in used.iter() {
        assert_eq!(*now, 0);
        assert!(
            *most <= MEMORY,
            "{most} of GPU {gpu}'s {MEMORY} bytes were given at a time"
        );
    }
}

#[test]
fn what_no_gpu_of_the_run_has_is_refused_in_words() {
    let mut bench = Bench::new();
    bench.registry.register::<Train>();
    let text = "[nodes.n]\nkind = \"train\"\nestimate = 17179869184\ntakes = 0\nnumber = 0\n";
    let refused = |gpus: Vec<Gpu>| {
        let mut options = bench.options();
        options.machine.gpus = gpus;
        let outcome = flow_engine::run(&bench.load(text), &bench.store, &options, &mut Vec::new()).expect("it runs");
        outcome.failures[0].message.clone()
    };
    assert_eq!(refused(Vec::new()), "it needs a GPU, and this run has none");
    let small = Gpu {
        name: "0".to_owned(),
        memory: Some(8 << 30),
    };
    let message = "it needs 16384 MiB of a GPU's memory, and the largest GPU of this run has 8192 MiB";
    assert_eq!(refused(vec![small]), message);
}

#[test]
fn a_table_says_how_much_of_a_gpu_its_node_takes() {
    let mut bench = Bench::new();
    bench.registry.register::<Train>();
    let need = |resources: &str| {
        let text = format!("[nodes.n]\nkind = \"train\"\nestimate = 10\ntakes = 0\nnumber = 0\n{resources}");
        let resources = bench.load(&text).instances()[0].resources();
        (resources.gpus, resources.gpu_memory)
    };
    assert_eq!(need(""), (None, Some(10)));
    assert_eq!(need("resources = { gpu_memory = \"2kB\" }"), (None, Some(2000)));
    assert_eq!(need("resources = { gpus = 2 }").0, Some(2));
}
