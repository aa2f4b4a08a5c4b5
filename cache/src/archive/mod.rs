//! Entries as one file, to be taken to another cache: a tar archive, compressed with zstd.
//!
//! It holds `flow-archive` (a line with the version), then `blobs/<digest>` and `records/<key>.json` as in the store, blobs
//! before the records that refer to them. Nothing of an archive is visible before all of it was read and verified.
//!
//! Who made an archive is not trusted: what it may hold is plain files with these names and nothing else, and what it may take is limited,
//! see [`ArchiveLimits`].

mod install;
mod read;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::record::Record;
use crate::record_file;

pub(crate) use install::install;
pub(crate) use read::Opened;

const HEAD: &str = "flow-archive";
const VERSION: &str = "flow archive 1\n";

/// Why entries could not be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The archive cannot be written or read.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The archive.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not an archive of flow, damaged, larger than is allowed, or contradicts itself or the store.
    #[error("{path} cannot be imported: {why}", path = path.display())]
    Unusable {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What an archive may take of the machine while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Files in it.
    pub entries: u64,
    /// Bytes of everything in it, unpacked; they are on the disk of the store before anything is taken.
    pub bytes: u64,
    /// Bytes of one record, which is read into memory.
    pub record_bytes: u64,
    /// How many bytes a packed byte may unpack to, once there are more than 64 MiB.
    pub ratio: u64,
}

impl ArchiveLimits {
    /// What is allowed unless someone says otherwise: a million files, 100 GiB, 16 MiB a record, 1000 bytes from one.
    pub const DEFAULT: Self = Self {
        entries: 1_000_000,
        bytes: 100 << 30,
        record_bytes: 16 << 20,
        ratio: 1000,
    };
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// The entries that were not there before, or whose outputs were not.
    pub new: Vec<ActionKey>,
    /// The entries that were there already.
    pub known: Vec<ActionKey>,
}

/// Writes entries with all their outputs.
pub(crate) fn export(files: &Files, records: &[Record], path: &Path) -> Result<u64, ArchiveError> {
    let failed = |source| ArchiveError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // The umask decides who may read it, as for any file: an archive is made to be given away.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let staged = builder.prefix("new-").tempfile_in(folder).map_err(failed)?;
    let compressed = zstd::Encoder::new(staged.as_file(), 0).map_err(failed)?;
    let mut archive = tar::Builder::new(compressed);
    add(&mut archive, HEAD, VERSION.as_bytes()).map_err(failed)?;
    let mut written = BTreeSet::new();
    for record in records {
        for (name, output) in &record.outputs {
            if written.insert(output.digest) {
                let bytes = files.read_output(&record.key, name, output)?;
                add(&mut archive, &format!("blobs/{}", output.digest), &bytes).map_err(failed)?;
            }
        }
        let bytes = record_file::encode(record).map_err(|error| failed(error.into()))?;
        add(&mut archive, &format!("records/{}.json", record.key), &bytes).map_err(failed)?;
    }
    let finished = archive
        .into_inner()
        .and_then(zstd::Encoder::finish)
        .and_then(|mut file| file.flush());
    finished.and_then(|()| staged.as_file().sync_all()).map_err(failed)?;
    let file = staged.persist(path).map_err(|error| failed(error.error))?;
    Ok(file.metadata().map_or(0, |data| data.len()))
}

/// The same entries give the same bytes: no times, no owners.
fn add(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}
