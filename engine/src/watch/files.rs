//! The files of a workflow under watch, and whether their content has changed.
//!
//! Events of the file system are hints only. Editors replace files, save twice or touch without a change, and network
//! disks tell nothing: so directories are watched rather than files, every hint leads to a comparison of digests, and from
//! time to time the files are looked at without any hint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, unbounded};
use flow_cache::Digest;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::links::follow;
use crate::code::{FLOWIGNORE, Listing};
use crate::stat::FileDigests;

/// A file that is gone for a moment, between an editor's removal and its renaming, is given this moment.
const GONE: Duration = Duration::from_millis(100);

/// A burst of changes that does not end is looked into after so many times [`WatchOptions::quiet`].
const BURST: u32 = 10;

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How long the watched files must be quiet before they are looked at, so that a burst of changes is one.
    pub quiet: Duration,
    /// Whether the system is asked for hints; without them, as on network disks, there is only `rescan`.
    pub hints: bool,
    /// How often the files are looked at without any hint.
    pub rescan: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            hints: true,
            rescan: Duration::from_secs(5),
        }
    }
}

/// What changed, by content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The workflow file and those that it includes, sorted.
    pub texts: Vec<PathBuf>,
    /// Input files, sorted; one that is gone counts as changed.
    pub files: Vec<PathBuf>,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.files.is_empty()
    }
}

/// Why watching is not possible.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path}: {source}. On a network disk, or where the system has no watches left, poll instead (`--poll`)", path = path.display())]
pub struct WatchError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: notify::Error,
}

/// What the system says.
pub(super) type Hint = notify::Result<notify::Event>;

/// A workflow's files under watch, with the content that was seen last.
pub(super) struct WatchedFiles<'a> {
    workflow: PathBuf,
    options: WatchOptions,
    watcher: Option<RecommendedWatcher>,
    hints: Receiver<Hint>,
    /// Directories under watch, each with its identity: the system goes on watching one that was moved away, not the one that took
    /// its place.
    folders: BTreeMap<PathBuf, Identity>,
    digests: &'a FileDigests,
    /// The workflow file and those that it includes.
    texts: BTreeSet<PathBuf>,
    /// What was seen last, by paths as they are written, so that a link that is put on another file is followed; `None` for a file
    /// that cannot be read.
    seen: BTreeMap<PathBuf, Option<Digest>>,
    /// What hints may name: where those files lie, and the links on the way there.
    places: BTreeSet<PathBuf>,
    looked: Instant,
}

/// Which directory it is, where the system tells.
type Identity = Option<(u64, u64)>;

impl<'a> WatchedFiles<'a> {
    /// Begins to watch the workflow file; its content now is what changes are compared with.
    ///
    /// # Errors
    /// If its directory cannot be watched.
    pub(super) fn new(workflow: &Path, options: WatchOptions, digests: &'a FileDigests) -> Result<Self, WatchError> {
        let workflow = absolute(workflow);
        let fail = |source| WatchError {
            path: workflow.clone(),
            source,
        };
        let (watcher, hints) = if options.hints {
            let (tell, hints) = unbounded();
            let handler = move |hint: Hint| drop(tell.send(hint));
            (Some(notify::recommended_watcher(handler).map_err(fail)?), hints)
        } else {
            (None, never())
        };
        let mut watched = Self {
            workflow,
            options,
            watcher,
            hints,
            folders: BTreeMap::new(),
            digests,
            texts: BTreeSet::new(),
            seen: BTreeMap::new(),
            places: BTreeSet::new(),
            looked: Instant::now(),
        };
        watched.watch(Vec::new(), Vec::new())?;
        Ok(watched)
    }

    /// What the system says.
    pub(super) fn hints(&self) -> &Receiver<Hint> {
        &self.hints
    }

    /// Watches the workflow file, the texts that it includes, and these input files (or directories), and no others. What is
    /// already watched keeps the content that was seen last, so that a change made meanwhile is not missed.
    ///
    /// # Errors
    /// If a directory cannot be watched.
    pub(super) fn watch(&mut self, texts: Vec<PathBuf>, files: Vec<PathBuf>) -> Result<(), WatchError> {
        self.texts = texts.iter().map(|text| absolute(text)).collect();
        self.texts.insert(self.workflow.clone());
        let files = files.iter().map(|file| absolute(file));
        let wanted: BTreeSet<PathBuf> = self.texts.iter().cloned().chain(files).collect();
        self.seen.retain(|path, _| wanted.contains(path));
        for path in wanted {
            let digests = self.digests;
            self.seen
                .entry(path)
                .or_insert_with_key(|path| digests.digest(path).ok());
        }
        self.watch_folders()
    }

    /// Watches these texts as well.
    ///
    /// # Errors
    /// If a directory cannot be watched.
    pub(super) fn watch_texts_too(&mut self, texts: Vec<PathBuf>) -> Result<(), WatchError> {
        let files = self.seen.keys().filter(|path| !self.texts.contains(*path)).cloned();
        let files = files.collect();
        self.watch(self.texts.iter().cloned().chain(texts).collect(), files)
    }

    /// A file is watched through its directory, which outlives it, and so is each link on the way to it; a directory through itself and
    /// those below it that count (see [`Listing`]). What is not there is watched through the nearest directory that is.
    fn watch_folders(&mut self) -> Result<(), WatchError> {
        let Some(watcher) = &mut self.watcher else {
            return Ok(());
        };
        self.places.clear();
        let (mut wanted, mut of_links) = (BTreeSet::new(), BTreeSet::new());
        let folder_of = |path: &Path| {
            path.ancestors()
                .skip(1)
                .find(|folder| folder.is_dir())
                .map(Path::to_owned)
        };
        for path in self.seen.keys() {
            let (links, place) = follow(path);
            of_links.extend(links.iter().filter_map(|link| folder_of(link)));
            wanted.extend(folder_of(&place));
            if place.is_dir() {
                // A directory that cannot be listed is reported as an error of the run.
                let below = Listing::of(path).unwrap_or_default().folders;
                wanted.extend(below.iter().map(|folder| place.join(folder)));
                wanted.insert(place.clone());
            }
            self.places.extend(links);
            self.places.insert(place);
        }
        let all = wanted.union(&of_links);
        let folders: BTreeMap<PathBuf, Identity> = all.map(|path| (path.clone(), identity(path))).collect();
        let differ = |those: &BTreeMap<PathBuf, Identity>, others: &BTreeMap<PathBuf, Identity>| -> Vec<PathBuf> {
            let differing = those
                .iter()
                .filter(|(path, identity)| others.get(*path) != Some(identity));
            differing.map(|(path, _)| path.clone()).collect()
        };
        for path in differ(&self.folders, &folders) {
            // A directory that is gone is not watched any more, which is all that is wanted.
            let _ = watcher.unwatch(&path);
        }
        for path in differ(&folders, &self.folders) {
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                // A link far up may lie where nothing can be watched: what becomes of it is seen without a hint.
                Err(error) if !wanted.contains(&path) => {
                    tracing::debug!(%error, path = %path.display(), "not watched");
                }
                watched => watched.map_err(|source| WatchError { path, source })?,
            }
        }
        self.folders = folders;
        Ok(())
    }

    /// What changed after this hint and those that follow it at once.
    pub(super) fn look_after(&mut self, hint: &Hint) -> Changed {
        if !self.concerns_us(hint) {
            return Changed::default();
        }
        let until = Instant::now() + self.options.quiet * BURST;
        let mut quiet = Instant::now() + self.options.quiet;
        while let Ok(hint) = self.hints.recv_deadline(quiet.min(until)) {
            if self.concerns_us(&hint) {
                quiet = Instant::now() + self.options.quiet;
            }
        }
        self.look()
    }

    /// What changed without a hint, if that was not looked for recently.
    pub(super) fn look_unless_recent(&mut self) -> Changed {
        if self.looked.elapsed() < self.options.rescan {
            return Changed::default();
        }
        self.look()
    }

    /// Compares everything with what was seen last, and remembers what is there now.
    fn look(&mut self) -> Changed {
        // A directory that was replaced, or has come back, is another one to the system.
        if let Err(error) = self.watch_folders() {
            tracing::warn!(%error, "changes there are noticed late");
        }
        let mut changed = Changed::default();
        for (path, seen) in &mut self.seen {
            let now = settled_digest(self.digests, path, seen.is_some());
            if now == *seen {
                continue;
            }
            *seen = now;
            let list = match self.texts.contains(path) {
                true => &mut changed.texts,
                false => &mut changed.files,
            };
            list.push(path.clone());
        }
        self.looked = Instant::now();
        changed
    }

    /// An error, or an overflow of the system's list of events, says nothing of what happened: everything is looked at. That
    /// someone read a file is no hint: looking is reading, and would lead to looking again.
    fn concerns_us(&self, hint: &Hint) -> bool {
        let Ok(event) = hint else { return true };
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let only_read = event.kind.is_access() && event.kind != written;
        event.need_rescan() || (!only_read && (event.paths.is_empty() || event.paths.iter().any(|p| self.is_ours(p))))
    }

    /// Whether it is watched, holds something that is, or lies in a directory that is.
    fn is_ours(&self, path: &Path) -> bool {
        let after = self.places.range(path.to_owned()..).next();
        after.is_some_and(|ours| ours.starts_with(path))
            || path.file_name().is_some_and(|name| name == FLOWIGNORE)
            || path.ancestors().any(|folder| self.places.contains(folder))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> Identity {
    None
}

fn settled_digest(digests: &FileDigests, path: &Path, was_there: bool) -> Option<Digest> {
    match digests.digest(path) {
        Ok(digest) => Some(digest),
        Err(error) if error.kind() == io::ErrorKind::NotFound && was_there => {
            std::thread::sleep(GONE);
            digests.digest(path).ok()
        }
        Err(_) => None,
    }
}

/// As it is written: links are followed each time that it is looked at.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{CreateKind, Flag, ModifyKind};

    #[test]
    fn only_what_may_have_changed_what_is_watched_is_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let (file, data) = (dir.path().join("w.toml"), dir.path().join("data/digits"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(&file, "x").unwrap();
        let digests = FileDigests::default();
        let mut watched = WatchedFiles::new(&file, WatchOptions::default(), &digests).unwrap();
        watched.watch(Vec::new(), vec![data]).unwrap();
        let root = follow(dir.path()).1;
        let concerns = |kind, name: &str| watched.concerns_us(&Ok(Event::new(kind).add_path(root.join(name))));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let created = EventKind::Create(CreateKind::File);
        assert!(concerns(written, "w.toml"));
        assert!(concerns(created, "data/digits/7/0.png"), "in a folder that is watched");
        assert!(
            concerns(EventKind::Modify(ModifyKind::Any), "data"),
            "it holds what is watched"
        );
        assert!(!concerns(opened, "w.toml"), "reading is no change");
        assert!(!concerns(created, "train.log"), "nobody reads it");
        assert!(!concerns(created, "data/dig"), "a name that begins alike");
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(watched.concerns_us(&Ok(overflow)), "events were lost");
        assert!(watched.concerns_us(&Err(notify::Error::generic("gone"))));
    }

    /// A workflow file `w.toml` and a file and a directory that it reads, under watch, looked at only after hints.
    struct Bench {
        dir: tempfile::TempDir,
        digests: FileDigests,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("data")).unwrap();
            for file in ["w.toml", "labels.csv", "data/a"] {
                std::fs::write(dir.path().join(file), "one").unwrap();
            }
            Self {
                dir,
                digests: FileDigests::default(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            absolute(self.dir.path()).join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn watched(&self) -> WatchedFiles<'_> {
            let options = WatchOptions {
                rescan: Duration::from_hours(1),
                ..WatchOptions::default()
            };
            let mut watched = WatchedFiles::new(&self.path("w.toml"), options, &self.digests).unwrap();
            let files = vec![self.path("labels.csv"), self.path("data")];
            watched.watch(Vec::new(), files).unwrap();
            watched
        }
    }

    fn next(watched: &mut WatchedFiles<'_>) -> Changed {
        loop {
            let hint = watched.hints().recv_timeout(Duration::from_secs(30)).expect("a hint");
            let changed = watched.look_after(&hint);
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    #[test]
    fn only_a_change_of_content_is_a_change() {
        let bench = Bench::new();
        let mut watched = bench.watched();
        bench.write("w.toml", "one");
        bench.write("unrelated.txt", "x");
        assert!(watched.look().is_empty());
        bench.write("w.toml", "two");
        assert_eq!(next(&mut watched).texts, [bench.path("w.toml")]);
        assert!(watched.look().is_empty());
    }

    #[test]
    fn a_file_replaced_by_a_rename_and_one_that_was_deleted_are_seen() {
        let bench = Bench::new();
        let mut watched = bench.watched();
        bench.write("labels.new", "two");
        std::fs::rename(bench.path("labels.new"), bench.path("labels.csv")).unwrap();
        assert_eq!(next(&mut watched).files, [bench.path("labels.csv")]);
        std::fs::remove_file(bench.path("labels.csv")).unwrap();
        assert_eq!(next(&mut watched).files, [bench.path("labels.csv")]);
        bench.write("labels.csv", "three");
        assert_eq!(next(&mut watched).files, [bench.path("labels.csv")]);
    }

    #[test]
    fn a_burst_of_changes_is_one() {
        let bench = Bench::new();
        let mut watched = bench.watched();
        for file in ["data/a", "data/b", "labels.csv", "w.toml"] {
            bench.write(file, "two");
        }
        let changed = next(&mut watched);
        assert_eq!(changed.texts, [bench.path("w.toml")]);
        assert_eq!(changed.files, [bench.path("data"), bench.path("labels.csv")]);
    }

    #[test]
    fn without_hints_the_same_is_seen_from_time_to_time() {
        let bench = Bench::new();
        let options = WatchOptions {
            hints: false,
            rescan: Duration::from_millis(1),
            ..WatchOptions::default()
        };
        let mut watched = WatchedFiles::new(&bench.path("w.toml"), options, &bench.digests).unwrap();
        bench.write("w.toml", "two");
        assert!(watched.hints().recv_timeout(Duration::from_millis(50)).is_err());
        assert_eq!(watched.look_unless_recent().texts, [bench.path("w.toml")]);
    }

    #[test]
    fn a_folder_that_takes_the_place_of_another_is_watched() {
        let bench = Bench::new();
        let mut watched = bench.watched();
        let data = bench.path("data");
        std::fs::rename(&data, bench.path("old")).unwrap();
        std::fs::create_dir(&data).unwrap();
        bench.write("data/a", "two");
        assert_eq!(next(&mut watched).files, [bench.path("data")]);
        bench.write("data/a", "three");
        assert_eq!(
            next(&mut watched).files,
            [bench.path("data")],
            "no hint of the new directory"
        );
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!(next(&mut watched).files, [bench.path("data")], "it is missing");
        std::fs::create_dir(&data).unwrap();
        bench.write("data/a", "four");
        assert_eq!(next(&mut watched).files, [bench.path("data")], "it has come back");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_put_on_another_file_or_folder_is_a_change() {
        use std::os::unix::fs::symlink;
        let bench = Bench::new();
        for (name, text) in [("v1/a", "one"), ("v2/a", "two"), ("v3/a", "three")] {
            std::fs::create_dir(bench.path(name).parent().unwrap()).unwrap();
            bench.write(name, text);
        }
        let put = |link: &str, target: &str| {
            symlink(target, bench.path("new")).unwrap();
            std::fs::rename(bench.path("new"), bench.path(link)).unwrap();
        };
        // A directory through two links, and the workflow file itself through one.
        put("latest", "v1");
        put("lib", "latest");
        put("w.toml", "v1/a");
        let mut watched = bench.watched();
        watched.watch(Vec::new(), vec![bench.path("lib")]).unwrap();
        put("lib", "v2");
        assert_eq!(next(&mut watched).files, [bench.path("lib")]);
        put("lib", "latest");
        assert_eq!(next(&mut watched).files, [bench.path("lib")]);
        put("latest", "v3");
        assert_eq!(next(&mut watched).files, [bench.path("lib")], "a link on the way");
        bench.write("v3/a", "four");
        assert_eq!(next(&mut watched).files, [bench.path("lib")], "where it leads now");
        put("w.toml", "v2/a");
        assert_eq!(next(&mut watched).texts, [bench.path("w.toml")]);
    }
}
