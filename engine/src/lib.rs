//! Workflow model, plan, schedule and execution. Knows no node kind by name: see [`node::Node`].
//!
//! ```text
//! let workflow = flow_engine::load(path, &registry, &overrides)?;      // parse, expand, check
//! let plan = workflow.plan(&store)?;                                   // what will run, and why
//! let outcome = flow_engine::run(&workflow, &store, &options, &mut reporter)?;
//! ```

mod action;
mod build;
pub mod code;
pub mod events;
mod execute;
pub mod figure;
mod gpus;
pub mod graph;
pub mod leash;
pub mod limits;
mod lineage;
pub mod lines;
mod machine;
pub mod node;
mod node_log;
mod os_path;
mod outcome;
pub mod plain_file;
pub mod plan;
mod pools;
mod projection;
mod reason;
mod recall;
pub mod registry;
mod room;
mod run;
pub mod run_list;
pub mod runs;
mod schedule;
mod schema;
mod secrets;
pub mod stat;
mod stop;
#[cfg(test)]
mod testing;
pub mod timeline;
pub mod watch;
mod worker;
pub mod workflow;

use std::path::Path;

pub use build::id as build_id;
pub use events::{Event, Reporter, RunStatus, StoppedBy};
pub use gpus::Gpu;
pub use machine::{Machine, visible_gpus};
pub use outcome::{NodeFailure, NodeOutcome, NodeStatus};
pub use plan::{Plan, PlanError, PlanState, PlannedNode};
pub use reason::{Reason, in_words};
pub use recall::recall;
pub use registry::Registry;
pub use run::{Options, RunError, RunOutcome, run};
pub use runs::{Run, Runs, RunsError, RunsGcReport};
pub use schema::FormSchema;
pub use stop::StopFlag;
pub use worker::{WorkerProgram, serve};
pub use workflow::{Diagnostics, Override, Workflow};

/// Reads and checks the workflow file at `path`.
///
/// # Errors
/// Everything that is wrong with it, as far as it can be determined.
pub fn load(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Workflow, Diagnostics> {
    Workflow::load(path, registry, overrides)
}
