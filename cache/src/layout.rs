//! Where things lie in the store's folder. Paths only; nothing here touches the disk.

use std::path::{Path, PathBuf};

use crate::claim;
use crate::digest::Digest;
use crate::key::ActionKey;

/// Marks the folder for backup programs, see <https://bford.info/cachedir/>.
pub(crate) const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder is a cache of flow: its content can be computed again.\n\
    # Layout 1: blobs/ and records/ are the truth, index/ can be rebuilt from them.\n";

/// The paths under a store's root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that a store always has; first the one that takes what lies in the others' places.
    pub(crate) fn folders(&self) -> [PathBuf; 5] {
        [
            self.quarantine(),
            self.blobs(),
            self.records(),
            self.scratch(),
            self.staging(),
        ]
    }

    /// The files that are written or locked where they lie, or needed before anything else.
    pub(crate) fn own_files(&self) -> [PathBuf; 8] {
        [
            self.cachedir_tag(),
            self.config(),
            self.journal(),
            self.names(),
            self.index_lock(),
            self.staging_lock(),
            self.publish_lock(),
            self.claims_turn(),
        ]
    }

    /// The folders that are made when they are first needed.
    pub(crate) fn own_folders(&self) -> [PathBuf; 8] {
        [
            self.claims(),
            self.leases(),
            self.recall(),
            self.past(),
            self.pins(),
            self.tags(),
            self.collected(),
            self.index(),
        ]
    }

    /// Whether a name in the root says that it holds a cache: the tag, or records that were saved without it.
    pub(crate) fn marks_a_cache(&self, name: &str) -> bool {
        let path = self.root.join(name);
        path == self.cachedir_tag() || path == self.records()
    }

    pub(crate) fn cachedir_tag(&self) -> PathBuf {
        self.root.join("CACHEDIR.TAG")
    }

    /// Whose the store's files are, see [`crate::sharing`]; absent from a private store.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// `blobs/ab/<64 hex>`: spread over 256 folders by the first byte.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.blobs().join(&hex[..2]).join(hex)
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// The folder of the records whose key begins with that byte.
    pub(crate) fn records_from(&self, first: u8) -> PathBuf {
        self.records().join(format!("{first:02x}"))
    }

    /// `records/ab/<64 hex>.json`.
    pub(crate) fn record(&self, key: &ActionKey) -> PathBuf {
        let hex = key.to_string();
        self.records().join(&hex[..2]).join(format!("{hex}.json"))
    }

    /// Marks by people, and by the collector: see [`crate::marks`].
    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(crate) fn tags(&self) -> PathBuf {
        self.root.join("tags")
    }

    /// Names that entries were found under, see [`crate::marks::other_names`].
    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    pub(crate) fn collected(&self) -> PathBuf {
        self.root.join("collected")
    }

    /// Says that the outputs of a key were collected.
    pub(crate) fn collected_mark(&self, key: &ActionKey) -> PathBuf {
        self.collected().join(key.to_string())
    }

    /// What runs under way count on, see [`crate::lease`].
    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    /// Locked by all who publish together, and by a collector alone.
    pub(crate) fn publish_lock(&self) -> PathBuf {
        self.root.join("publish.lock")
    }

    /// What each process works on, see [`crate::claim`].
    pub(crate) fn claims(&self) -> PathBuf {
        self.root.join("claims")
    }

    /// Locked while claims are read or written.
    pub(crate) fn claims_turn(&self) -> PathBuf {
        self.claims().join(claim::TURN)
    }

    /// What each workflow's last run found, see [`crate::recall`].
    pub(crate) fn recall(&self) -> PathBuf {
        self.root.join("recall")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// The folder of one key's checkpoints.
    pub(crate) fn scratch_of(&self, key: &ActionKey) -> PathBuf {
        self.scratch().join(key.to_string())
    }

    /// Files on their way to their place.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Locked (shared) by every process that may have files in `staging/`.
    pub(crate) fn staging_lock(&self) -> PathBuf {
        self.root.join("staging.lock")
    }

    /// What was found broken, kept for a person to look at.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// One line for each commit, by every process: how the index learns of commits by others.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// What ran before, see [`crate::past`].
    pub(crate) fn past(&self) -> PathBuf {
        self.root.join("past")
    }

    /// The file of the nodes whose names' hashes begin with that byte.
    pub(crate) fn past_from(&self, first: u8) -> PathBuf {
        self.past().join(format!("{first:02x}"))
    }

    /// Says that every record has its line there.
    pub(crate) fn past_is_whole(&self) -> PathBuf {
        self.past().join("whole")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Locked by the one process that holds the index; names it.
    pub(crate) fn index_lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}
