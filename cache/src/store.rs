//! The store: open it, look keys up, list what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::archive::{self, ArchiveError, ArchiveLimits, Imported, Opened};
use crate::artifact::Artifact;
use crate::claim::Claiming;
use crate::disk;
use crate::error::CacheError;
use crate::files::{Access, Lookup};
use crate::gc::{self, GcOptions, GcReport};
use crate::key::ActionKey;
use crate::large::{LargeFolder, LargeWriter};
use crate::lease::Lease;
use crate::marks::{self, Marks};
use crate::name;
use crate::nearest;
use crate::past::Past;
use crate::publish::{self, Draft};
use crate::publishing::Publishing;
use crate::query::{Field, Query, QueryError};
use crate::recall::{self, Recall};
use crate::record::{Record, sort_newest_first};
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::sharing::Sharing;
use crate::verify::{self, VerifyReport};
use crate::work_folder::WorkFolder;

/// A store, open. Cheap to clone; any number of threads and processes may have the same directory open.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Opens the store in the directory `root`, which is made if it is absent (and may be written to).
    ///
    /// # Errors
    /// [`CacheError::NotACache`] if the directory holds something else, [`CacheError::ReadOnly`] if it cannot be written to,
    /// [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn open(root: &Path, access: Access) -> Result<Self, CacheError> {
        let root = std::path::absolute(root).map_err(|e| CacheError::io("resolve", root, e))?;
        Ok(Self {
            shared: Arc::new(Shared::open(disk::of_this_machine(), &root, access, true)?),
        })
    }

    /// Opens a store on a simulated disk, where there are no other processes and no index.
    #[cfg(test)]
    pub(crate) fn open_on(disk: Box<dyn disk::Disk>, root: &Path) -> Result<Self, CacheError> {
        Ok(Self {
            shared: Arc::new(Shared::open(disk, root, Access::ReadWrite, false)?),
        })
    }

    #[cfg(test)]
    pub(crate) fn files(&self) -> &Arc<crate::files::Files> {
        &self.shared.files
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        self.shared.files.layout.root()
    }

    /// What was published under a key. An entry that cannot be used is set aside with a warning, and is none.
    ///
    /// # Errors
    /// [`CacheError::UnknownSchema`] if another version of flow wrote the record, [`CacheError::Io`].
    pub fn lookup(&self, key: &ActionKey) -> Result<Option<Artifact>, CacheError> {
        let (found, why) = self.look(key)?;
        match why {
            Some(why) if self.shared.files.writable() => self.shared.set_aside(key, &why)?,
            Some(why) => tracing::warn!(%key, "cache entry cannot be used: {why}"),
            None => {}
        }
        Ok(found)
    }

    /// The same without the intention to publish, as a plan does: nothing is written.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn peek(&self, key: &ActionKey) -> Result<Option<Artifact>, CacheError> {
        Ok(self.look(key)?.0)
    }

    /// What was published under a key, or what is wrong with it.
    fn look(&self, key: &ActionKey) -> Result<(Option<Artifact>, Option<String>), CacheError> {
        let files = &self.shared.files;
        if let Some(known) = self.shared.recall().take(files, key, Instant::now()) {
            let artifact = Artifact::recalled(known.summary, known.stamp, Arc::clone(files));
            return Ok((Some(artifact), None));
        }
        Ok(match files.find(key)? {
            Lookup::Sound(entry) if !entry.collected => (Some(self.shared.artifact(&entry)), None),
            Lookup::Damaged(why) => (None, Some(why)),
            Lookup::Sound(_) | Lookup::Missing => (None, None),
        })
    }

    /// Publishes what was made under a key: when this returns, the artifact survives a power loss, and the key's checkpoints
    /// are gone.
    ///
    /// If the key was published meanwhile, equal outputs give its artifact.
    ///
    /// # Errors
    /// [`CacheError::NonDeterministic`] if the key is published with other outputs, [`CacheError::DiskFull`],
    /// [`CacheError::ReadOnly`], [`CacheError::InvalidDraft`], [`CacheError::Io`]. After an error nothing of the draft is
    /// visible, and the key can be looked up again.
    pub fn publish(&self, key: &ActionKey, draft: &Draft) -> Result<Artifact, CacheError> {
        publish::publish(&self.shared, key, draft)
    }

    /// The record of a key, whether or not its outputs are there; `None` if there is none that can be used.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn record(&self, key: &ActionKey) -> Result<Option<Record>, CacheError> {
        self.shared.files.sound_record(key)
    }

    /// Begins to read, concurrently with other work, what was remembered under `name`: [`Store::lookup`] and [`Store::peek`] are fast
    /// for these keys.
    pub fn recall(&self, name: &str) {
        *self.shared.recall() = Recall::begin(&self.shared.files, name);
    }

    /// Remembers under `name` what a run took and made, for the next one's [`Store::recall`].
    pub fn remember(&self, name: &str, artifacts: &[&Artifact]) {
        if self.shared.files.writable() {
            recall::remember(&self.shared.files, &self.shared.recall(), name, artifacts);
        }
    }

    /// Asks for the sole right to work on a key, among all processes that have this store open.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn claim(&self, key: &ActionKey) -> Result<Claiming, CacheError> {
        self.shared.files.must_write()?;
        self.shared.claims.take(key)
    }

    /// What keeps the claims of this process alive as long as anyone has it open: for a process that ends what this one leaves behind.
    pub fn claims_lock(&self) -> Option<std::fs::File> {
        self.shared.claims.board()
    }

    /// Begins a lease: the entries that are added to it are not collected as long as it lives.
    pub fn lease(&self) -> Lease {
        Lease::begin(&self.shared.files)
    }

    /// Collects what is least worth its room, or says what would go. Publishers wait meanwhile.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::Io`]. What was not removed by then is still there.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, CacheError> {
        let files = &self.shared.files;
        files.must_write()?;
        let _alone = match options.delete {
            true => files.lock_publishing(Publishing::Alone)?,
            false => None,
        };
        gc::collect(files, options)
    }

    /// Pins, tags and what was collected.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn marks(&self) -> Result<Marks, CacheError> {
        Marks::read(&self.shared.files)
    }

    /// Whether the outputs of a key were collected.
    pub fn is_collected(&self, key: &ActionKey) -> bool {
        self.shared.files.is_collected(key)
    }

    /// Keeps an entry from being collected.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn pin(&self, key: &ActionKey, note: &str) -> Result<(), CacheError> {
        let files = &self.shared.files;
        marks::set(files, &files.layout.pins(), &key.to_string(), note)
    }

    /// Takes a pin away; whether there was one.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn unpin(&self, key: &ActionKey) -> Result<bool, CacheError> {
        let files = &self.shared.files;
        marks::unset(files, &files.layout.pins(), &key.to_string())
    }

    /// Gives an entry a name, or the name to another entry. It is kept as if it were pinned.
    ///
    /// # Errors
    /// [`CacheError::InvalidTag`], [`CacheError::ReadOnly`], [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn tag(&self, name: &str, key: &ActionKey) -> Result<(), CacheError> {
        if !marks::is_tag(name) {
            return Err(CacheError::InvalidTag { name: name.to_owned() });
        }
        let files = &self.shared.files;
        marks::set(files, &files.layout.tags(), name, &format!("{key}\n"))
    }

    /// Takes a tag away; whether there was one.
    ///
    /// # Errors
    /// [`CacheError::InvalidTag`], [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn untag(&self, name: &str) -> Result<bool, CacheError> {
        if !marks::is_tag(name) {
            return Err(CacheError::InvalidTag { name: name.to_owned() });
        }
        let files = &self.shared.files;
        marks::unset(files, &files.layout.tags(), name)
    }

    /// Writes entries with their outputs to an archive; its size in bytes.
    ///
    /// # Errors
    /// [`ArchiveError::Cache`] if an output is not as it was published, [`ArchiveError::Io`].
    pub fn export(&self, records: &[Record], path: &Path) -> Result<u64, ArchiveError> {
        archive::export(&self.shared.files, records, path)
    }

    /// Takes the entries of an archive in, all or none.
    ///
    /// # Errors
    /// [`ArchiveError::Unusable`] with what is wrong with it, [`ArchiveError::Cache`], [`ArchiveError::Io`].
    pub fn import(&self, path: &Path, limits: ArchiveLimits) -> Result<Imported, ArchiveError> {
        let files = &self.shared.files;
        let opened = Opened::read(files, path, limits)?;
        let _no_collection = files.lock_publishing(Publishing::Together)?;
        archive::install(&self.shared, &opened, path)
    }

    /// The earlier record that explains best why `record` was computed, see [`Record::distance`]; `None` if no other of its kind
    /// had finished when it began.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn nearest(&self, record: &Record) -> Result<Option<Record>, CacheError> {
        let mut earlier = self.shared.catalog.records(Some(&record.kind))?;
        earlier.retain(|other| other.key != record.key && other.finished_unix_ms <= record.started_unix_ms);
        Ok(earlier
            .into_iter()
            .min_by_key(|other| other.distance(&record.node, &record.components.diff(&other.components))))
    }

    /// The record that has that tag; or those of nodes of that name (see [`crate::name`]), which is the one that a record was made
    /// under or one that a run found it under; or those of which the key begins with `text`, four hexadecimal digits or more.
    /// Newest first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn find(&self, text: &str) -> Result<Vec<Record>, CacheError> {
        if let Some(key) = self.marks()?.tags.get(text) {
            return Ok(self.record(key)?.into_iter().collect());
        }
        let names = self.other_names()?;
        let records = self.records()?;
        let named = name::select(text, records.iter().collect(), |record| {
            let others = names.get(&record.key).into_iter().flatten();
            others.chain([&record.node]).map(String::as_str).collect()
        });
        if !named.is_empty() {
            return Ok(named.into_iter().cloned().collect());
        }
        let is_prefix = text.len() >= 4 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        let fits = |record: &Record| is_prefix && record.key.to_string().starts_with(text);
        Ok(records.into_iter().filter(fits).collect())
    }

    /// The names that runs found entries under, other than those that they were made under.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn other_names(&self) -> Result<BTreeMap<ActionKey, BTreeSet<String>>, CacheError> {
        marks::other_names(&self.shared.files)
    }

    /// Remembers that a run found these entries under these names. A name that is lost is given again by the next run.
    pub fn also_called<'a>(&self, names: impl Iterator<Item = (ActionKey, &'a str)>) {
        if self.shared.files.writable()
            && let Err(error) = marks::also_called(&self.shared.files, names)
        {
            tracing::warn!(%error, "cannot save the entries' names");
        }
    }

    /// All records, newest first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn records(&self) -> Result<Vec<Record>, CacheError> {
        let mut records = self.shared.catalog.records(None)?;
        sort_newest_first(&mut records);
        Ok(records)
    }

    /// The records of a kind, newest first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn records_of_kind(&self, kind: &str) -> Result<Vec<Record>, CacheError> {
        let mut records = self.shared.catalog.records(Some(kind))?;
        sort_newest_first(&mut records);
        Ok(records)
    }

    /// The records that a query selects, in its order; the language is described in [`crate::query`]. `kinds` are those that
    /// there are, whether or not an entry has them.
    ///
    /// # Errors
    /// [`QueryError::Syntax`] with the place, also for a kind that is neither one of `kinds` nor that of an entry;
    /// [`QueryError::Cache`] if the records cannot be read.
    pub fn query(&self, text: &str, kinds: &[&str]) -> Result<Vec<Record>, QueryError> {
        let catalog = &self.shared.catalog;
        let unless_known = |kind: &str| {
            let mut all = match kinds.contains(&kind) {
                true => return None,
                // What is wrong with the records is reported when they are selected.
                false => catalog.kinds().ok()?,
            };
            all.extend(kinds.iter().map(|&kind| kind.to_owned()));
            (!all.is_empty() && !all.contains(kind)).then(|| all.into_iter().collect())
        };
        let query = Query::read(text, &unless_known)?;
        Ok(catalog.select(&query)?)
    }

    /// The parameters in a query that no record has, each with the nearest that one has. Reads all records.
    ///
    /// # Errors
    /// As [`Store::query`].
    pub fn unknown_params(&self, query: &str) -> Result<Vec<(String, Option<String>)>, QueryError> {
        let mut unknown = Query::read(query, &|_| None)?.params();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.records()?;
        let names = records.iter().flat_map(|record| record.components.iter());
        let known: BTreeSet<&str> = names.filter_map(|(name, _)| name.strip_prefix("param.")).collect();
        let name = |path: &[String]| Field::component(path).split_off("param.".len());
        unknown.retain(|path| !known.contains(name(path).as_str()));
        let nearest = |path: &Vec<String>| {
            let name = name(path);
            let near = nearest(&name, known.iter().copied()).map(|near| format!("params.{near}"));
            (format!("params.{name}"), near)
        };
        Ok(unknown.iter().map(nearest).collect())
    }

    /// What earlier runs of nodes were and took.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn past(&self) -> Result<Past, CacheError> {
        Past::open(&self.shared.files)
    }

    /// Moves an entry that turned out to be corrupt into the quarantine directory, so that its key is a miss.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn discard(&self, key: &ActionKey, why: &str) -> Result<(), CacheError> {
        self.shared.files.must_write()?;
        self.shared.set_aside(key, why)
    }

    /// Reads every record and hashes every blob again; changes nothing. One that cannot be read is part of the report, and does not end
    /// it. Nothing is collected meanwhile.
    ///
    /// # Errors
    /// [`CacheError::Limit`], [`CacheError::Io`] if the directories cannot be listed, [`CacheError::Interrupted`].
    pub fn verify(&self) -> Result<VerifyReport, CacheError> {
        let files = &self.shared.files;
        let _no_collection = match files.writable() {
            true => files.lock_publishing(Publishing::Together)?,
            false => None,
        };
        verify::verify(files)
    }

    /// The same, and sets what is damaged aside, each entry after another look at it: whoever published it anew meanwhile keeps it.
    ///
    /// # Errors
    /// As [`Store::verify`], and [`CacheError::ReadOnly`].
    pub fn repair(&self) -> Result<VerifyReport, CacheError> {
        self.shared.files.must_write()?;
        let report = self.verify()?;
        if !report.is_sound() || !report.corrupt_orphans.is_empty() {
            let _alone = self.shared.files.lock_publishing(Publishing::Alone)?;
            verify::repair(&self.shared, &report)?;
        }
        Ok(report)
    }

    /// From now on nothing is waited for once `stop` is raised: what waits for another process ends with [`CacheError::Interrupted`].
    pub fn stop_waiting_when(&self, stop: Arc<AtomicBool>) {
        // A second call changes nothing: a process has one way to be ended.
        let _ = self.shared.files.stop.set(stop);
    }

    /// Whose the store's files are.
    pub fn sharing(&self) -> Sharing {
        self.shared.files.sharing
    }

    /// Writes a file of the caller's in the store's directory in one piece. It is not synced: after a loss of power it may be gone.
    ///
    /// # Errors
    /// What the system says; on a read-only store that it is one.
    pub fn place(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let files = &self.shared.files;
        files.must_write().map_err(io::Error::other)?;
        let path = files.layout.root().join(name);
        files.disk.place(&files.layout.staging(), &path, bytes, false)
    }

    /// A directory for large files.
    ///
    /// # Errors
    /// As [`Store::work_folder`].
    pub fn large_folder(&self) -> Result<LargeFolder, CacheError> {
        self.work_folder().map(LargeFolder::Own)
    }

    /// A file for what is too large for memory.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn large_file(&self, folder: &Arc<LargeFolder>) -> Result<LargeWriter, CacheError> {
        folder.file(&self.shared.files)
    }

    /// A temporary directory in the store, for files on their way.
    ///
    /// # Errors
    /// [`CacheError::ReadOnly`], [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn work_folder(&self) -> Result<WorkFolder, CacheError> {
        WorkFolder::make(&self.shared.files)
    }

    /// Makes the store in `root` the owner's or the group's, with everything that is in it; makes it if it is absent. Every process that
    /// opens it from then on keeps to that.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn init(root: &Path, sharing: Sharing) -> Result<Self, CacheError> {
        let failed = |error| CacheError::io("make", root, error);
        if !root.exists() {
            sharing.create_dir_all(root).map_err(failed)?;
        }
        let store = Self::open(root, Access::ReadWrite)?;
        let files = &store.shared.files;
        files.write(&files.layout.config(), sharing.encode().as_bytes())?;
        sharing.apply(root).map_err(failed)?;
        drop(store);
        Self::open(root, Access::ReadWrite)
    }

    /// Deletes the index and rebuilds it from the records; how many there are. Needed only if a person doubts it:
    /// a broken index is noticed and rebuilt unasked.
    ///
    /// # Errors
    /// [`CacheError::Locked`] if another process holds the index, [`CacheError::ReadOnly`], [`CacheError::Io`].
    pub fn rebuild_index(&self) -> Result<usize, CacheError> {
        self.shared.catalog.rebuild()
    }

    /// The checkpoints of one key; removed when it publishes.
    pub fn scratch(&self, key: &ActionKey) -> Scratch {
        self.shared.scratch(key)
    }
}
