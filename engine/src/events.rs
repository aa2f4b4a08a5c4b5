//! What happens during a run, as one enum that every reporter matches on, and the reporter that writes it down.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::{Duration, Instant};

use flow_cache::{ActionKey, Cost, unix_ms};
use serde::{Deserialize, Serialize};

/// Version of [`LoggedEvent`] and everything in it.
pub const SCHEMA: u32 = 2;

/// How often the event log takes progress of one node; the finer steps are for eyes only.
const LOGGED_PROGRESS: Duration = Duration::from_secs(1);

/// Something that happened during a run. Nodes are named by instance, e.g. `student[seed=0]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run has a directory and a plan.
    RunStarted {
        /// The run's id, the name of its folder.
        run: String,
        /// The workflow's name.
        workflow: String,
        /// How many instances there are.
        nodes: usize,
        /// The CPU threads that the run may use.
        threads: usize,
    },
    /// What is planned for a node; sent once for each, in the order of the workflow.
    NodePlanned {
        /// The instance.
        node: String,
        /// Its kind.
        kind: String,
        /// `cached`, `will_run`, `shared` or `unknown`.
        state: String,
        /// Why, in words; empty for what is cached.
        reasons: Vec<String>,
        /// Seconds that it took the last time, if that is known; absent for what is cached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimate_s: Option<f64>,
    },
    /// A node's artifact was in the store.
    NodeCached {
        /// The instance.
        node: String,
        /// Its key.
        key: ActionKey,
    },
    /// A node began.
    NodeStarted {
        /// The instance.
        node: String,
        /// Its key.
        key: ActionKey,
        /// The CPU threads that it was given.
        threads: usize,
        /// The GPUs that it was given.
        #[serde(default)]
        gpus: Vec<String>,
    },
    /// Another process works on the same key: its result is waited for.
    NodeWaits {
        /// The instance.
        node: String,
        /// Its key.
        key: ActionKey,
        /// Who works on it, as `process 123 on host`.
        holder: String,
    },
    /// A node failed and is tried again.
    NodeRetried {
        /// The instance.
        node: String,
        /// How often it has failed.
        failed: u32,
        /// Seconds until the next attempt.
        wait_s: f64,
        /// What was wrong.
        message: String,
    },
    /// How far a node is.
    NodeProgress {
        /// The instance.
        node: String,
        /// Units done.
        step: u64,
        /// Units in all.
        total: u64,
        /// What a unit is.
        unit: String,
        /// Metrics worth watching.
        metrics: Vec<Metric>,
    },
    /// A line of a node's log.
    NodeNote {
        /// The instance.
        node: String,
        /// The line.
        line: String,
    },
    /// A node's artifact is published.
    NodeFinished {
        /// The instance.
        node: String,
        /// Its key.
        key: ActionKey,
        /// What it measured; metrics that are not finite are left out, the record has them.
        metrics: BTreeMap<String, f64>,
        /// What it took.
        cost: Cost,
    },
    /// A node's cached artifact turned out to be damaged: it is recomputed.
    NodeRepaired {
        /// The instance whose artifact it is.
        node: String,
        /// Its key.
        key: ActionKey,
        /// What was wrong.
        why: String,
    },
    /// A node stopped because it was asked to; it goes on from its checkpoint in the next run.
    NodeStopped {
        /// The instance.
        node: String,
    },
    /// A node failed.
    NodeFailed {
        /// The instance.
        node: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// A node cannot run because something that it depends on failed or stopped.
    NodeSkipped {
        /// The instance.
        node: String,
    },
    /// A node's page for people was written.
    ReportWritten {
        /// The instance.
        node: String,
        /// The file, relative to the run's folder.
        file: String,
    },
    /// The run is over.
    RunFinished {
        /// How it ended.
        status: RunStatus,
        /// Nodes that ran and were published.
        ran: usize,
        /// Nodes found in the store.
        cached: usize,
        /// Nodes that failed.
        failed: usize,
        /// Nodes that did not get their turn, or stopped.
        skipped: usize,
        /// Wall-clock seconds.
        wall_s: f64,
    },
}

/// How a run ended; there is no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenStatus", into = "WrittenStatus")]
pub enum RunStatus {
    /// Every node is done.
    Finished,
    /// A node failed.
    Failed,
    /// Somebody stopped it: written as `stopped`, or `superseded` if that was the next run.
    Stopped(StoppedBy),
}

/// Who stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// Who raised the flag of [`crate::Options::stop`], as a signal does.
    Request,
    /// The run that takes over after a change under watch.
    NextRun,
}

impl RunStatus {
    /// As it is written in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped(StoppedBy::Request) => "stopped",
            Self::Stopped(StoppedBy::NextRun) => "superseded",
        }
    }
}

/// [`RunStatus`] in files: one word.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenStatus {
    Finished,
    Failed,
    Stopped,
    Superseded,
}

impl From<RunStatus> for WrittenStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Finished => Self::Finished,
            RunStatus::Failed => Self::Failed,
            RunStatus::Stopped(StoppedBy::Request) => Self::Stopped,
            RunStatus::Stopped(StoppedBy::NextRun) => Self::Superseded,
        }
    }
}

impl From<WrittenStatus> for RunStatus {
    fn from(written: WrittenStatus) -> Self {
        match written {
            WrittenStatus::Finished => Self::Finished,
            WrittenStatus::Failed => Self::Failed,
            WrittenStatus::Stopped => Self::Stopped(StoppedBy::Request),
            WrittenStatus::Superseded => Self::Stopped(StoppedBy::NextRun),
        }
    }
}

/// A metric of a node's progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What it is, e.g. `loss`.
    pub name: String,
    /// Its value; `None` if it is not finite.
    pub value: Option<f64>,
}

/// So many bytes of lines are held back at most.
const HELD_BYTES: usize = 64 << 10;

/// One line of the event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoggedEvent {
    /// Version of this layout.
    pub schema: u32,
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// What.
    pub what: Event,
}

/// Receives the events of a run. Called from one thread only.
pub trait Reporter {
    /// Something happened.
    fn report(&mut self, event: &Event);

    /// Nothing more is about to happen at once: what was held back to be written in one go is written.
    fn flush(&mut self) {}
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&mut self, _event: &Event) {}
}

/// Keeps all events, for tests and for programs that look at a run afterwards.
impl Reporter for Vec<Event> {
    fn report(&mut self, event: &Event) {
        self.push(event.clone());
    }
}

/// Writes events as JSON lines; of a node's progress one a second and the last step.
///
/// Lines are written when there are many, or when nothing else is about to happen ([`Reporter::flush`]).
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: W,
    held: Vec<u8>,
    progress: HashMap<String, Instant>,
    failed: bool,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, whole lines at a time.
    pub fn new(out: W) -> Self {
        Self {
            out,
            held: Vec::new(),
            progress: HashMap::new(),
            failed: false,
        }
    }

    fn is_worth_a_line(&mut self, event: &Event) -> bool {
        let Event::NodeProgress { node, step, total, .. } = event else {
            return true;
        };
        let due = self
            .progress
            .get(node)
            .is_none_or(|last| last.elapsed() >= LOGGED_PROGRESS);
        if due {
            self.progress.insert(node.clone(), Instant::now());
        }
        due || step == total
    }
}

impl<W: Write> Reporter for JsonLines<W> {
    /// A log that cannot be written is said once and does not end the run: the results are in the store.
    fn report(&mut self, event: &Event) {
        if self.failed || !self.is_worth_a_line(event) {
            return;
        }
        let line = Line {
            schema: SCHEMA,
            unix_ms: unix_ms(),
            what: event,
        };
        if let Err(error) = serde_json::to_writer(&mut self.held, &line) {
            return self.give_up(&error.into());
        }
        self.held.push(b'\n');
        if self.held.len() > HELD_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.held.is_empty() || self.failed {
            return;
        }
        let written = self.out.write_all(&self.held).and_then(|()| self.out.flush());
        self.held.clear();
        if let Err(error) = written {
            self.give_up(&error);
        }
    }
}

impl<W: Write> JsonLines<W> {
    fn give_up(&mut self, error: &std::io::Error) {
        self.failed = true;
        tracing::warn!(%error, "the event log cannot be written any more");
    }
}

/// [`LoggedEvent`], to be written.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    unix_ms: u64,
    what: &'a Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_the_event() {
        let event = Event::NodeNote {
            node: "a[seed=0]".into(),
            line: "kept 3".into(),
        };
        let mut out = Vec::new();
        let mut log = JsonLines::new(&mut out);
        log.report(&event);
        log.flush();
        let line: LoggedEvent = serde_json::from_slice(&out).unwrap();
        assert_eq!(line.what, event);
        assert_eq!(out.last(), Some(&b'\n'));
    }

    #[test]
    fn a_log_that_cannot_be_written_is_said_once() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let event = Event::NodeNote {
            node: "a".into(),
            line: "kept 3".into(),
        };
        let mut log = JsonLines::new(Full);
        let told = crate::testing::warned(std::path::Path::new("/nowhere"), || {
            for _ in 0..2 {
                log.report(&event);
                log.flush();
            }
        });
        insta::assert_snapshot!(told);
    }

    #[test]
    fn the_log_takes_the_first_and_the_last_step() {
        let step = |step| Event::NodeProgress {
            node: "a".into(),
            step,
            total: 9,
            unit: "epoch".into(),
            metrics: vec![Metric {
                name: "loss".into(),
                value: None,
            }],
        };
        let mut out = Vec::new();
        let mut log = JsonLines::new(&mut out);
        (1..=9).for_each(|s| log.report(&step(s)));
        log.flush();
        let steps = String::from_utf8(out).unwrap();
        assert!(steps.contains("\"step\":1,") && steps.contains("\"step\":9,"));
    }
}
