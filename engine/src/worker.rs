//! One node's work on its own thread: run inside its pool, check that files stayed as they were, publish.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use flow_cache::{ActionKey, Artifact, Cost, Draft, Scratch, Slot};

use crate::action::Action;
use crate::node::{Context, Host, Inputs, NodeError, Output, Progress};
use crate::stat::{FileDigests, unix_ms};
use crate::stop::StopFlag;
use crate::workflow::{Instance, InstanceId};

/// Progress is for eyes: more often than this is not sent on, except for the last step.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// The name of a node's checkpoint in its scratch space.
const CHECKPOINT: &str = "checkpoint";

/// Room for deep recursion in a node's own code, e.g. a backward pass over a long tape.
const STACK_BYTES: usize = 16 << 20;

/// What a worker tells the run.
pub(crate) enum Message {
    Progress(InstanceId, Progress),
    Note(InstanceId, String),
    Finished(InstanceId, Result<Artifact, Failure>),
}

/// Why a worker has no artifact.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node said so.
    Node(NodeError),
    /// The node panicked, with this text.
    Panic(String),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

/// Everything that one node needs to run and publish.
pub(crate) struct Job<'a> {
    pub(crate) id: InstanceId,
    pub(crate) instance: &'a Instance,
    pub(crate) workflow: &'a str,
    pub(crate) action: Action,
    pub(crate) slot: Slot,
    pub(crate) scratch: Scratch,
    pub(crate) inputs: Inputs,
    /// The records whose outputs are consumed.
    pub(crate) lineage: Vec<ActionKey>,
    pub(crate) threads: usize,
    pub(crate) files: &'a FileDigests,
    pub(crate) stops: [StopFlag; 2],
    pub(crate) tell: Sender<Message>,
}

impl Job<'_> {
    /// Runs to the end and tells how it went; never panics.
    pub(crate) fn work(self) {
        let (id, tell) = (self.id, self.tell.clone());
        let _span = tracing::info_span!("node", name = self.instance.name(), threads = self.threads).entered();
        let result = catch_unwind(AssertUnwindSafe(|| self.run_and_publish()))
            .unwrap_or_else(|payload| Err(Failure::Panic(panic_text(payload.as_ref()))));
        // The run is gone only if it was torn down already; then nobody is left to tell.
        let _ = tell.send(Message::Finished(id, result));
    }

    fn run_and_publish(self) -> Result<Artifact, Failure> {
        let started_unix_ms = unix_ms();
        let host = JobHost::new(&self);
        let output = self.run(&host)?;
        let wall_s = host.elapsed_s();
        self.check_files()?;
        let draft = Draft {
            kind: self.instance.kind().to_owned(),
            node: self.instance.name().to_owned(),
            workflow: self.workflow.to_owned(),
            components: self.action.components,
            files: output.files,
            metrics: output.metrics,
            inputs: self.lineage,
            cost: Cost {
                wall_s,
                threads: u32::try_from(self.threads).unwrap_or(u32::MAX),
                peak_rss_bytes: peak_rss_bytes(),
            },
            started_unix_ms,
            finished_unix_ms: unix_ms(),
        };
        Ok(self.slot.commit(draft).map_err(NodeError::Cache)?)
    }

    fn run(&self, host: &JobHost<'_>) -> Result<Output, Failure> {
        let name = thread_name(self.instance);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .stack_size(STACK_BYTES)
            .thread_name(move |index| format!("{name}:{index}"))
            .build()
            .map_err(|error| NodeError::failed(format!("cannot start {} threads: {error}", self.threads)))?;
        let paths: Vec<PathBuf> = self.action.files.iter().map(|(path, _)| path.clone()).collect();
        let mut context = Context {
            threads: self.threads,
            files: &paths,
            host,
        };
        Ok(pool.install(|| self.instance.node.run(&self.inputs, &mut context))?)
    }

    /// A file that changed meanwhile may have been read half before and half after.
    fn check_files(&self) -> Result<(), NodeError> {
        for (path, before) in &self.action.files {
            let after = self.files.digest(path);
            if after.as_ref().ok() != Some(before) {
                let message = format!(
                    "{} changed while it was being read; nothing was kept of this",
                    path.display()
                );
                return Err(NodeError::failed(message).with_help("run again once the file is as it should be"));
            }
        }
        Ok(())
    }
}

/// What a node sees of the engine.
struct JobHost<'a> {
    id: InstanceId,
    scratch: &'a Scratch,
    stops: &'a [StopFlag; 2],
    tell: &'a Sender<Message>,
    last_progress: Mutex<Option<Instant>>,
    started: Instant,
    /// Seconds that earlier attempts had spent when they saved the checkpoint that was loaded.
    spent_before_s: Mutex<f64>,
}

impl<'a> JobHost<'a> {
    fn new(job: &'a Job<'_>) -> Self {
        Self {
            id: job.id,
            scratch: &job.scratch,
            stops: &job.stops,
            tell: &job.tell,
            last_progress: Mutex::new(None),
            started: Instant::now(),
            spent_before_s: Mutex::new(0.0),
        }
    }

    /// Seconds of work in the output, those of interrupted attempts included.
    fn elapsed_s(&self) -> f64 {
        *self.spent_before_s.lock().unwrap_or_else(PoisonError::into_inner) + self.started.elapsed().as_secs_f64()
    }
}

impl Host for JobHost<'_> {
    fn progress(&self, progress: Progress) {
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) || progress.step >= progress.total;
        if due {
            *last = Some(Instant::now());
            let _ = self.tell.send(Message::Progress(self.id, progress));
        }
    }

    fn note(&self, line: &str) {
        let _ = self.tell.send(Message::Note(self.id, line.to_owned()));
    }

    /// A checkpoint is preceded by the seconds spent until then, so that a resumed node's cost is its whole cost.
    fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
        let Some(mut bytes) = self.scratch.load(CHECKPOINT)? else {
            return Ok(None);
        };
        let Some(seconds) = bytes.first_chunk::<8>().map(|head| f64::from_le_bytes(*head)) else {
            return Ok(None);
        };
        *self.spent_before_s.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
        bytes.drain(..8);
        Ok(Some(bytes))
    }

    fn save_checkpoint(&self, bytes: &[u8]) -> Result<(), NodeError> {
        let mut whole = Vec::with_capacity(8 + bytes.len());
        whole.extend_from_slice(&self.elapsed_s().to_le_bytes());
        whole.extend_from_slice(bytes);
        Ok(self.scratch.save(CHECKPOINT, &whole)?)
    }

    fn stop_requested(&self) -> bool {
        self.stops.iter().any(StopFlag::is_requested)
    }
}

/// A thread's name cannot hold a NUL, a value of a matrix variable can.
pub(crate) fn thread_name(instance: &Instance) -> String {
    instance.name().replace('\0', "?")
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a text".to_owned()
    }
}

/// The most memory that this process has held so far, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
