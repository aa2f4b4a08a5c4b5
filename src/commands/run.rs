//! `flow run`: run a workflow, print its reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use flow_engine::leash::THIS_PROGRAM;
use flow_engine::{Gpu, Options, Reporter, RunOutcome, RunStatus, StopFlag, WorkerProgram};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::ui::{Served, until};
use super::{load_beside_store, plan, report};
use crate::cli::{Cli, HowArgs, RunArgs, WORKER};
use crate::exit::{Exit, Failure};
use crate::output::{print, print_failure, say};
use crate::progress::reporter;
use crate::terminal::{self, NoCarets};
use crate::trace::Tracer;

/// Runs a workflow once.
pub(crate) fn run(cli: &Cli, args: &RunArgs) -> Result<Exit, Failure> {
    if args.dry_run {
        return plan::show(cli, &args.workflow, &args.part, false, args.json);
    }
    let (workflow, store) = load_beside_store(cli, &args.workflow, &args.part)?;
    let shared = workflow
        .instances()
        .iter()
        .any(|node| node.resources().gpu_memory.is_some());
    let signals = Signals::listen((!cli.quiet).then_some(STOPPING))?;
    let options = options(cli, &args.how, shared, &signals);
    let served = args.ui.then(|| Served::start(cli, 0)).transpose()?;
    if let Some(served) = &served {
        say(&format!("live: {}", served.address));
        report::open(&served.address).unwrap_or_else(|failure| print_failure(&failure));
    }
    let mut reporter: Box<dyn Reporter> = reporter(cli.quiet, cli.verbose, args.json);
    let (outcome, traced) = match &args.trace {
        None => (
            flow_engine::run(&workflow, &store, &options, reporter.as_mut())?,
            Ok(()),
        ),
        Some(path) => {
            let mut tracer = Tracer::new(reporter.as_mut());
            let outcome = flow_engine::run(&workflow, &store, &options, &mut tracer)?;
            (outcome, tracer.write(path))
        }
    };
    if !args.json {
        print_reports(cli, &outcome);
    }
    let exit = match outcome.status {
        RunStatus::Finished => Exit::Ok,
        RunStatus::Stopped(_) => signals.exit(),
        RunStatus::Failed if outcome.failures.iter().any(|f| f.cache_corrupt) => Exit::Corrupt,
        RunStatus::Failed => Exit::Failed,
    };
    if let Some(served) = &served {
        if !signals.stop.is_requested() {
            say(&format!("served until Ctrl-C: {}", served.address));
        }
        until(&signals.stop);
    }
    // A trace that cannot be written does not hide what became of the run.
    match traced {
        Err(failure) if exit != Exit::Ok => print_failure(&failure),
        traced => traced?,
    }
    Ok(exit)
}

/// The engine's options for these arguments; `shared` says that nodes may share GPUs.
pub(super) fn options(cli: &Cli, how: &HowArgs, shared: bool, signals: &Signals) -> Options {
    let mut options = Options::new(&cli.runs);
    options.machine.threads = how.jobs.map_or(options.machine.threads, usize::from);
    options.machine.memory = how.memory.or(options.machine.memory);
    options.machine.gpus = gpus(&options.machine.gpus, how, shared);
    options.worker = this_program().map(|program| WorkerProgram {
        program,
        arguments: vec![WORKER.to_owned()],
    });
    options.keep_going = how.keep_going;
    options.stop = signals.stop.clone();
    options
}

/// The GPUs of a run: those that are named, or all. The driver, which knows their memory, is asked only where nodes share one.
fn gpus(here: &[Gpu], how: &HowArgs, shared: bool) -> Vec<Gpu> {
    let known = if shared { flow_nodes::device::gpus() } else { Vec::new() };
    let all = if known.is_empty() { here } else { &known };
    let Some(named) = &how.gpus else {
        return all.to_vec();
    };
    let known = |name: &String| all.iter().find(|gpu| gpu.name == *name).cloned();
    let named = named.iter().filter(|name| *name != "none");
    named
        .map(|name| known(name).unwrap_or_else(|| Gpu::from(name.as_str())))
        .collect()
}

/// The pages for people on stdout, and where everything lies on stderr.
pub(super) fn print_reports(cli: &Cli, outcome: &RunOutcome) {
    for (_, report) in &outcome.reports {
        print(&format!("\n{}\n", report.terminal.trim_end()));
    }
    if !cli.quiet {
        say(&format!("run directory: {}", outcome.dir.display()));
        if !outcome.reports.is_empty() {
            say(&format!(
                "as a page: flow report {} --open",
                outcome.id.rsplit('-').next().unwrap_or(&outcome.id)
            ));
        }
    }
}

/// What is said when somebody asks to stop.
pub(super) const STOPPING: &str = "stopping at the next checkpoint; again to stop now";

/// Signals that ask to stop: Ctrl-C, a polite kill, a terminal that is closed, Ctrl-\. The first saves checkpoints and ends the run, the
/// second ends everything.
pub(super) struct Signals {
    pub(super) stop: StopFlag,
    last: Arc<AtomicI32>,
    _no_carets: NoCarets,
}

impl Signals {
    /// Begins to listen; the first signal is acknowledged with these words, if there are any.
    pub(super) fn listen(said: Option<&'static str>) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| Failure::cannot("listen to signals", &error);
        // `nohup` sees to it that a closed terminal is no reason to stop.
        let heard = [SIGINT, SIGTERM, SIGQUIT]
            .into_iter()
            .chain((!is_ignored(SIGHUP)).then_some(SIGHUP));
        let mut signals = signal_hook::iterator::Signals::new(heard).map_err(refused)?;
        let heard = Self {
            stop: StopFlag::new(),
            last: Arc::default(),
            _no_carets: NoCarets::begin(),
        };
        let (stop, last) = (heard.stop.clone(), Arc::clone(&heard.last));
        let listen = move || {
            for signal in signals.forever() {
                last.store(signal, Ordering::SeqCst);
                if stop.is_requested() {
                    terminal::restore();
                    // The keeper ends programs and workers when this process is gone.
                    std::process::exit(exit_of(signal) as i32);
                }
                stop.request();
                // At once, whatever the nodes are at.
                said.iter().for_each(|said| say(said));
            }
        };
        let listener = std::thread::Builder::new().name("signals".to_owned());
        listener.spawn(listen).map_err(refused)?;
        Ok(heard)
    }

    /// The exit code of a run that was stopped.
    pub(super) fn exit(&self) -> Exit {
        exit_of(self.last.load(Ordering::SeqCst))
    }
}

fn exit_of(signal: i32) -> Exit {
    match signal {
        SIGTERM => Exit::Terminated,
        SIGHUP => Exit::HungUp,
        SIGQUIT => Exit::Quit,
        _ => Exit::Interrupted,
    }
}

/// Whether whoever started this process had a signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The program that runs, even if its file was replaced meanwhile.
pub(crate) fn this_program() -> Option<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Some(THIS_PROGRAM.into()),
        false => std::env::current_exe().ok(),
    }
}
