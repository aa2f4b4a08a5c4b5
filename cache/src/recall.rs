//! What the last run of a workflow found, so that the next one need not read thousands of records again.
//!
//! A file `recall/<digest of the workflow's name>` holds the accounts of the artifacts that the last run took or made, each
//! with the stamp of its record's file. It is read beside other work, and an account counts only if the record's file still
//! has that stamp (size, times, inode) and every blob its length: what is left to trust is what [`crate::files::Files::find`]
//! trusts as well. Records come and go by renames, which their folder's times tell: where a folder has the stamp that it had,
//! the files in it are not looked at one by one. Whatever does not fit is looked up in the ordinary way, so that the file can
//! be lost at any time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::files::Files;
use crate::key::ActionKey;
use crate::stamp::{FolderStamps, Stamp};

/// The version of the file; another one is ignored.
const VERSION: u8 = 1;
/// The file begins with the version and the digest of what follows.
const HEADER: usize = 1 + 32;

/// Accounts that may be served without reading their records; each once, so that one that is discarded is not served again.
#[derive(Default)]
pub(crate) enum Recall {
    #[default]
    Nothing,
    Reading(JoinHandle<HashMap<ActionKey, Remembered>>),
    Ready(HashMap<ActionKey, Remembered>),
}

/// One account as it was found.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) account: Arc<Account>,
    pub(crate) stamp: Stamp,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Memory {
    folders: FolderStamps,
    accounts: Vec<Remembered>,
}

impl Recall {
    /// Begins to read what is remembered under `name`.
    pub(crate) fn begin(files: &Arc<Files>, name: &str) -> Self {
        let (path, files) = (path(files, name), Arc::clone(files));
        let thread = std::thread::Builder::new().name("recall".to_owned());
        match thread.spawn(move || read(&path, &files)) {
            Ok(reading) => Self::Reading(reading),
            Err(error) => {
                tracing::debug!(%error, "nothing is recalled");
                Self::Nothing
            }
        }
    }

    /// Gives the account of a key away; waits for the reading to end.
    pub(crate) fn take(&mut self, key: &ActionKey) -> Option<Remembered> {
        if let Self::Reading(_) = self
            && let Self::Reading(reading) = std::mem::take(self)
        {
            // A panic there would be a defect, and costs no more than time.
            *self = Self::Ready(reading.join().unwrap_or_default());
        }
        match self {
            Self::Ready(accounts) => accounts.remove(key),
            Self::Nothing | Self::Reading(_) => None,
        }
    }
}

/// Remembers what a run took and made under `name`, unless that is what was remembered already. It only saves time, so that
/// a failure is a note for developers.
pub(crate) fn remember(files: &Files, recall: &Recall, name: &str, artifacts: &[&Artifact]) {
    let is_known = artifacts.iter().all(|artifact| artifact.stamp().is_some());
    if is_known && matches!(recall, Recall::Ready(left) if left.is_empty()) {
        // Its time says when these were used last.
        let touched =
            std::fs::File::open(path(files, name)).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        if touched.is_ok() {
            return;
        }
    }
    let remembered = |artifact: &&Artifact| {
        let account = artifact.shared_account();
        let stamp = artifact
            .stamp()
            .or_else(|| Stamp::of(&files.layout.record(&account.key)))?;
        Some(Remembered { account, stamp })
    };
    let all = Memory {
        folders: FolderStamps::now(&files.layout),
        accounts: artifacts.iter().filter_map(remembered).collect(),
    };
    if let Err(error) = write(&path(files, name), &all) {
        tracing::debug!(%error, "what this run found is not remembered");
    }
}

fn write(path: &Path, all: &Memory) -> Result<(), String> {
    let body = postcard::to_stdvec(all).map_err(|e| e.to_string())?;
    let whole = [&[VERSION], &Digest::of(&body).as_bytes()[..], &body].concat();
    let folder = path.parent().unwrap_or(path);
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&temporary, whole))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| e.to_string())
}

/// What is remembered and still lies there as it did; nothing if the file is absent, damaged or of another version.
fn read(path: &Path, files: &Files) -> HashMap<ActionKey, Remembered> {
    let _span = tracing::debug_span!("recall").entered();
    let Some(memory) = std::fs::read(path).ok().and_then(|bytes| decode(&bytes)) else {
        return HashMap::new();
    };
    let layout = &files.layout;
    let now = FolderStamps::now(layout);
    let unchanged = |one: &Remembered| memory.folders.is_unchanged(one.account.key.first_byte(), &now);
    let is_there = |one: &Remembered| {
        let mut outputs = one.account.outputs.values();
        (unchanged(one) || Stamp::of(&layout.record(&one.account.key)) == Some(one.stamp))
            && outputs.all(|output| files.disk.len(&layout.blob(&output.digest)).ok() == Some(output.bytes))
    };
    let kept = memory.accounts.iter().map(is_there).collect::<Vec<bool>>();
    let kept = memory.accounts.into_iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(one, _)| (one.account.key, one)).collect()
}

fn decode(bytes: &[u8]) -> Option<Memory> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let (version, digest) = header.split_first()?;
    if *version != VERSION || digest != Digest::of(body).as_bytes() {
        return None;
    }
    postcard::from_bytes(body).ok()
}

/// When the keys of all workflows' latest runs were used last, in milliseconds since 1970 (UTC): the time of their file.
pub(crate) fn last_used(files: &Files) -> HashMap<ActionKey, f64> {
    let mut used: HashMap<ActionKey, f64> = HashMap::new();
    for entry in std::fs::read_dir(files.layout.recall()).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|data| data.modified()).ok();
        let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let memory = std::fs::read(entry.path()).ok().and_then(|bytes| decode(&bytes));
        for one in memory.into_iter().flat_map(|memory| memory.accounts) {
            let at = used.entry(one.account.key).or_default();
            *at = at.max(modified.unwrap_or_default().as_millis() as f64);
        }
    }
    used
}

/// One file for each workflow.
fn path(files: &Files, name: &str) -> PathBuf {
    files.layout.recall().join(Digest::of(name.as_bytes()).to_string())
}
