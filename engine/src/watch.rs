//! Watching a workflow: the file and its inputs, and a loop that goes again when their content changed.
//!
//! Events of the file system are hints only. Editors replace files, save twice or touch without a change, and network
//! disks tell nothing: so folders are watched rather than files, every hint leads to a comparison of digests, and from
//! time to time the files are looked at without any hint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use flow_cache::Digest;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{PollWatcher, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};

use crate::stat::FileDigests;
use crate::stop::StopFlag;

/// How often a request to stop is looked for while nothing happens.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How long the file system must be quiet before anything is looked at.
    pub debounce: Duration,
    /// Looks at all folders this often instead of being told by the system: for network disks.
    pub poll: Option<Duration>,
    /// How often the files are looked at without any hint.
    pub rescan: Duration,
    /// Folders in which nothing is of interest: the store and the runs.
    pub ignore: Vec<PathBuf>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        let debounce = Duration::from_millis(80);
        Self {
            debounce,
            poll: None,
            rescan: Duration::from_secs(5),
            ignore: Vec::new(),
        }
    }
}

/// What changed, by content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The workflow file.
    pub workflow: bool,
    /// Input files, sorted; one that is gone counts as changed.
    pub files: Vec<PathBuf>,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        !self.workflow && self.files.is_empty()
    }
}

/// Why watching is not possible.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path}: {source}. On a network disk, or where the system has no watches left, poll instead", path = path.display())]
pub struct WatchError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: notify::Error,
}

enum System {
    Told(Debouncer<RecommendedWatcher, NoCache>),
    Polled(Debouncer<PollWatcher, NoCache>),
}

impl System {
    fn watch(&mut self, folder: &Path, mode: RecursiveMode) -> notify::Result<()> {
        match self {
            Self::Told(debouncer) => debouncer.watch(folder, mode),
            Self::Polled(debouncer) => debouncer.watch(folder, mode),
        }
    }

    fn unwatch(&mut self, folder: &Path) -> notify::Result<()> {
        match self {
            Self::Told(debouncer) => debouncer.unwatch(folder),
            Self::Polled(debouncer) => debouncer.unwatch(folder),
        }
    }
}

/// A workflow file and its inputs under watch, with the content that was seen last.
pub struct Watch {
    workflow: PathBuf,
    options: WatchOptions,
    system: System,
    hints: Receiver<DebounceEventResult>,
    folders: BTreeMap<PathBuf, bool>,
    digests: FileDigests,
    /// What was seen last; `None` for a file that cannot be read.
    seen: BTreeMap<PathBuf, Option<Digest>>,
}

impl Watch {
    /// Begins to watch the workflow file; its content now is what changes are told against.
    ///
    /// # Errors
    /// If its folder cannot be watched.
    pub fn new(workflow: &Path, options: WatchOptions) -> Result<Self, WatchError> {
        let workflow = absolute(workflow);
        let fail = |source| WatchError {
            path: workflow.clone(),
            source,
        };
        let (tell, hints) = unbounded();
        let handler = move |result: DebounceEventResult| drop(tell.send(result));
        let config = notify::Config::default();
        let system = match options.poll {
            None => {
                System::Told(new_debouncer_opt(options.debounce, None, handler, NoCache::new(), config).map_err(fail)?)
            }
            Some(every) => {
                let config = config.with_poll_interval(every);
                System::Polled(
                    new_debouncer_opt(options.debounce, None, handler, NoCache::new(), config).map_err(fail)?,
                )
            }
        };
        let ignore = options.ignore.iter().map(|folder| absolute(folder)).collect();
        let options = WatchOptions { ignore, ..options };
        let mut watch = Self {
            workflow,
            options,
            system,
            hints,
            folders: BTreeMap::new(),
            digests: FileDigests::default(),
            seen: BTreeMap::new(),
        };
        watch.inputs(Vec::new())?;
        Ok(watch)
    }

    /// Watches these input files (or folders) and no others. What is already watched keeps the content that was seen
    /// last, so that a change made meanwhile is not missed.
    ///
    /// # Errors
    /// If a folder cannot be watched.
    pub fn inputs(&mut self, files: Vec<PathBuf>) -> Result<(), WatchError> {
        let mut wanted: BTreeSet<PathBuf> = files.iter().map(|file| absolute(file)).collect();
        wanted.insert(self.workflow.clone());
        self.seen.retain(|path, _| wanted.contains(path));
        self.watch_folders(&wanted)?;
        for path in wanted {
            let digests = &self.digests;
            self.seen
                .entry(path)
                .or_insert_with_key(|path| digests.digest(path).ok());
        }
        Ok(())
    }

    /// Watches these files as well.
    ///
    /// # Errors
    /// If a folder cannot be watched.
    pub fn also(&mut self, files: &[PathBuf]) -> Result<(), WatchError> {
        self.inputs(self.seen.keys().chain(files).cloned().collect())
    }

    /// A file is watched through its folder, which outlives it; a folder through itself, with all below it.
    fn watch_folders(&mut self, wanted: &BTreeSet<PathBuf>) -> Result<(), WatchError> {
        let mut folders: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in wanted {
            if let Some(parent) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
                *folders.entry(parent.to_owned()).or_default() |= false;
            }
            if path.is_dir() {
                folders.insert(path.clone(), true);
            }
        }
        for folder in self
            .folders
            .keys()
            .filter(|folder| folders.get(*folder) != self.folders.get(*folder))
        {
            // A folder that is gone is not watched any more, which is all that is wanted.
            let _ = self.system.unwatch(folder);
        }
        for (folder, deep) in &folders {
            if self.folders.get(folder) != Some(deep) {
                let mode = if *deep {
                    RecursiveMode::Recursive
                } else {
                    RecursiveMode::NonRecursive
                };
                self.system.watch(folder, mode).map_err(|source| WatchError {
                    path: folder.clone(),
                    source,
                })?;
            }
        }
        self.folders = folders;
        Ok(())
    }

    /// Waits until the content of something watched differs from what was seen last; `None` once asked to stop.
    pub fn wait(&mut self, stop: &StopFlag) -> Option<Changed> {
        let mut looked = Instant::now();
        loop {
            if stop.is_requested() {
                return None;
            }
            let worth_a_look = match self.hints.recv_timeout(STOP_EVERY) {
                Ok(hint) => self.concerns_us(&hint),
                Err(RecvTimeoutError::Timeout) => looked.elapsed() >= self.options.rescan,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(STOP_EVERY);
                    looked.elapsed() >= self.options.rescan
                }
            };
            if worth_a_look {
                let changed = self.look();
                if !changed.is_empty() {
                    return Some(changed);
                }
                looked = Instant::now();
            }
        }
    }

    /// Compares everything with what was seen last, and remembers what is there now.
    pub fn look(&mut self) -> Changed {
        let mut changed = Changed::default();
        for (path, seen) in &mut self.seen {
            let now = settled_digest(&self.digests, path, self.options.debounce);
            if now == *seen {
                continue;
            }
            *seen = now;
            if *path == self.workflow {
                changed.workflow = true;
            } else {
                changed.files.push(path.clone());
            }
        }
        changed
    }

    /// An error (an overflow, a folder that is gone) says nothing of what happened: everything is looked at. That someone
    /// read a file is no hint: looking is reading, and would lead to looking again.
    fn concerns_us(&self, hint: &DebounceEventResult) -> bool {
        let Ok(events) = hint else { return true };
        let ignored = |path: &PathBuf| self.options.ignore.iter().any(|folder| path.starts_with(folder));
        events.iter().any(|event| {
            let only_read =
                event.kind.is_access() && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write));
            event.need_rescan() || !(only_read || (!event.paths.is_empty() && event.paths.iter().all(ignored)))
        })
    }
}

/// A file that is gone for a moment, between an editor's removal and its renaming, is given that moment.
fn settled_digest(digests: &FileDigests, path: &Path, moment: Duration) -> Option<Digest> {
    match digests.digest(path) {
        Ok(digest) => Some(digest),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::thread::sleep(moment);
            digests.digest(path).ok()
        }
        Err(_) => None,
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// Runs `step` once, and again after each change, until asked to stop.
///
/// `step` loads and runs the workflow and tells people of it, broken TOML included; before it runs, it hands the files
/// that the workflow reads to [`Watch::inputs`] (where the workflow is broken, those of before stay watched). What
/// changes during a step is seen after it, and leads to the next one at once.
///
/// # Errors
/// If something cannot be watched, or the error of `step`.
pub fn watch<E: From<WatchError>>(
    workflow: &Path,
    options: WatchOptions,
    stop: &StopFlag,
    mut step: impl FnMut(&Changed, &mut Watch) -> Result<(), E>,
) -> Result<(), E> {
    let mut watch = Watch::new(workflow, options)?;
    let mut changed = Changed {
        workflow: true,
        files: Vec::new(),
    };
    loop {
        tracing::debug!(?changed, "watch goes again");
        step(&changed, &mut watch)?;
        let meanwhile = watch.look();
        changed = if meanwhile.is_empty() {
            match watch.wait(stop) {
                Some(changed) => changed,
                None => return Ok(()),
            }
        } else {
            meanwhile
        };
        if stop.is_requested() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::CreateKind;
    use notify_debouncer_full::DebouncedEvent;

    #[test]
    fn reading_and_our_own_folders_are_no_hints() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.toml");
        std::fs::write(&file, "x").unwrap();
        let options = WatchOptions {
            ignore: vec![dir.path().join("runs")],
            ..WatchOptions::default()
        };
        let watch = Watch::new(&file, options).unwrap();
        let root = absolute(dir.path());
        let concerns = |kind, name: &str| {
            let event = Event::new(kind).add_path(root.join(name));
            watch.concerns_us(&Ok(vec![DebouncedEvent::new(event, Instant::now())]))
        };
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!concerns(opened, "w.toml"));
        assert!(concerns(written, "w.toml"));
        assert!(concerns(EventKind::Create(CreateKind::File), "new.toml"));
        assert!(!concerns(EventKind::Create(CreateKind::File), "runs/a"));
        assert!(watch.concerns_us(&Err(Vec::new())));
    }
}
