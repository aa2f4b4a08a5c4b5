//! The engine's side of a running node: progress, notes, checkpoints, whether to stop. The same in a thread of the engine
//! and in a separate process; only whom it tells differs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_cache::{ActionKey, Artifact, Digest, LargeFile, LargeFolder, LargeWriter, Scratch, Store};

use crate::events::Metric;
use crate::node::{Host, NodeError, Progress};
use crate::secrets::Secrets;
use crate::stop::StopFlag;

/// Progress is for eyes: more often than this is not sent on, except for the last step.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// A checkpoint is due when so much work would be lost without it.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(1);

/// The name of a node's checkpoint in its scratch space.
const CHECKPOINT: &str = "checkpoint";

/// Receives a node's progress.
pub(crate) trait Tell: Sync {
    fn progress(&self, shown: Shown);
    fn note(&self, line: &str);
}

/// [`Progress`] on its way to the reporter.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Shown {
    pub(crate) step: u64,
    pub(crate) total: u64,
    pub(crate) unit: String,
    pub(crate) metrics: Vec<Metric>,
}

impl From<Progress> for Shown {
    fn from(progress: Progress) -> Self {
        let metric = |(name, value): (&str, f64)| Metric {
            name: name.to_owned(),
            value: value.is_finite().then_some(value),
        };
        Self {
            step: progress.step,
            total: progress.total,
            unit: progress.unit.to_owned(),
            metrics: progress.metrics.into_iter().map(metric).collect(),
        }
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {}", self.unit, self.step, self.total)?;
        for metric in &self.metrics {
            let value = metric.value.unwrap_or(f64::NAN);
            write!(f, "  {} {value:.4}", metric.name)?;
        }
        Ok(())
    }
}

/// The name of what is remembered, in a scratch space that is of no action.
const MEMORY: &str = "memory";

/// Letters of a key, with which what is remembered begins.
const KEY: usize = 64;

/// What a node sees of the engine.
pub(crate) struct JobHost<'a> {
    store: &'a Store,
    key: ActionKey,
    scratch: &'a Scratch,
    stops: &'a [StopFlag],
    secrets: &'a Secrets,
    tell: &'a dyn Tell,
    started: Instant,
    timeout: Option<Duration>,
    times: Mutex<Times>,
    /// Where large files are made; none before the first.
    folder: Mutex<Option<Arc<LargeFolder>>>,
    large: Mutex<Vec<(String, LargeFile)>>,
}

struct Times {
    last_progress: Option<Instant>,
    last_checkpoint: Instant,
    /// Seconds that earlier attempts had spent when they saved the checkpoint that was loaded.
    spent_before_s: f64,
}

impl<'a> JobHost<'a> {
    pub(crate) fn new(
        (store, key): (&'a Store, ActionKey),
        scratch: &'a Scratch,
        stops: &'a [StopFlag],
        secrets: &'a Secrets,
        timeout: Option<Duration>,
        tell: &'a dyn Tell,
    ) -> Self {
        let started = Instant::now();
        Self {
            store,
            key,
            scratch,
            stops,
            secrets,
            tell,
            started,
            timeout,
            times: Mutex::new(Times {
                last_progress: None,
                last_checkpoint: started,
                spent_before_s: 0.0,
            }),
            folder: Mutex::default(),
            large: Mutex::default(),
        }
    }

    /// Large files are made in the directory of another process, which takes them over.
    pub(crate) fn lent(self, folder: PathBuf) -> Self {
        let folder = Mutex::new(Some(Arc::new(LargeFolder::Lent(folder))));
        Self { folder, ..self }
    }

    /// Seconds of work in the output, those of interrupted attempts included.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.times().spent_before_s + self.started.elapsed().as_secs_f64()
    }

    /// The time limit, if it has passed.
    pub(crate) fn timed_out(&self) -> Option<Duration> {
        self.timeout.filter(|limit| self.started.elapsed() > *limit)
    }

    /// Where things are remembered under a name. It is collected like checkpoints that nobody goes on with.
    fn memory(&self, name: &str) -> Option<Scratch> {
        let place = Digest::of(format!("memory of {name}").as_bytes()).to_string();
        Some(self.store.scratch(&place.parse().ok()?))
    }

    /// The large files of the output.
    pub(crate) fn take_large(&self) -> Vec<(String, LargeFile)> {
        std::mem::take(&mut *self.large.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for JobHost<'_> {
    fn progress(&self, progress: Progress) {
        let mut times = self.times();
        let due = times.last_progress.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if due || progress.step >= progress.total {
            times.last_progress = Some(Instant::now());
            self.tell.progress(progress.into());
        }
    }

    fn note(&self, line: &str) {
        self.tell.note(line);
    }

    /// A checkpoint is preceded by the seconds spent until then, so that a resumed node's cost is its whole cost.
    fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
        let Some(mut bytes) = self.scratch.load(CHECKPOINT)? else {
            return Ok(None);
        };
        let Some(seconds) = bytes.first_chunk::<8>().map(|head| f64::from_le_bytes(*head)) else {
            return Ok(None);
        };
        self.times().spent_before_s = seconds;
        bytes.drain(..8);
        Ok(Some(bytes))
    }

    fn save_checkpoint(&self, bytes: &[u8]) -> Result<(), NodeError> {
        let mut whole = Vec::with_capacity(8 + bytes.len());
        whole.extend_from_slice(&self.elapsed_s().to_le_bytes());
        whole.extend_from_slice(bytes);
        self.scratch.save(CHECKPOINT, &whole)?;
        self.times().last_checkpoint = Instant::now();
        Ok(())
    }

    fn checkpoint_due(&self) -> bool {
        self.times().last_checkpoint.elapsed() >= CHECKPOINT_EVERY
    }

    fn remembered(&self, name: &str) -> Option<(Artifact, Vec<u8>)> {
        let mut bytes = self.memory(name)?.load(MEMORY).ok()??;
        let key = std::str::from_utf8(bytes.get(..KEY)?).ok()?.parse().ok()?;
        bytes.drain(..KEY);
        Some((self.store.peek(&key).ok()??, bytes))
    }

    /// It only saves time: a failure is a note for developers.
    fn remember(&self, name: &str, bytes: &[u8]) {
        let saved = self
            .memory(name)
            .map(|memory| memory.save(MEMORY, &[self.key.to_string().as_bytes(), bytes].concat()));
        if let Some(Err(error)) = saved {
            tracing::debug!(%error, "cannot remember {name}");
        }
    }

    fn large_file(&self) -> Result<LargeWriter, NodeError> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match &mut *folder {
            Some(folder) => folder,
            none => none.insert(Arc::new(self.store.large_folder()?)),
        };
        Ok(self.store.large_file(folder)?)
    }

    fn output(&self, name: &str, file: LargeFile) -> Result<(), NodeError> {
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        large.push((name.to_owned(), file));
        Ok(())
    }

    fn hide(&self, bytes: &mut Vec<u8>) {
        self.secrets.hide_bytes(bytes);
    }

    fn stop_requested(&self) -> bool {
        self.stops.iter().any(StopFlag::is_requested) || self.timed_out().is_some()
    }
}
