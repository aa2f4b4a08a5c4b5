//! `flow plan`: what a run would do, and why.

use flow_engine::PlanState;

use super::load_beside_store;
use crate::cli::{Cli, PlanArgs};
use crate::exit::{Exit, Failure};
use crate::output::{duration, print_json, print_table, say};

/// Prints the plan.
pub(crate) fn plan(cli: &Cli, args: &PlanArgs) -> Result<Exit, Failure> {
    let (workflow, store) = load_beside_store(cli, &args.workflow, &args.part)?;
    let plan = workflow.plan(&store)?;
    if args.json {
        print_json(&plan)?;
        return Ok(Exit::Ok);
    }
    let rows = plan.nodes.iter().map(|node| {
        let words = |reasons: &[flow_engine::Reason]| flow_engine::in_words(reasons).join("; ");
        let (state, why) = match &node.state {
            PlanState::Cached { .. } => ("cached", String::new()),
            PlanState::WillRun { reasons, .. } => ("run", words(reasons)),
            PlanState::Shared { with, .. } => ("shared", format!("the same as {with}")),
            PlanState::Unknown { reasons } => ("unknown", words(reasons)),
        };
        let estimate = node.estimate_s.map_or_else(String::new, duration);
        vec![state.to_owned(), node.name.clone(), node.kind.to_owned(), estimate, why]
    });
    print_table(&["", "node", "kind", "last took", "why"], rows.collect());
    if !cli.quiet {
        let counts = plan.counts();
        say(&format!(
            "{} cached, {} to run, {} with the same key as another, {} unknown until others have run",
            counts.cached, counts.will_run, counts.shared, counts.unknown
        ));
    }
    Ok(Exit::Ok)
}
