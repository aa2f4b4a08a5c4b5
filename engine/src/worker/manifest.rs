//! What a worker process is given, and what it says: the whole of its link to the engine.
//!
//! Its first line on stdin is a manifest (JSON), which may hold secrets and so never lies on a disk. It says [`WorkerMessage`] as JSON lines on
//! stdout and leaves its outputs as files `0`, `1`, .. in the staging folder. On stdin a line `stop` asks it to stop; the end of stdin means
//! that the engine is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flow_cache::{ActionKey, Digest, HandedOver};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shown;
use crate::os_path;

/// Everything that a worker process needs to know.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The engine's, which must be the worker's: a result is of the program that its key was made by.
    pub(super) build: String,
    pub(super) name: String,
    pub(super) kind: String,
    /// All of the node's parameters, defaults filled in.
    pub(super) params: Value,
    pub(super) key: ActionKey,
    /// By port.
    pub(super) inputs: BTreeMap<String, Vec<ManifestInput>>,
    pub(super) files: Vec<ManifestFile>,
    pub(super) secrets: Vec<(String, String)>,
    /// The files that the engine prints to, which are no part of any code: device and inode.
    pub(super) printed: Vec<(u64, u64)>,
    pub(super) threads: usize,
    pub(super) gpus: Vec<String>,
    /// The store, where inputs are read and checkpoints kept.
    #[serde(with = "os_path")]
    pub(super) cache: PathBuf,
    /// Where outputs are left.
    #[serde(with = "os_path")]
    pub(super) staging: PathBuf,
    /// Where large ones are made, in the store's directory.
    #[serde(with = "os_path")]
    pub(super) large: PathBuf,
}

/// A file that the node reads.
#[derive(Serialize, Deserialize)]
pub(super) struct ManifestFile {
    #[serde(with = "os_path")]
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
}

/// One input of a port.
#[derive(Serialize, Deserialize)]
pub(super) struct ManifestInput {
    pub(super) node: String,
    pub(super) bindings: BTreeMap<String, Value>,
    pub(super) key: ActionKey,
}

/// One line of what a worker process says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkerMessage {
    Progress(Shown),
    Note(String),
    /// What the run is told as a warning, as if the node ran in its process.
    Warning(String),
    Done {
        /// The names of the outputs, in the order of their files.
        files: Vec<String>,
        /// Those that are in the store's directory, by their names there.
        large: Vec<(String, HandedOver)>,
        /// As bits: a metric need not be finite.
        metrics: BTreeMap<String, u64>,
        wall_s: f64,
        peak_rss_bytes: Option<u64>,
    },
    Stopped,
    Failed {
        message: String,
        help: Option<String>,
    },
    /// An input could not be read as it was published.
    Corrupt {
        key: ActionKey,
        name: String,
        #[serde(with = "os_path")]
        path: PathBuf,
        why: String,
    },
    Panicked(String),
}
