//! Run folders: what each run wrote down, and how to find it again.
//!
//! `<runs>/<utc time>-<workflow>-<short id>/` holds `workflow.toml` (and what it includes), `events.jsonl`, `summary.json`, `logs/<node>.log` and
//! the pages of reporting nodes, `<node>.md` and `<node>.json`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flow_cache::Digest;
use serde::{Deserialize, Serialize};

use crate::events::{JsonLines, RunStatus};
use crate::node::Report;
use crate::outcome::{NodeFailure, NodeOutcome};
use crate::workflow::Workflow;

/// Version of [`Summary`].
const SCHEMA: u32 = 1;

/// What a run came to; `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of this layout.
    pub schema: u32,
    /// The run's id, the name of its folder.
    pub id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's question.
    pub question: Option<String>,
    /// The overrides, as given.
    pub overrides: Vec<String>,
    /// What the workflow took from the environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How it ended.
    pub status: RunStatus,
    /// When it began, in milliseconds since 1970 (UTC).
    pub started_unix_ms: u64,
    /// When it ended, in milliseconds since 1970 (UTC).
    pub finished_unix_ms: u64,
    /// The CPU threads that it could use.
    pub threads: usize,
    /// Every instance.
    pub nodes: Vec<NodeOutcome>,
    /// What failed.
    pub failures: Vec<NodeFailure>,
    /// The pages for people, files in the run's folder.
    pub reports: Vec<String>,
}

/// A run found in the folder of runs.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its id, the name of its folder.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What it came to; `None` if it is still running or was killed.
    pub summary: Option<Summary>,
}

/// Why runs cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The folder, or something in it, cannot be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A summary that is not one.
    #[error("{path} is damaged: {why}. The results are in the cache; delete this run's folder if it is in the way", path = path.display())]
    Damaged {
        /// The summary's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No run of that name.
    #[error("no run in {dir} begins or ends with `{id}`. `flow runs ls` lists them", dir = dir.display())]
    NotFound {
        /// What was asked for.
        id: String,
        /// The folder of runs.
        dir: PathBuf,
    },
    /// Several runs of that name.
    #[error("`{id}` could be any of {}. Give more of the name", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// The runs that fit.
        candidates: Vec<String>,
    },
}

impl RunsError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A folder of runs, to look at.
#[derive(Clone, Debug)]
pub struct Runs {
    dir: PathBuf,
}

impl Runs {
    /// The runs in `dir`; a folder that is absent holds none.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// If the folder cannot be read. A damaged summary counts as none.
    pub fn list(&self) -> Result<Vec<Run>, RunsError> {
        let mut ids = self.ids()?;
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids
            .into_iter()
            .map(|id| self.run(&id).unwrap_or_else(|_| self.without_summary(id)))
            .collect())
    }

    /// The run of which the id begins with `id`, or ends with it (the short id is last).
    ///
    /// # Errors
    /// If there is none, more than one, or its summary is damaged.
    pub fn show(&self, id: &str) -> Result<Run, RunsError> {
        let all = self.ids()?;
        if all.iter().any(|known| known == id) {
            return self.run(id);
        }
        let mut fitting: Vec<String> = all
            .into_iter()
            .filter(|k| k.starts_with(id) || k.ends_with(id))
            .collect();
        fitting.sort_unstable();
        match fitting.as_slice() {
            [] => Err(RunsError::NotFound {
                id: id.to_owned(),
                dir: self.dir.clone(),
            }),
            [one] => self.run(one),
            _ => Err(RunsError::Ambiguous {
                id: id.to_owned(),
                candidates: fitting,
            }),
        }
    }

    fn ids(&self) -> Result<Vec<String>, RunsError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunsError::io("read", &self.dir, error)),
        };
        let is_run = |path: &PathBuf| path.join(EVENTS).is_file();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_run);
        Ok(paths
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn run(&self, id: &str) -> Result<Run, RunsError> {
        let path = self.dir.join(id).join(SUMMARY);
        let damaged = |why: String| RunsError::Damaged {
            path: path.clone(),
            why,
        };
        let summary = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Summary>(&bytes).map_err(|error| damaged(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.without_summary(id.to_owned())),
            Err(error) => return Err(RunsError::io("read", &path, error)),
        };
        if summary.schema != SCHEMA {
            return Err(damaged(format!(
                "it has schema {}, this version of flow knows {SCHEMA}",
                summary.schema
            )));
        }
        Ok(Run {
            summary: Some(summary),
            ..self.without_summary(id.to_owned())
        })
    }

    fn without_summary(&self, id: String) -> Run {
        Run {
            dir: self.dir.join(&id),
            id,
            summary: None,
        }
    }
}

const EVENTS: &str = "events.jsonl";
const SUMMARY: &str = "summary.json";

/// The folder of a run under way.
pub(crate) struct RunFolder {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) reports: Vec<(String, Report)>,
    report_files: Vec<String>,
}

impl RunFolder {
    /// Makes a folder of its own for a run of `workflow`, and the writer of its event log.
    pub(crate) fn create(
        runs: &Path,
        workflow: &Workflow,
        started_unix_ms: u64,
    ) -> Result<(Self, JsonLines<File>), RunsError> {
        std::fs::create_dir_all(runs).map_err(|error| RunsError::io("make", runs, error))?;
        let (id, dir) = Self::claim(runs, workflow.name(), started_unix_ms)?;
        let logs = dir.join("logs");
        std::fs::create_dir(&logs).map_err(|error| RunsError::io("make", &logs, error))?;
        let copy = dir.join("workflow.toml");
        std::fs::write(&copy, workflow.text()).map_err(|error| RunsError::io("write", &copy, error))?;
        for (number, (path, text)) in workflow.included().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let copy = dir.join(format!("included-{number}-{name}"));
            std::fs::write(&copy, text).map_err(|error| RunsError::io("write", &copy, error))?;
        }
        let events = dir.join(EVENTS);
        let file = File::create(&events).map_err(|error| RunsError::io("write", &events, error))?;
        Ok((
            Self {
                id,
                dir,
                reports: Vec::new(),
                report_files: Vec::new(),
            },
            JsonLines::new(file),
        ))
    }

    /// Two runs may begin in the same second, in two processes: the folder is made, or another id is tried.
    fn claim(runs: &Path, workflow: &str, started_unix_ms: u64) -> Result<(String, PathBuf), RunsError> {
        // To the millisecond, so that the order of names is the order of runs.
        let time = jiff::Timestamp::from_millisecond(i64::try_from(started_unix_ms).unwrap_or(0))
            .unwrap_or_default()
            .strftime("%Y%m%dT%H%M%S.%3fZ");
        for attempt in 0_u32.. {
            let salt = format!("{workflow} {started_unix_ms} {} {attempt}", std::process::id());
            let id = format!("{time}-{workflow}-{}", &Digest::of(salt.as_bytes()).short()[..6]);
            let dir = runs.join(&id);
            match std::fs::create_dir(&dir) {
                Ok(()) => return Ok((id, dir)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {}
                Err(error) => return Err(RunsError::io("make", &dir, error)),
            }
        }
        unreachable!("BUG: the loop above returns after 100 attempts")
    }

    /// Adds a line, with the time (UTC), to a node's log. A log that cannot be written does not fail the node.
    pub(crate) fn note(&self, node: &str, line: &str) {
        let path = self.dir.join("logs").join(format!("{}.log", file_stem(node)));
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{}  {line}", jiff::Timestamp::now().strftime("%FT%T.%3fZ")));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "a node's log cannot be written");
        }
    }

    /// Writes a node's page for people, and keeps it for the caller to print; gives the name of the text's file.
    pub(crate) fn write_report(&mut self, node: &str, report: Report) -> io::Result<String> {
        let stem = file_stem(node);
        let text = format!("{stem}.md");
        std::fs::write(self.dir.join(&text), &report.markdown)?;
        let mut json = serde_json::to_vec_pretty(&report.json)?;
        json.push(b'\n');
        std::fs::write(self.dir.join(format!("{stem}.json")), json)?;
        for (ending, bytes) in &report.files {
            std::fs::write(self.dir.join(format!("{stem}.{ending}")), bytes)?;
        }
        self.report_files.push(text.clone());
        self.reports.push((node.to_owned(), report));
        Ok(text)
    }

    /// Writes down what the run came to, whole or not at all.
    pub(crate) fn write_summary(&self, summary: &mut Summary) -> Result<(), RunsError> {
        summary.schema = SCHEMA;
        summary.reports = self.report_files.clone();
        let path = self.dir.join(SUMMARY);
        let temporary = self.dir.join("summary.json.tmp");
        let written = serde_json::to_vec(summary)
            .map_err(io::Error::from)
            .and_then(|json| std::fs::write(&temporary, json))
            .and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| RunsError::io("write", &path, error))
    }
}

/// A node's name as a file name: values of matrix variables may contain anything. A name that had to be changed gets a
/// piece of its digest, so that no two nodes share a file.
fn file_stem(node: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._=,[]@-+".contains(c);
    if node.len() <= 120 && node.chars().all(is_plain) {
        return node.to_owned();
    }
    let plain: String = node
        .chars()
        .take(100)
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    format!("{plain}-{}", Digest::of(node.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_slashes_stays_in_its_folder() {
        assert_eq!(file_stem("simclr[seed=0]"), "simclr[seed=0]");
        let (a, b) = (file_stem("a[path=../x]"), file_stem("a[path=.._x]"));
        assert!(!a.contains('/'));
        assert_ne!(a, file_stem("a[path=..?x]"));
        assert_ne!(a, b);
    }
}
