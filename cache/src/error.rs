//! What can go wrong with the store, said to the person who must act.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::key::ActionKey;
use crate::output_name::BadOutputName;

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
    /// The machine, or a limit on this process, is in the way; nothing is damaged.
    #[error("cannot {action} {path}: {source}. {advice}", path = path.display())]
    Limit {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do about it, as sentences.
        advice: &'static str,
    },
    /// Ctrl-C while this process waited for another one.
    #[error("stopped while waiting for {holder}")]
    Interrupted {
        /// Who was waited for, as `process 123 on host (command, since ...)`.
        holder: String,
    },
    /// An output of a node has a name that no output can have.
    #[error("`{node}` has an output that cannot be stored: {source}")]
    BadOutputName {
        /// The node instance.
        node: String,
        /// The name, and what is wrong with it.
        source: BadOutputName,
    },
    /// No room for an artifact. What was published before can still be read.
    #[error(
        "the disk that holds the cache is full, or your quota on it used up: cannot {action} {path} ({source}). Nothing was lost. Free some space, or \
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
        "cache entry {key} is corrupt: output `{name}` at {path} {why}. `flow cache verify --repair` sets it aside, and the next \
         run computes it again; if this returns, check the disk",
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
    /// The directory holds something that is not a cache.
    #[error("{root} is neither empty nor a cache of flow. Choose another directory for the cache", root = root.display())]
    NotACache {
        /// The folder.
        root: PathBuf,
    },
    /// A record in a layout that this build does not know.
    #[error(
        "record {path} has schema {found}; this version of flow knows schema {known}. Use the version that wrote it, or \
         choose another cache directory",
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
        match (source.kind(), advice_on(&source)) {
            (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => Self::DiskFull { action, path, source },
            (_, Some(advice)) => Self::Limit {
                action,
                path,
                source,
                advice,
            },
            _ => Self::Io { action, path, source },
        }
    }

    /// Another process was faster each time.
    pub(crate) fn contested(action: &'static str, record: &Path) -> Self {
        let why = "other processes keep publishing and discarding this key: run again when they are done";
        Self::io(action, record, io::Error::other(why))
    }
}

/// Why a file or directory of our own is not there, however often it is made.
pub(crate) fn swept_away() -> io::Error {
    io::Error::other("other processes remove it each time as it is made")
}

/// What to do about a limit of the machine or of this process, if that is what failed.
fn advice_on(error: &io::Error) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let errno = error.raw_os_error().map(Errno::from_raw_os_error)?;
        Some(match errno {
            Errno::MFILE => {
                "This process may not open more files: raise the limit (`ulimit -n 4096`), or use fewer threads (`-j`), and run again"
            }
            Errno::NFILE => "The machine has too many files open: end other programs, and run again",
            Errno::NOMEM => {
                "There is not enough memory: end other programs, or raise the limit (`ulimit -v`), and run again"
            }
            Errno::FBIG => {
                "The file is larger than this process (`ulimit -f`) or the file system lets it be: raise the limit, and run again"
            }
            Errno::ROFS => {
                "The file system is mounted read-only, as it is after an error of the disk too: mount it writable, or choose another \
                 cache directory with `--cache`"
            }
            _ => return None,
        })
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        None
    }
}

/// Whether an error says nothing of the file, but of the machine at this moment: no file is damaged because of it.
pub(crate) fn is_limit(error: &io::Error) -> bool {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    full || advice_on(error).is_some()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn each_limit_of_the_machine_is_told_with_what_to_do() {
        let cases = [
            (Errno::MFILE, "ulimit -n"),
            (Errno::NFILE, "end other programs"),
            (Errno::NOMEM, "memory"),
            (Errno::FBIG, "ulimit -f"),
            (Errno::ROFS, "mount it writable"),
            (Errno::NOSPC, "Free some space"),
            (Errno::DQUOT, "quota"),
        ];
        for (errno, advice) in cases {
            let source = io::Error::from(errno);
            assert!(is_limit(&source), "{errno}");
            let told = CacheError::io("write", Path::new("/c/x"), source).to_string();
            assert!(told.contains("cannot write /c/x") && told.contains(advice), "{told}");
        }
        assert!(!is_limit(&Errno::IO.into()), "a bad sector is damage");
        assert!(!is_limit(&Errno::ISDIR.into()));
    }

    #[test]
    fn what_other_processes_undo_is_said_with_what_to_do() {
        let swept = CacheError::io("make a directory in", Path::new("cache/staging"), swept_away());
        let contested = CacheError::contested("publish", Path::new("cache/records/ab/abcd.json"));
        insta::assert_snapshot!(format!("{swept}\n{contested}"));
    }

    #[test]
    fn a_limit_of_the_machine_is_said_with_what_to_do() {
        let limits = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::FBIG,
            Errno::ROFS,
            Errno::NOSPC,
        ];
        let said = limits.map(|errno| CacheError::io("write", Path::new("cache/file"), errno.into()).to_string());
        insta::assert_snapshot!(said.join("\n\n"));
    }
}
