//! One file for each command.

pub(crate) mod bench;
mod bench_gpu;
mod cache;
mod data;
mod doctor;
mod graph;
pub(crate) mod init;
mod kinds;
mod plan;
pub(crate) mod predict;
mod report;
pub(crate) mod run;
mod runs;
mod ui;
mod watch;

use clap::CommandFactory;
use flow_cache::{Access, Store};
use flow_engine::{Override, Workflow};

use crate::cli::{Cli, Command, PartArgs, WorkflowArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Stdout};

/// Does what the command line says.
pub(crate) fn dispatch(cli: &Cli) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run(args) => run::run(cli, args),
        Command::Plan(args) => plan::plan(cli, args),
        Command::Watch(args) => watch::watch(cli, args),
        Command::Cache(command) => cache::cache(cli, command),
        Command::Runs(command) => runs::runs(cli, command),
        Command::Report(args) => report::report(cli, args),
        Command::Ui(args) => ui::ui(cli, args),
        Command::Graph(args) => graph::graph(args),
        Command::Data(command) => data::data(command),
        Command::Predict(args) => predict::predict(cli, args),
        Command::Embed(args) => predict::embed(cli, args),
        Command::Init(args) => init::init(args),
        Command::Kinds(args) => kinds::kinds(args),
        Command::Schema => kinds::schema(),
        Command::Doctor(args) => doctor::doctor(cli, args),
        Command::Bench(command) => bench::bench(command),
        Command::Worker => {
            let log = std::env::var_os("FLOW_LOG").map(|_| output::log(cli.verbose));
            flow_engine::serve(&flow_nodes::registry(), log.unwrap_or_else(tracing::Dispatch::none));
            Ok(Exit::Ok)
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "flow", &mut Stdout);
            Ok(Exit::Ok)
        }
    }
}

/// Reads and checks the workflow with its overrides.
fn load(args: &WorkflowArgs) -> Result<Workflow, Failure> {
    Ok(flow_engine::load(
        &args.file,
        &flow_nodes::registry(),
        &overrides(args)?,
    )?)
}

/// The part of the workflow that is wanted, and the cache, which is looked into while the workflow is read. A workflow that
/// cannot be read makes no cache.
fn load_beside_store(cli: &Cli, args: &WorkflowArgs, part: &PartArgs) -> Result<(Workflow, Store), Failure> {
    let early = cli.cache.is_dir().then(|| open_store(cli)).transpose()?;
    if let Some(store) = &early {
        flow_engine::recall(store, &args.file);
    }
    let workflow = load_part(args, part)?;
    let store = early.map_or_else(|| open_store(cli), Ok)?;
    Ok((workflow, store))
}

/// [`load`], and of it only the part that is wanted.
fn load_part(args: &WorkflowArgs, part: &PartArgs) -> Result<Workflow, Failure> {
    let mut workflow = load(args)?;
    if !part.only.is_empty() {
        workflow = workflow.only(&part.only)?;
    }
    Ok(workflow.force(&part.force)?)
}

fn overrides(args: &WorkflowArgs) -> Result<Vec<Override>, Failure> {
    let parse = |text: &String| {
        Override::parse(text).map_err(|why| {
            Failure::usage(
                format!("--set {text}: {why}"),
                "write `--set nodes.NAME.KEY=VALUE`, the value as in TOML",
            )
        })
    };
    // What is set by hand comes later, and wins.
    let device = args
        .device
        .iter()
        .map(|device| Ok(Override::new("defaults.device", device.as_str().into())));
    device.chain(args.set.iter().map(parse)).collect()
}

fn only_read(root: &std::path::Path) -> String {
    format!(
        "the cache at {} is read-only: what is not in it cannot be computed",
        root.display()
    )
}

/// The cache, to be written to; one that cannot be serves what it has.
fn open_store(cli: &Cli) -> Result<Store, Failure> {
    match Store::open(&cli.cache, Access::ReadWrite) {
        Err(flow_cache::CacheError::ReadOnly { root }) if cli.cache.is_dir() => {
            tracing::warn!("{}", only_read(&root));
            Ok(Store::open(&cli.cache, Access::ReadOnly)?)
        }
        other => Ok(other?),
    }
}

/// The cache, to look into: nothing is made where there is none.
fn look_into_store(cli: &Cli) -> Result<Store, Failure> {
    if !cli.cache.is_dir() {
        let message = format!("there is no cache in {}", cli.cache.display());
        return Err(Failure::usage(
            message,
            "run a workflow first, or name another directory with `--cache`",
        ));
    }
    open_store(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_is_only_read_is_said_with_what_follows() {
        insta::assert_snapshot!(only_read(std::path::Path::new("/data/cache")));
    }
}
