//! Run directories: what each run wrote down, and how to find it again.
//!
//! `<runs>/<utc time>-<workflow>-<short id>/` holds `workflow.toml` (and what it includes), `events.jsonl`, `summary.json`, `logs/<node>.log` and
//! the pages of reporting nodes, `<node>.md` and `<node>.json`, with their figures, `<node>.figures.json`.

mod folder;

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use flow_cache::Digest;
use serde::{Deserialize, Serialize};

use crate::events::RunStatus;
use crate::figure::{self, NodeFigures};
use crate::outcome::{NodeFailure, NodeOutcome};
use crate::plain_file;

pub(crate) use folder::RunFolder;

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
    /// The workflow's file, as given; empty in summaries of older versions.
    #[serde(default)]
    pub file: String,
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
    /// What came out, in a few words of a reporting node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
}

/// A run found in the directory of runs.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its id, the name of its folder.
    pub id: String,
    /// Its folder.
    #[serde(serialize_with = "lossy")]
    pub dir: PathBuf,
    /// What it came to; `None` if it is still running or was killed.
    pub summary: Option<Summary>,
}

impl Run {
    /// The workflow's name, as the run's id has it.
    pub fn workflow(&self) -> &str {
        workflow_of(&self.id)
    }

    /// Whether it is under way: it holds its event log as long as it lives.
    pub fn is_under_way(&self) -> bool {
        is_under_way(&self.dir)
    }

    /// Asks it to stop at the next checkpoint, whoever started it. It looks about twice a second.
    ///
    /// # Errors
    /// If its directory cannot be written to.
    pub fn ask_to_stop(&self) -> io::Result<()> {
        std::fs::write(self.dir.join(STOP), b"")
    }

    /// A node's log.
    pub fn node_log(&self, node: &str) -> PathBuf {
        log_of(&self.dir, node)
    }

    /// Its event log.
    pub fn events(&self) -> PathBuf {
        self.dir.join(EVENTS)
    }

    /// The figures of its reporting nodes, in the order of the reports, and of each file that cannot be read its name and what is wrong.
    pub fn figures(&self) -> (Vec<NodeFigures>, Vec<(String, String)>) {
        let (mut figures, mut damaged) = (Vec::new(), Vec::new());
        for page in self.summary.iter().flat_map(|summary| &summary.reports) {
            let name = format!("{}{FIGURES}", page.strip_suffix(".md").unwrap_or(page));
            let read = match plain_file::read(&self.dir.join(&name)) {
                Ok(bytes) => serde_json::from_slice::<NodeFigures>(&bytes).map_err(|error| error.to_string()),
                // A node need not have figures.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(read) if read.schema == figure::SCHEMA => figures.push(read),
                Ok(read) => damaged.push((
                    name,
                    format!(
                        "it has schema {}, this version of flow knows {}",
                        read.schema,
                        figure::SCHEMA
                    ),
                )),
                Err(why) => damaged.push((name, why)),
            }
        }
        (figures, damaged)
    }
}

/// `20261127T170546.005Z-two-a8f0cf` is of `two`; empty if there is none in it.
pub(crate) fn workflow_of(id: &str) -> &str {
    let name = id.split_once('-').and_then(|(_, rest)| rest.rsplit_once('-'));
    name.map_or("", |(name, _)| name)
}

/// For eyes and scripts, which take text.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Why runs cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The directory, or something in it, cannot be read or written.
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
    #[error("{path} is damaged: {why}. The results are in the cache; delete this run directory if it is in the way", path = path.display())]
    Damaged {
        /// The summary's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No run of that name.
    #[error("no run in {dir} begins or ends with `{id}`", dir = dir.display())]
    NotFound {
        /// What was asked for.
        id: String,
        /// The directory of runs.
        dir: PathBuf,
        /// The runs that there are, newest first.
        known: Vec<String>,
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

/// A directory of runs, to look at.
#[derive(Clone, Debug)]
pub struct Runs {
    dir: PathBuf,
}

impl Runs {
    /// The runs in `dir`; a directory that is absent holds none.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// If the directory cannot be read. A damaged summary counts as none.
    pub fn list(&self) -> Result<Vec<Run>, RunsError> {
        let ids = self.ids()?.into_iter();
        Ok(ids
            .map(|id| self.run(&id).unwrap_or_else(|_| self.without_summary(id)))
            .collect())
    }

    /// The run of which that is the id, or else those of which the id begins with it, or ends with it (the short id is last),
    /// newest first: at least one.
    ///
    /// # Errors
    /// If there is none, or a summary is damaged.
    pub fn matching(&self, id: &str) -> Result<Vec<Run>, RunsError> {
        let known = self.ids()?;
        let mut fitting: Vec<&String> = known.iter().filter(|known| *known == id).collect();
        if fitting.is_empty() {
            let fits = |known: &&String| known.starts_with(id) || known.ends_with(id);
            fitting = known.iter().filter(fits).collect();
        }
        if fitting.is_empty() {
            return Err(RunsError::NotFound {
                id: id.to_owned(),
                dir: self.dir.clone(),
                known,
            });
        }
        fitting.into_iter().map(|id| self.run(id)).collect()
    }

    /// The runs of a workflow that began before another, newest first, each read when it is asked for. A damaged summary counts as none.
    pub fn before<'a>(&'a self, run: &Run, workflow: &str) -> impl Iterator<Item = Run> + use<'a> {
        let (last, named) = (run.id.clone(), format!("-{workflow}-"));
        let ids = self.ids().unwrap_or_default().into_iter();
        ids.filter(move |id| *id < last && id.contains(&named))
            .map(|id| self.run(&id).unwrap_or_else(|_| self.without_summary(id)))
    }

    /// Removes the directories of all runs but the newest `keep`, and those under way; with `dry_run` it says which. What was killed in the
    /// middle of this is removed as well.
    ///
    /// # Errors
    /// If the directory cannot be read, or a run's cannot be removed.
    pub fn gc(&self, keep: usize, dry_run: bool) -> Result<RunsGcReport, RunsError> {
        let mut report = RunsGcReport {
            dry_run,
            ..RunsGcReport::default()
        };
        for id in self.ids()? {
            let dir = self.dir.join(&id);
            if is_under_way(&dir) {
                report.running += 1;
            } else if report.kept < keep {
                report.kept += 1;
            } else {
                report.freed_bytes += size(&dir);
                report.removed.push(id);
            }
        }
        if dry_run {
            return Ok(report);
        }
        for id in &report.removed {
            // Nobody sees half a run.
            let (dir, gone) = (self.dir.join(id), self.dir.join(format!("{GONE}{id}")));
            std::fs::rename(&dir, gone).map_err(|error| RunsError::io("remove", &dir, error))?;
        }
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(GONE)) {
                std::fs::remove_dir_all(&path).map_err(|error| RunsError::io("remove", &path, error))?;
            }
        }
        Ok(report)
    }

    /// The run of exactly that id.
    pub fn exactly(&self, id: &str) -> Option<Run> {
        let known = !id.contains(['/', '\\']) && time_of(id).is_some() && self.dir.join(id).join(EVENTS).is_file();
        known.then(|| self.run(id).unwrap_or_else(|_| self.without_summary(id.to_owned())))
    }

    pub(crate) fn summary_text(&self, id: &str) -> Option<Vec<u8>> {
        std::fs::read(self.dir.join(id).join(SUMMARY)).ok()
    }

    pub(crate) fn is_under_way(&self, id: &str) -> bool {
        is_under_way(&self.dir.join(id))
    }

    /// Newest first: the order of their names is the order in which they began, see [`RunFolder::claim`].
    pub(crate) fn ids(&self) -> Result<Vec<String>, RunsError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunsError::io("read", &self.dir, error)),
        };
        let is_run = |path: &PathBuf| path.join(EVENTS).is_file();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_run);
        let ids = paths.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let mut ids: Vec<String> = ids.filter(|id| !id.starts_with(GONE)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    fn run(&self, id: &str) -> Result<Run, RunsError> {
        let path = self.dir.join(id).join(SUMMARY);
        let damaged = |why: String| RunsError::Damaged {
            path: path.clone(),
            why,
        };
        let summary = match plain_file::read(&path) {
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

/// What [`Runs::gc`] removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunsGcReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The ids of the runs whose directories go, newest first.
    pub removed: Vec<String>,
    /// Bytes of these.
    pub freed_bytes: u64,
    /// How many ended runs stay.
    pub kept: usize,
    /// How many are under way.
    pub running: usize,
}

/// Whether a run holds its event log. Where a disk does no locks, one without a summary may be under way.
fn is_under_way(dir: &Path) -> bool {
    match plain_file::open(&dir.join(EVENTS)).map(|file| file.try_lock()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock)) => true,
        Ok(Err(TryLockError::Error(_))) | Err(_) => !dir.join(SUMMARY).exists(),
    }
}

/// The bytes of all files under a directory; links are not followed.
fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        data => data.map_or(0, |data| data.len()),
    });
    sizes.sum()
}

/// How the name of a directory begins that is being removed.
const GONE: &str = ".removed-";
const EVENTS: &str = "events.jsonl";
const SUMMARY: &str = "summary.json";
/// A file of that name asks a run to stop.
const STOP: &str = "stop";
/// How the names of files with figures end.
const FIGURES: &str = ".figures.json";

/// How a run's id begins: when it began (UTC).
const TIME: &str = "%Y%m%dT%H%M%S.%3fZ";

/// When a run began, by its id: in milliseconds since 1970 (UTC).
pub(crate) fn started_ms(id: &str) -> Option<u64> {
    u64::try_from(time_of(id)?.as_millisecond()).ok()
}

fn log_of(dir: &Path, node: &str) -> PathBuf {
    dir.join("logs").join(format!("{}.log", file_stem(node)))
}

/// The time at the beginning of a run's id.
fn time_of(id: &str) -> Option<jiff::Timestamp> {
    let (time, _) = id.split_once('-')?;
    let civil = jiff::civil::DateTime::strptime(TIME, time).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
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
    use flow_cache::Sharing;

    use super::*;

    #[test]
    fn runs_are_in_the_order_in_which_they_began_also_where_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("notes-on-runs")).unwrap();
        // 2026, 2001, 2026, 1970, and a clock that is broken.
        let started = [1_790_000_000_000, 1_000_000_000_000, 1_790_000_000_000, 0, u64::MAX];
        let ids = started.map(|ms| RunFolder::claim(dir.path(), Sharing::Private, "w", ms).unwrap().0);
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, ids, "oldest first");
        for id in &ids {
            std::fs::write(dir.path().join(id).join(EVENTS), "").unwrap();
        }
        let listed: Vec<String> = Runs::open(dir.path())
            .list()
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect();
        assert!(listed.iter().eq(ids.iter().rev()), "{listed:?}");
    }

    #[test]
    fn a_value_with_slashes_stays_in_its_folder() {
        assert_eq!(file_stem("simclr[seed=0]"), "simclr[seed=0]");
        let (a, b) = (file_stem("a[path=../x]"), file_stem("a[path=.._x]"));
        assert!(!a.contains('/'));
        assert_ne!(a, file_stem("a[path=..?x]"));
        assert_ne!(a, b);
    }
}
