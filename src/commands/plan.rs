//! `flow plan`: what a run would do, and why.

use std::collections::BTreeMap;

use flow_cache::{Access, Store};
use flow_engine::{PlanState, Workflow};
use tempfile::TempDir;

use super::{load_beside_store, load_part};
use crate::cli::{Cli, PlanArgs};
use crate::exit::{Exit, Failure};
use crate::output::{bytes, duration, print, print_json, print_table, say};

/// Prints the plan.
pub(crate) fn plan(cli: &Cli, args: &PlanArgs) -> Result<Exit, Failure> {
    let (workflow, store, _empty) = match load_beside_store(cli, &args.workflow, &args.part) {
        Err(Failure::Other { .. }) if !cli.cache.exists() => planned_from_nothing(args)?,
        found => found.map(|(workflow, store)| (workflow, store, None))?,
    };
    let plan = workflow.plan(&store)?;
    if args.json {
        print_json(&plan)?;
        return Ok(Exit::Ok);
    }
    let on_gpu = plan.nodes.iter().any(|node| node.gpu_memory.is_some());
    let rows = plan.nodes.iter().map(|node| {
        let words = |reasons: &[flow_engine::Reason]| flow_engine::in_words(reasons).join("; ");
        let (state, why) = match &node.state {
            PlanState::Cached { .. } => ("cached", String::new()),
            PlanState::WillRun { reasons, .. } => ("run", words(reasons)),
            PlanState::Shared { with, .. } => ("shared", format!("the same as {with}")),
            PlanState::Unknown { reasons } => ("unknown", words(reasons)),
        };
        let estimate = node.estimate_s.map_or_else(String::new, duration);
        let mut row = vec![state.to_owned(), node.name.clone(), node.kind.to_owned(), estimate];
        row.extend(on_gpu.then(|| node.gpu_memory.map_or_else(String::new, bytes)));
        row.push(why);
        row
    });
    let mut heads = vec!["", "node", "kind", "last took"];
    heads.extend(on_gpu.then_some("GPU memory"));
    heads.push("why");
    print_table(&heads, rows.collect());
    for account in workflow.accounts() {
        print(&format!("\n{}\n{}", account.node, account.text));
    }
    if !cli.quiet {
        let counts = plan.counts();
        say(&format!(
            "{} cached, {} to run, {} with the same key as another, {} unknown until others have run",
            counts.cached, counts.will_run, counts.shared, counts.unknown
        ));
        say_not_in_key(&workflow);
    }
    Ok(Exit::Ok)
}

/// Where no cache can be made, none of the nodes is in one: an empty one elsewhere says so.
fn planned_from_nothing(args: &PlanArgs) -> Result<(Workflow, Store, Option<TempDir>), Failure> {
    let workflow = load_part(&args.workflow, &args.part)?;
    let empty = tempfile::tempdir().map_err(|error| Failure::failed(format!("cannot make an empty cache: {error}")))?;
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
