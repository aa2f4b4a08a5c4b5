//! The directory of a run under way: made at its start, written to by its nodes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use flow_cache::{Digest, Sharing, unix_ms};

use super::{EVENTS, FIGURES, RunsError, SCHEMA, STOP, SUMMARY, Summary, TIME, file_stem, log_of, time_of};
use crate::events::JsonLines;
use crate::figure::{self, NodeFigures};
use crate::node::Report;
use crate::node_log::stamped;
use crate::stop::StopFlag;
use crate::workflow::Workflow;

/// How often a run looks for the file that asks it to stop.
const LOOKS: Duration = Duration::from_millis(500);

/// The directory of a run under way.
pub(crate) struct RunFolder {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    /// Whose its files are.
    sharing: Sharing,
    pub(crate) reports: Vec<(String, Report)>,
    report_files: Vec<String>,
}

impl RunFolder {
    /// Makes a new directory for a run of `workflow`, and the writer of its event log.
    pub(crate) fn create(
        runs: &Path,
        sharing: Sharing,
        workflow: &Workflow,
        started_unix_ms: u64,
    ) -> Result<(Self, JsonLines<File>), RunsError> {
        sharing
            .create_dir_all(runs)
            .map_err(|error| RunsError::io("make", runs, error))?;
        keep_out_of_code(runs, sharing);
        let (id, dir) = Self::claim(runs, sharing, workflow.name(), started_unix_ms)?;
        let logs = dir.join("logs");
        sharing
            .create_dir(&logs)
            .map_err(|error| RunsError::io("make", &logs, error))?;
        let write = |path: &Path, text: &str| {
            let written = sharing.write(path, workflow.secrets().hide(text).as_bytes());
            written.map_err(|error| RunsError::io("write", path, error))
        };
        write(&dir.join("workflow.toml"), workflow.text())?;
        for (number, (path, text)) in workflow.included().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            write(&dir.join(format!("included-{number}-{name}")), text)?;
        }
        let events = dir.join(EVENTS);
        let file = sharing
            .create_new(&events)
            .map_err(|error| RunsError::io("write", &events, error))?;
        // As long as it is open this run is under way, see [`Runs::gc`].
        // Who asks whether it is under way holds the lock for a moment.
        let _ = file.lock();
        Ok((
            Self {
                id,
                dir,
                sharing,
                reports: Vec::new(),
                report_files: Vec::new(),
            },
            JsonLines::new(file),
        ))
    }

    /// Two runs may begin in the same millisecond, in two processes: the directory is made, or another id is tried.
    ///
    /// The order of names is the order in which runs began, also where the clock was set back: then a name's time is the
    /// millisecond after the newest run's (and not the one in the summary).
    pub(super) fn claim(
        runs: &Path,
        sharing: Sharing,
        workflow: &str,
        started_unix_ms: u64,
    ) -> Result<(String, PathBuf), RunsError> {
        let entries = std::fs::read_dir(runs).map_err(|error| RunsError::io("read", runs, error))?;
        let times = entries.filter_map(|entry| time_of(entry.ok()?.file_name().to_str()?));
        let started = jiff::Timestamp::from_millisecond(i64::try_from(started_unix_ms).unwrap_or(0));
        let after = times
            .max()
            .and_then(|newest| newest.checked_add(jiff::SignedDuration::from_millis(1)).ok());
        let time = started
            .unwrap_or_default()
            .max(after.unwrap_or(jiff::Timestamp::MIN))
            .strftime(TIME);
        for attempt in 0_u32.. {
            let salt = format!("{workflow} {started_unix_ms} {} {attempt}", std::process::id());
            let id = format!("{time}-{workflow}-{}", &Digest::of(salt.as_bytes()).short()[..6]);
            let dir = runs.join(&id);
            match sharing.create_dir(&dir) {
                Ok(()) => return Ok((id, dir)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {}
                Err(error) => return Err(RunsError::io("make", &dir, error)),
            }
        }
        unreachable!("BUG: the loop above returns after 100 attempts")
    }

    /// Who may read what is written here.
    pub(crate) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Where a node's log lies.
    pub(crate) fn log(&self, node: &str) -> PathBuf {
        log_of(&self.dir, node)
    }

    /// Does the work, and meanwhile listens to [`Run::ask_to_stop`].
    pub(crate) fn stoppable<T>(&mut self, stop: &StopFlag, work: impl FnOnce(&mut Self) -> T) -> T {
        let asked = self.dir.join(STOP);
        std::thread::scope(|scope| {
            let (done, over) = crossbeam_channel::bounded::<()>(0);
            scope.spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(LOOKS) {
                    if asked.exists() {
                        stop.request();
                    }
                }
            });
            let result = work(self);
            drop(done);
            result
        })
    }

    /// Adds a line of the engine's, with the time (UTC), to a node's log. A log that cannot be written does not fail the node.
    pub(crate) fn note(&self, node: &str, line: &str) {
        let path = self.log(node);
        let written = self
            .sharing
            .append(&path)
            .and_then(|mut file| file.write_all(stamped(unix_ms(), line).as_bytes()));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "a node's log cannot be written");
        }
    }

    /// Writes a node's page for people, and keeps it for the caller to print; gives the name of the text's file.
    pub(crate) fn write_report(&mut self, node: &str, report: Report) -> io::Result<String> {
        let stem = file_stem(node);
        let text = format!("{stem}.md");
        self.sharing.write(&self.dir.join(&text), report.markdown.as_bytes())?;
        let mut json = serde_json::to_vec_pretty(&report.json)?;
        json.push(b'\n');
        self.sharing.write(&self.dir.join(format!("{stem}.json")), &json)?;
        if !report.figures.is_empty() {
            let figures = NodeFigures {
                schema: figure::SCHEMA,
                node: node.to_owned(),
                figures: report.figures.clone(),
            };
            let name = format!("{stem}{FIGURES}");
            self.sharing
                .write(&self.dir.join(name), &serde_json::to_vec(&figures)?)?;
        }
        for (ending, bytes) in &report.files {
            self.sharing.write(&self.dir.join(format!("{stem}.{ending}")), bytes)?;
        }
        self.report_files.push(text.clone());
        self.reports.push((node.to_owned(), report));
        Ok(text)
    }

    /// Writes down what the run came to, whole or not at all.
    pub(crate) fn write_summary(&self, summary: &mut Summary) -> Result<(), RunsError> {
        summary.schema = SCHEMA;
        summary.reports.clone_from(&self.report_files);
        summary.headline = self.reports.iter().find_map(|(_, report)| report.headline.clone());
        let path = self.dir.join(SUMMARY);
        let temporary = self.dir.join("summary.json.tmp");
        let written = serde_json::to_vec(summary)
            .map_err(io::Error::from)
            .and_then(|json| self.sharing.write(&temporary, &json))
            .and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| RunsError::io("write", &path, error))
    }
}

/// Runs may lie in a directory of code, which they are no part of. Where that cannot be written down, nothing else can either.
fn keep_out_of_code(runs: &Path, sharing: Sharing) {
    let path = runs.join(crate::code::FLOWIGNORE);
    if !path.exists() {
        let _ = sharing.write(&path, b"# Runs of flow are no part of any program.\n*\n");
    }
}
