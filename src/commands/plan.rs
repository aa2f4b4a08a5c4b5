//! `flow plan`: what a run would do, and why.

use std::collections::BTreeMap;

use flow_cache::name::without_bindings;
use flow_cache::{Access, Store};
use flow_engine::{PlanState, PlannedNode, Reason, Workflow, in_words};
use tempfile::TempDir;

use super::{load_beside_store, load_part};
use crate::cli::{Cli, PartArgs, PlanArgs, WorkflowArgs};
use crate::exit::{Exit, Failure};
use crate::output::{bytes, count, duration, print, print_json, print_table, say};

/// Reasons in a line for several instances.
const REASONS: usize = 3;

/// Prints the plan.
pub(crate) fn plan(cli: &Cli, args: &PlanArgs) -> Result<Exit, Failure> {
    show(cli, &args.workflow, &args.part, args.all, args.json)
}

/// What a run of this would do: instances that do the same in one line, or each in its own.
pub(super) fn show(cli: &Cli, args: &WorkflowArgs, part: &PartArgs, all: bool, json: bool) -> Result<Exit, Failure> {
    let (workflow, store, _empty) = match load_beside_store(cli, args, part) {
        Err(Failure::Other { .. }) if !cli.cache.exists() => planned_from_nothing(args, part)?,
        found => found.map(|(workflow, store)| (workflow, store, None))?,
    };
    let plan = workflow.plan(&store)?;
    if json {
        print_json(&plan)?;
        return Ok(Exit::Ok);
    }
    let rows = lines(&plan.nodes, all);
    let on_gpu = rows.iter().any(|line| line.gpu_memory.is_some());
    let heads = ["", "node", "kind", "last took"].into_iter();
    let heads: Vec<&str> = heads.chain(on_gpu.then_some("GPU memory")).chain(["why"]).collect();
    print_table(&heads, rows.into_iter().map(|line| line.cells(on_gpu)).collect());
    for account in workflow.accounts() {
        print(&format!("\n{}\n{}", account.node, account.text));
    }
    if !cli.quiet {
        let counts = plan.counts();
        say(&format!(
            "{} cached, {} to run, {} with the same key as another, {} unknown until others have run",
            counts.cached, counts.will_run, counts.shared, counts.unknown
        ));
        expected(&plan.nodes).iter().for_each(|said| say(said));
        say_not_in_key(&workflow);
    }
    Ok(Exit::Ok)
}

/// One line of the plan: instances of a node for which the same will be done for the same reason.
struct Line {
    state: &'static str,
    node: String,
    kind: &'static str,
    instances: usize,
    /// Of those that ever ran.
    seconds: Option<f64>,
    /// What one of them takes of a GPU, in bytes; the most of all.
    gpu_memory: Option<u64>,
    why: String,
}

impl Line {
    fn cells(self, on_gpu: bool) -> Vec<String> {
        let node = match self.instances {
            1 => self.node,
            several => format!("{} x {several}", self.node),
        };
        let took = self.seconds.map_or_else(String::new, duration);
        let mut cells = vec![self.state.to_owned(), node, self.kind.to_owned(), took];
        cells.extend(on_gpu.then(|| self.gpu_memory.map_or_else(String::new, bytes)));
        cells.push(self.why);
        cells
    }
}

fn lines(nodes: &[PlannedNode], all: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for node in nodes {
        let named = |name: &str| {
            if all {
                name.to_owned()
            } else {
                without_bindings(name).to_owned()
            }
        };
        let words = |reasons: &[Reason]| {
            let mut reasons = reasons.to_vec();
            for reason in &mut reasons {
                if let Reason::Upstream { node } | Reason::InputChanged { node: Some(node), .. } = reason {
                    *node = named(node);
                }
            }
            // Several instances of one node are one reason.
            let mut seen: Vec<Reason> = Vec::new();
            reasons.into_iter().for_each(|reason| {
                if !seen.contains(&reason) {
                    seen.push(reason);
                }
            });
            let mut words = in_words(&seen);
            if !all && words.len() > REASONS + 1 {
                let more = words.split_off(REASONS).len();
                words.push(format!("and {more} more"));
            }
            words.join("; ")
        };
        let (state, why) = match &node.state {
            PlanState::Cached { .. } => ("cached", String::new()),
            PlanState::WillRun { reasons, .. } => ("run", words(reasons)),
            PlanState::Shared { with, .. } => ("shared", format!("the same as {}", named(with))),
            PlanState::Unknown { reasons } => ("unknown", words(reasons)),
        };
        let name = named(&node.name);
        let same = |line: &&mut Line| line.state == state && line.node == name && line.why == why;
        match lines.iter_mut().find(same) {
            Some(line) => {
                line.instances += 1;
                line.seconds = line.seconds.into_iter().chain(node.estimate_s).reduce(|a, b| a + b);
                line.gpu_memory = line.gpu_memory.max(node.gpu_memory);
            }
            None => lines.push(Line {
                state,
                node: name,
                kind: node.kind,
                instances: 1,
                seconds: node.estimate_s,
                gpu_memory: node.gpu_memory,
                why,
            }),
        }
    }
    lines
}

/// How long it will take, as far as that is known.
fn expected(nodes: &[PlannedNode]) -> Option<String> {
    let open = nodes
        .iter()
        .filter(|node| matches!(node.state, PlanState::WillRun { .. } | PlanState::Unknown { .. }));
    let (known, unknown): (Vec<&PlannedNode>, Vec<&PlannedNode>) = open.partition(|node| node.estimate_s.is_some());
    let seconds: f64 = known.iter().filter_map(|node| node.estimate_s).sum();
    let never = match unknown.len() {
        0 => String::new(),
        never => format!(", and what has never run: {}", count(never, "node", "nodes")),
    };
    (!known.is_empty()).then(|| format!("expected: about {} of work, as it took last{never}", duration(seconds)))
}

/// Where no cache can be made, none of the nodes is in one: an empty one elsewhere says so.
fn planned_from_nothing(args: &WorkflowArgs, part: &PartArgs) -> Result<(Workflow, Store, Option<TempDir>), Failure> {
    let workflow = load_part(args, part)?;
    let empty = tempfile::tempdir().map_err(|error| Failure::cannot("make an empty cache", &error))?;
    let store = Store::open(empty.path(), Access::ReadWrite)?;
    Ok((workflow, store, Some(empty)))
}

/// One line on what nodes may depend on without their keys knowing.
fn say_not_in_key(workflow: &Workflow) {
    let mut nodes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, words) in workflow.not_in_key() {
        words
            .into_iter()
            .for_each(|word| nodes.entry(word).or_default().push(node));
    }
    let named = nodes.iter().map(|(word, nodes)| match nodes.as_slice() {
        [node] => format!("`{word}` of {node}"),
        [node, others @ ..] => format!("`{word}` of {node} and {} more", others.len()),
        [] => format!("`{word}`"),
    });
    let named: Vec<String> = named.collect();
    if !named.is_empty() {
        say(&format!(
            "not part of any key (name it in `tools`, or in `code`, if its content matters): {}",
            named.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, reasons: Vec<Reason>, estimate_s: Option<f64>) -> PlannedNode {
        PlannedNode {
            name: name.to_owned(),
            kind: "finetune",
            state: PlanState::Unknown { reasons },
            estimate_s,
            gpu_memory: None,
        }
    }

    #[test]
    fn instances_with_the_same_reason_are_one_line_and_others_have_their_own() {
        let lr = |new: f64| Reason::ParamChanged {
            name: "lr".into(),
            old: Some(0.05.into()),
            new: Some(new.into()),
        };
        let until = |node: &str| Reason::Upstream { node: node.into() };
        let nodes = vec![
            node(
                "scratch[seed=0]",
                vec![lr(0.1), until("part[seed=0]"), until("part[seed=1]")],
                Some(20.0),
            ),
            node("scratch[seed=1]", vec![lr(0.1), until("part[seed=1]")], Some(30.0)),
            node("scratch[seed=2]", vec![lr(0.2)], None),
        ];
        let shown = |all: bool| -> Vec<String> {
            lines(&nodes, all)
                .into_iter()
                .map(|line| line.cells(false).join(" | "))
                .collect()
        };
        assert_eq!(
            shown(false),
            [
                "unknown | scratch x 2 | finetune | 50 s | lr: 0.05 -> 0.1; until part has run",
                "unknown | scratch | finetune |  | lr: 0.05 -> 0.2"
            ]
        );
        assert_eq!(shown(true).len(), 3);
        let said = expected(&nodes);
        assert_eq!(
            said.as_deref(),
            Some("expected: about 50 s of work, as it took last, and what has never run: 1 node")
        );
    }
}
