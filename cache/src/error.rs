//! What can go wrong with the store, said to the person who must act.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::key::ActionKey;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The operating system refused something.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb: `read`, `rename`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room for an artifact. What was published before can still be read.
    #[error(
        "the disk that holds the cache is full: cannot {action} {path} ({source}). Nothing was lost. Free some space, or \
         point the cache at another disk, and run again: what is cached is not computed again",
        path = path.display()
    )]
    DiskFull {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A published file no longer has the content that its record says.
    #[error(
        "cache entry {key} is corrupt: output `{name}` at {path} {why}. Discard the entry to have it computed again; if \
         this returns, check the disk",
        key = key.short(), path = path.display()
    )]
    Corrupt {
        /// The entry's key.
        key: ActionKey,
        /// The output's name.
        name: String,
        /// The blob.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        why: String,
    },
    /// The same action gave other bytes than before.
    #[error(transparent)]
    NonDeterministic(Box<NonDeterminism>),
    /// Another process holds what this one must have to itself.
    #[error("the cache's index is in use by {holder} (lock file {path}). Wait for it to end, or stop it, and try again", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process, as `process 123 on host`.
        holder: String,
    },
    /// Something had to be written to a store that is open for reading or cannot be written to.
    #[error("the cache at {root} is read-only. Make it writable, or choose a cache directory of your own", root = root.display())]
    ReadOnly {
        /// The store's folder.
        root: PathBuf,
    },
    /// The folder holds something that is not a cache.
    #[error("{root} is neither empty nor a cache of flow. Choose another directory for the cache", root = root.display())]
    NotACache {
        /// The folder.
        root: PathBuf,
    },
    /// A record in a layout that this build does not know.
    #[error(
        "record {path} has schema {found}; this version of flow knows schema {known}. Use the version that wrote it, or \
         choose another cache folder",
        path = path.display()
    )]
    UnknownSchema {
        /// The record's file.
        path: PathBuf,
        /// The version found there.
        found: u64,
        /// The version that this build reads and writes.
        known: u32,
    },
    /// What was to be published contradicts itself; a defect of the caller.
    #[error("BUG: the draft of `{node}` for key {key} cannot be published: {why}", key = key.short())]
    InvalidDraft {
        /// The key it was for.
        key: ActionKey,
        /// The node instance.
        node: String,
        /// What is wrong.
        why: String,
    },
    /// A tag's name that cannot be one.
    #[error(
        "`{name}` cannot be a tag: expected 1 to 64 letters, digits, `_`, `-` and `.`, and not only hexadecimal digits"
    )]
    InvalidTag {
        /// The name given.
        name: String,
    },
    /// A checkpoint's name that cannot be a file name.
    #[error(
        "`{name}` cannot name a checkpoint: expected 1 to 64 of a-z, 0-9, `_`, `-` and `.`, not beginning with `.`"
    )]
    InvalidName {
        /// The name given.
        name: String,
    },
}

/// Two runs of one action with different outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{node}` is not deterministic: under the same key {key} its outputs were {published} before and are {new} now \
     (differing: {files}). The earlier ones are kept. If the node's code changed, raise its VERSION; otherwise look \
     for a clock, an unseeded random stream or a reduction whose order varies",
    key = key.short(), published = published.short(), new = new.short(), files = files.join(", ")
)]
pub struct NonDeterminism {
    /// The shared key.
    pub key: ActionKey,
    /// The node instance that ran now.
    pub node: String,
    /// The digest of the outputs that are published.
    pub published: Digest,
    /// The digest of the outputs that came out now.
    pub new: Digest,
    /// The names of the outputs that differ.
    pub files: Vec<String>,
}

impl CacheError {
    /// Sorts a failed file operation into the kinds that ask for different acts.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}
