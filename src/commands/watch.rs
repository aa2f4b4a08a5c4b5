//! `flow watch`: run, and run again when something that matters has changed.

use std::time::Duration;

use flow_engine::watch::{Audience, Changed, WatchError, WatchOptions};
use flow_engine::workflow::Diagnostics;
use flow_engine::{Reporter, RunError, RunOutcome, Workflow};

use super::run::{STOPPING, Signals, options, print_reports};
use super::{open_store, overrides};
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
    let signals = Signals::listen((!cli.quiet).then_some(STOPPING))?;
    let options = options(cli, &args.how, true, &signals);
    let watching = if args.poll {
        WatchOptions {
            hints: false,
            rescan: POLL,
            ..WatchOptions::default()
        }
    } else {
        WatchOptions::default()
    };
    let terminal = Terminal {
        cli,
        args,
        overrides: overrides(&args.workflow)?,
    };
    flow_engine::watch::watch(&args.workflow.file, watching, &store, &options, &terminal)?;
    Ok(signals.exit())
}

struct Terminal<'a> {
    cli: &'a Cli,
    args: &'a WatchArgs,
    overrides: Vec<flow_engine::Override>,
}

impl Audience for Terminal<'_> {
    fn load(&self) -> Result<Workflow, Diagnostics> {
        flow_engine::load(&self.args.workflow.file, &flow_nodes::registry(), &self.overrides)
    }

    fn changed(&self, changed: &Changed) {
        let names = changed.texts.iter().chain(&changed.files);
        let names: Vec<String> = names.map(|path| path.display().to_string()).collect();
        say(&format!("\nchanged: {}", names.join(", ")));
    }

    fn broken(&self, problems: Diagnostics, running: bool) {
        print_failure(&problems.into());
        if running {
            say("the run goes on with the workflow as it was before this change");
        }
    }

    fn reporter(&self) -> Box<dyn Reporter> {
        reporter(self.cli.quiet, self.cli.verbose, false)
    }

    fn ended(&self, outcome: Result<RunOutcome, RunError>, superseded: bool) {
        match outcome {
            Ok(_) if superseded => {}
            Ok(outcome) => print_reports(self.cli, &outcome),
            Err(error) => print_failure(&error.into()),
        }
    }

    fn idle(&self) {
        if !self.cli.quiet {
            say(&format!("watching {} (Ctrl-C ends)", self.args.workflow.file.display()));
        }
    }
}
