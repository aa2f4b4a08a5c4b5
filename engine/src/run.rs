//! `flow run` in a handful of calls: plan, make a directory, execute, write down.

use std::path::PathBuf;
use std::time::Instant;

use flow_cache::{Store, unix_ms};

use crate::events::{Event, Reporter, RunStatus};
use crate::execute::{self, Mailbox, RunContext};
use crate::machine::Machine;
use crate::node::Report;
use crate::outcome::{NodeFailure, NodeOutcome, NodeStatus};
use crate::plan::{self, Plan, PlanError, PlanState};
use crate::reason::in_words;
use crate::room::Room;
use crate::runs::{RunFolder, RunsError, Summary};
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::worker::WorkerProgram;
use crate::workflow::Workflow;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that run directories are made in.
    pub runs_dir: PathBuf,
    /// What all nodes together may take.
    pub machine: Machine,
    /// Where a process for a node comes from; without it, all nodes run in threads of this one.
    pub worker: Option<WorkerProgram>,
    /// After a failure, still run what does not depend on the failed node.
    pub keep_going: bool,
    /// Raised by the caller to stop.
    pub stop: StopFlag,
}

impl Options {
    /// Run directories in `runs_dir`, everything else as usual.
    pub fn new(runs_dir: impl Into<PathBuf>) -> Self {
        Self {
            runs_dir: runs_dir.into(),
            machine: Machine::here(),
            worker: None,
            keep_going: false,
            stop: StopFlag::new(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The run's id.
    pub id: String,
    /// The run's folder.
    pub dir: PathBuf,
    /// How it ended.
    pub status: RunStatus,
    /// Every instance, in the order of the workflow.
    pub nodes: Vec<NodeOutcome>,
    /// What failed, in the order in which it did.
    pub failures: Vec<NodeFailure>,
    /// The pages for people, by instance, to be printed.
    pub reports: Vec<(String, Report)>,
    /// Wall-clock seconds.
    pub wall_s: f64,
}

impl RunOutcome {
    /// How many instances ended like that.
    pub fn count(&self, status: NodeStatus) -> usize {
        self.nodes.iter().filter(|node| node.status == status).count()
    }
}

/// Why a run did not begin, or could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run's directory cannot be written.
    #[error(transparent)]
    Folder(#[from] RunsError),
}

/// Runs a workflow: what is in the store is taken from there, the rest is computed and published.
///
/// A node that fails is part of the outcome, not an error of this function.
///
/// # Errors
/// If no plan can be made or the run's directory cannot be written.
pub fn run(
    workflow: &Workflow,
    store: &Store,
    options: &Options,
    reporter: &mut dyn Reporter,
) -> Result<RunOutcome, RunError> {
    let started = RunStart::now();
    let session = Session::open(store, options);
    let plan = session.plan(workflow)?;
    Ok(run_planned(
        workflow,
        plan,
        &session,
        started,
        Mailbox::new(),
        reporter,
    )?)
}

/// What runs of one process share.
pub(crate) struct Session<'a> {
    pub(crate) store: &'a Store,
    pub(crate) options: &'a Options,
    pub(crate) files: FileDigests,
    room: Room,
}

impl<'a> Session<'a> {
    /// From here on, a request to stop ends waiting for the store as well.
    pub(crate) fn open(store: &'a Store, options: &'a Options) -> Self {
        store.stop_waiting_when(options.stop.shared());
        Self {
            store,
            options,
            files: plan::file_digests(store),
            room: Room::new(options.machine.clone()),
        }
    }

    pub(crate) fn plan(&self, workflow: &Workflow) -> Result<Plan, PlanError> {
        plan::plan(workflow, self.store, &self.files)
    }
}

/// When a run began.
pub(crate) struct RunStart {
    unix_ms: u64,
    at: Instant,
}

impl RunStart {
    pub(crate) fn now() -> Self {
        Self {
            unix_ms: unix_ms(),
            at: Instant::now(),
        }
    }
}

/// Carries out a plan that was made just now.
pub(crate) fn run_planned(
    workflow: &Workflow,
    plan: Plan,
    session: &Session<'_>,
    started: RunStart,
    mail: Mailbox,
    reporter: &mut dyn Reporter,
) -> Result<RunOutcome, RunsError> {
    let options = session.options;
    let (mut folder, mut log) =
        RunFolder::create(&options.runs_dir, session.store.sharing(), workflow, started.unix_ms)?;
    let threads = options.machine.threads;
    let mut tee = TeeReporter {
        log: &mut log,
        reporter,
    };
    tee.report(&Event::RunStarted {
        run: folder.id.clone(),
        workflow: workflow.name().to_owned(),
        nodes: plan.nodes.len(),
        threads,
    });
    tracing::debug_span!("tell plan").in_scope(|| tell_plan(&plan, &mut tee));
    let context = RunContext {
        workflow,
        store: session.store,
        files: &session.files,
        room: &session.room,
        program: options.worker.as_ref(),
        keep_going: options.keep_going,
        stop: options.stop.clone(),
    };
    let execute = |folder: &mut RunFolder| execute::drive(&context, plan, folder, &mut tee, mail);
    let execute = || folder.stoppable(&options.stop, execute);
    let (status, nodes, failures) = tracing::info_span!("execute").in_scope(execute);
    let renamed = nodes.iter().filter(|node| node.renamed);
    let renamed = renamed.filter_map(|node| Some((node.key?, node.name.as_str())));
    session.store.also_called(renamed);
    let wall = started.at.elapsed();
    let mut summary = Summary {
        schema: 0,
        id: folder.id.clone(),
        workflow: workflow.name().to_owned(),
        question: workflow.question().map(str::to_owned),
        file: workflow.path().display().to_string(),
        overrides: workflow.overrides_in_words(),
        environment: workflow.environment().clone(),
        status,
        started_unix_ms: started.unix_ms,
        // Whatever happened to the clock meanwhile.
        finished_unix_ms: started.unix_ms + u64::try_from(wall.as_millis()).unwrap_or(0),
        threads,
        nodes,
        failures,
        reports: Vec::new(),
        headline: None,
    };
    tracing::debug_span!("write summary").in_scope(|| folder.write_summary(&mut summary))?;
    let RunFolder { id, dir, reports, .. } = folder;
    let outcome = RunOutcome {
        id,
        dir,
        status,
        nodes: summary.nodes,
        failures: summary.failures,
        reports,
        wall_s: wall.as_secs_f64(),
    };
    tee.report(&Event::RunFinished {
        status,
        ran: outcome.count(NodeStatus::Ran),
        cached: outcome.count(NodeStatus::Cached),
        failed: outcome.count(NodeStatus::Failed),
        skipped: outcome.count(NodeStatus::Skipped) + outcome.count(NodeStatus::Stopped),
        wall_s: outcome.wall_s,
    });
    tee.flush();
    Ok(outcome)
}

/// The log of the run and the caller's reporter are told the same.
struct TeeReporter<'a> {
    log: &'a mut dyn Reporter,
    reporter: &'a mut dyn Reporter,
}

impl Reporter for TeeReporter<'_> {
    fn report(&mut self, event: &Event) {
        self.log.report(event);
        self.reporter.report(event);
    }

    fn flush(&mut self) {
        self.log.flush();
        self.reporter.flush();
    }
}

fn tell_plan(plan: &Plan, reporter: &mut dyn Reporter) {
    for node in &plan.nodes {
        let (state, reasons) = match &node.state {
            PlanState::Cached { .. } => ("cached", Vec::new()),
            PlanState::WillRun { reasons, .. } => ("will_run", in_words(reasons)),
            PlanState::Shared { with, .. } => ("shared", vec![format!("the same as {with}")]),
            PlanState::Unknown { reasons } => ("unknown", in_words(reasons)),
        };
        reporter.report(&Event::NodePlanned {
            node: node.name.clone(),
            kind: node.kind.to_owned(),
            state: state.to_owned(),
            reasons,
            estimate_s: node.estimate_s,
        });
    }
}
