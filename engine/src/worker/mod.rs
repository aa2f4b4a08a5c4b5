//! One node's work: run in a thread of the engine or in a separate process, check that files stayed as they were, publish.

mod child;
mod host;
mod manifest;
mod process;
mod warnings;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use flow_cache::{
    ActionKey, Artifact, CacheError, Claim, Cost, Draft, LargeFile, Scratch, Store, panic_text, peak_memory_bytes,
    unix_ms,
};

use crate::action::Action;
use crate::node::{Context, Inputs, NodeError, OpenedFile, Output};
use crate::node_log::NodeLog;
use crate::pools::Pools;
use crate::room::Grant;
use crate::secrets::Secrets;
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::workflow::{Instance, InstanceId};
use crate::{build, leash};

pub use child::serve;
pub use process::WorkerProgram;

pub(crate) use host::Shown;
use host::{JobHost, Tell};

/// What a worker tells the run.
pub(crate) enum Message<A = Artifact> {
    Progress(InstanceId, Shown),
    /// A line to be shown: the log has it already.
    Note(InstanceId, String),
    /// The node has run; what it left is still to be published.
    Computed(InstanceId),
    Finished(InstanceId, Result<A, Failure>),
    /// Another run takes over: only what is under these keys is wanted any more.
    Superseded {
        wanted: HashSet<ActionKey>,
    },
}

/// Why a worker has no artifact.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node said so.
    Node(NodeError),
    /// The node panicked, with this text.
    Panic(String),
}

impl Failure {
    /// Without secrets, which are in what programs printed last.
    pub(crate) fn hide(self, secrets: &Secrets) -> Self {
        let hide = |text: String| secrets.hide(&text).into_owned();
        match self {
            Self::Node(NodeError::Failed { message, help }) => Self::Node(NodeError::Failed {
                message: hide(message),
                help: help.map(hide),
            }),
            Self::Panic(text) => Self::Panic(hide(text)),
            Self::Node(_) => self,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self, Self::Node(NodeError::Stopped))
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

/// What a node made, and what that took.
pub(crate) struct Made {
    output: Output,
    /// What of the output is too large for memory.
    large: Vec<(String, LargeFile)>,
    wall_s: f64,
    peak_rss_bytes: Option<u64>,
}

/// Everything that one node needs to run and publish.
pub(crate) struct Job<'a> {
    pub(crate) id: InstanceId,
    pub(crate) instance: &'a Instance,
    pub(crate) workflow: &'a str,
    pub(crate) action: Action,
    /// Where it is published.
    pub(crate) store: &'a Store,
    /// Held until the outcome is known: others that want the same key wait.
    pub(crate) claim: Claim,
    pub(crate) scratch: Scratch,
    pub(crate) inputs: Inputs,
    /// The records whose outputs are consumed.
    pub(crate) lineage: Vec<ActionKey>,
    /// Given back once the node has run: what it left is published beside the next.
    pub(crate) grant: Grant<'a>,
    pub(crate) files: &'a FileDigests,
    pub(crate) stops: [StopFlag; 3],
    pub(crate) pools: &'a Pools,
    /// Where a process of its own comes from, if this run has them.
    pub(crate) program: Option<&'a WorkerProgram>,
    pub(crate) tell: Thread,
    pub(crate) secrets: &'a Secrets,
}

impl Job<'_> {
    /// Runs to the end and tells how it went; never panics.
    pub(crate) fn work(self) {
        let (id, tell) = (self.id, self.tell.tell.clone());
        let _span = tracing::info_span!("node", name = self.instance.name(), threads = self.grant.threads).entered();
        let secrets = self.secrets;
        let inputs = self.inputs.in_words();
        let result = catch_unwind(AssertUnwindSafe(|| self.run_and_publish()))
            .unwrap_or_else(|payload| Err(Failure::Panic(panic_text(payload.as_ref()).to_owned())))
            .map_err(|failure| match failure {
                // Whoever looks for the reason begins with what it was given.
                Failure::Panic(text) if !inputs.is_empty() => Failure::Panic(format!("{text} (inputs: {inputs})")),
                other => other,
            })
            .map_err(|failure| failure.hide(secrets));
        // The run is gone only if it was torn down already; then nobody is left to tell.
        let _ = tell.send(Message::Finished(id, result));
    }

    fn run_and_publish(self) -> Result<Artifact, Failure> {
        let (began, started_unix_ms) = (Instant::now(), unix_ms());
        let limit = self.timeout();
        leash::hold(|| self.store.claims_lock());
        let isolated = self.instance.policy().isolate.unwrap_or(self.instance.node.isolated());
        let made = match self.program.filter(|_| isolated) {
            Some(program) => process::run(program, &self)?,
            None => self.run_here()?,
        };
        let threads = u32::try_from(self.grant.threads).unwrap_or(u32::MAX);
        self.check_files()?;
        drop(self.grant);
        let _ = self.tell.tell.send(Message::Computed(self.id));
        let draft = Draft {
            kind: self.instance.kind().to_owned(),
            node: self.instance.name().to_owned(),
            workflow: self.workflow.to_owned(),
            components: self.action.components,
            files: made.output.files,
            large: made.large,
            metrics: made.output.metrics,
            inputs: self.lineage,
            cost: Cost {
                wall_s: made.wall_s,
                threads,
                peak_rss_bytes: made.peak_rss_bytes,
            },
            started_unix_ms,
            finished_unix_ms: unix_ms(),
            flow_version: build::id().to_owned(),
            until: limit.map(|limit| began + limit),
        };
        let published = self.store.publish(&self.action.key, &draft);
        drop(self.claim);
        Ok(published.map_err(|error| match (error, limit) {
            (CacheError::Interrupted { .. }, Some(limit)) if began.elapsed() >= limit => timed_out(limit),
            (CacheError::Interrupted { .. }, _) => NodeError::Stopped,
            (error, _) => NodeError::Cache(error),
        })?)
    }

    fn run_here(&self) -> Result<Made, Failure> {
        let host = JobHost::new(
            (self.store, self.action.key),
            &self.scratch,
            &self.stops,
            self.secrets,
            self.timeout(),
            &self.tell,
        );
        let run = || {
            let mut context = Context {
                threads: self.grant.threads,
                gpus: &self.grant.gpus,
                files: &self.action.files,
                host: &host,
            };
            self.instance.node.run(&self.inputs, &mut context)
        };
        let result = self
            .pools
            .run(self.grant.threads, run)
            .unwrap_or_else(|error| Err(NodeError::cannot("start a thread", &error)));
        match (result, host.timed_out()) {
            (Ok(output), _) => Ok(Made {
                output,
                large: host.take_large(),
                wall_s: host.elapsed_s(),
                peak_rss_bytes: peak_memory_bytes(),
            }),
            (Err(NodeError::Stopped), Some(limit)) if !self.is_stopping() => Err(timed_out(limit).into()),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn timeout(&self) -> Option<Duration> {
        self.instance.policy().timeout_s.map(Duration::from_secs_f64)
    }

    fn is_stopping(&self) -> bool {
        self.stops.iter().any(StopFlag::is_requested)
    }

    /// A file that changed meanwhile may have been read half before and half after; of what was copied first, the copy was
    /// checked.
    fn check_files(&self) -> Result<(), NodeError> {
        let files = self.instance.files.iter().zip(&self.action.files);
        for (file, OpenedFile { path, digest }) in files {
            if self.instance.node.copies(&file.role) {
                continue;
            }
            let after = self.files.digest(path);
            if after.as_ref().ok() != Some(digest) {
                let message = format!(
                    "{} changed while it was being read; its result was discarded",
                    path.display()
                );
                return Err(NodeError::failed(message).with_help("run again when the file is complete"));
            }
        }
        Ok(())
    }
}

/// Tells the run from a thread.
pub(crate) struct Thread {
    pub(crate) id: InstanceId,
    pub(crate) tell: Sender<Message>,
    pub(crate) log: NodeLog,
}

impl Tell for Thread {
    fn progress(&self, shown: Shown) {
        let _ = self.tell.send(Message::Progress(self.id, shown));
    }

    fn note(&self, line: &str) {
        for line in self.log.note(line) {
            let _ = self.tell.send(Message::Note(self.id, line));
        }
    }
}

fn timed_out(limit: Duration) -> NodeError {
    let message = format!("it was still running after {} s and was stopped", limit.as_secs_f64());
    NodeError::failed(message).with_help("raise `timeout_s` if it needs more; it resumes from its last checkpoint")
}

/// A thread's name cannot hold a NUL, a value of a matrix variable can.
pub(crate) fn thread_name(instance: &str) -> String {
    instance.replace('\0', "?")
}
