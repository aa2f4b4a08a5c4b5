//! `flow watch`: run, and run again when something that matters has changed.

use std::path::Path;
use std::time::Duration;

use flow_cache::Store;
use flow_engine::watch::{Changed, Watch, WatchError, WatchOptions};
use flow_engine::{Options, StopFlag};

use super::run::{Signals, options, print_reports};
use super::{load, open_store};
use crate::cli::{Cli, WatchArgs};
use crate::exit::{Exit, Failure};
use crate::output::{print_failure, say};
use crate::progress::reporter;

/// How often files are looked at with `--poll`.
const POLL: Duration = Duration::from_secs(1);

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Runs until asked to stop. What is wrong with the workflow, or fails in it, is said, and the next change awaited.
pub(crate) fn watch(cli: &Cli, args: &WatchArgs) -> Result<Exit, Failure> {
    let store = open_store(cli)?;
    let signals = Signals::listen()?;
    let options = options(cli, &args.how, &signals);
    let poll = args.poll.then_some(POLL);
    let watching = WatchOptions {
        poll,
        ignore: vec![cli.cache.clone(), cli.runs.clone()],
        ..WatchOptions::default()
    };
    let mut first = true;
    let stop: StopFlag = signals.stop.clone();
    flow_engine::watch::watch(&args.workflow.file, watching, &stop, |changed, watch| {
        if !std::mem::take(&mut first) {
            announce(&args.workflow.file, changed);
        }
        match step(cli, args, &store, &options, watch) {
            Err(Failure::Workflow(problems)) => print_failure(&Failure::Workflow(problems)),
            other => other?,
        }
        if !stop.is_requested() && !cli.quiet {
            say(&format!("watching {} (Ctrl-C ends)", args.workflow.file.display()));
        }
        Ok::<(), Failure>(())
    })?;
    Ok(signals.exit())
}

/// Loads, tells the watch what is read, runs.
fn step(cli: &Cli, args: &WatchArgs, store: &Store, options: &Options, watch: &mut Watch) -> Result<(), Failure> {
    flow_engine::recall(store, &args.workflow.file);
    let workflow = match load(&args.workflow) {
        Err(Failure::Workflow(problems)) => {
            watch.also(problems.included())?;
            return Err(Failure::Workflow(problems));
        }
        other => other?,
    };
    let included = workflow.included().map(|(path, _)| path.to_owned());
    watch.inputs(workflow.files().into_iter().chain(included).collect())?;
    let mut reporter = reporter(cli.quiet, cli.verbose, false);
    match flow_engine::run(&workflow, store, options, reporter.as_mut()) {
        Ok(outcome) => print_reports(cli, &outcome),
        // A data file that is gone may come back: this is said, and no reason to end.
        Err(error) => print_failure(&error.into()),
    }
    Ok(())
}

fn announce(workflow: &Path, changed: &Changed) {
    let own = changed.workflow.then_some(workflow);
    let names: Vec<String> = own
        .into_iter()
        .chain(changed.files.iter().map(|f| f.as_path()))
        .map(|p| p.display().to_string())
        .collect();
    say(&format!("\nchanged: {}", names.join(", ")));
}
