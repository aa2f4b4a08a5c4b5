//! Entries as one file, to be taken to another cache: a tar archive, compressed with zstd.
//!
//! It holds `flow-archive` (a line with the version), then `blobs/<digest>` and `records/<key>.json` as in the store, blobs
//! before the records that refer to them. Nothing of an archive is visible before all of it was read and verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::disk;
use crate::error::CacheError;
use crate::files::{Files, Lookup};
use crate::key::ActionKey;
use crate::record::{OutputFile, Record};
use crate::record_file;

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
    /// It is not an archive of flow, or damaged. Nothing of it was taken.
    #[error("{path} cannot be imported: {why}. Nothing was imported", path = path.display())]
    Unusable {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
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
    let staged = disk::temporary().tempfile_in(folder).map_err(failed)?;
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

/// An archive, read and verified; its blobs lie in a folder of their own.
pub(crate) struct Opened {
    folder: tempfile::TempDir,
    records: Vec<Record>,
}

impl Opened {
    /// Reads an archive whole. Every blob must be what its name says, and every record sound and complete.
    pub(crate) fn read(files: &Files, path: &Path) -> Result<Self, ArchiveError> {
        let unusable = |why: String| ArchiveError::Unusable {
            path: path.to_owned(),
            why,
        };
        let failed = |source| ArchiveError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let folder = tempfile::Builder::new()
            .prefix("import-")
            .tempdir_in(files.layout.staging());
        let folder = folder.map_err(|error| CacheError::io("make a directory in", &files.layout.staging(), error))?;
        let not_one = |error: io::Error| unusable(format!("it is not a flow archive, or it is truncated ({error})"));
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).map_err(not_one)?);
        let (mut blobs, mut records, mut known) = (BTreeMap::new(), Vec::new(), false);
        for entry in archive.entries().map_err(not_one)? {
            let mut entry = entry.map_err(not_one)?;
            let name = entry.path().map_err(not_one)?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(not_one)?;
            if name == HEAD {
                known = bytes == VERSION.as_bytes();
            } else if let Some(digest) = name.strip_prefix("blobs/").and_then(|hex| hex.parse::<Digest>().ok()) {
                if Digest::of(&bytes) != digest {
                    return Err(unusable(format!("{name} does not match the digest in its name")));
                }
                blobs.insert(digest, bytes.len() as u64);
                let staged = folder.path().join(digest.to_string());
                std::fs::write(&staged, bytes).map_err(|error| CacheError::io("write", &staged, error))?;
            } else if let Some(key) = key_of(&name) {
                let record = record_file::decode(&bytes, &key);
                records.push(record.map_err(|why| unusable(format!("{name} cannot be used: {why}")))?);
            } else {
                return Err(unusable(format!("it holds `{name}`, which is not part of an archive")));
            }
        }
        if !known {
            return Err(unusable(
                "it is not a flow archive, or one of another version".to_owned(),
            ));
        }
        let complete = |output: &OutputFile| blobs.get(&output.digest) == Some(&output.bytes);
        match records
            .iter()
            .find(|record: &&Record| !record.outputs.values().all(complete))
        {
            Some(record) => Err(unusable(format!("outputs of `{}` are missing from it", record.node))),
            None => Ok(Self { folder, records }),
        }
    }

    /// Publishes everything; an entry that is there already with other outputs stays as it is, which is an error.
    pub(crate) fn publish(&self, files: &Files, path: &Path) -> Result<Imported, ArchiveError> {
        let mut imported = Imported::default();
        for record in &self.records {
            match files.find(&record.key)? {
                Lookup::Sound(entry) if entry.collected => imported.new.push(record.key),
                Lookup::Sound(entry) if entry.record.outputs == record.outputs => imported.known.push(record.key),
                Lookup::Sound(_) => {
                    let why = format!("`{}` is in this cache already, with other outputs", record.node);
                    return Err(ArchiveError::Unusable {
                        path: path.to_owned(),
                        why,
                    });
                }
                Lookup::Damaged(_) | Lookup::Missing => imported.new.push(record.key),
            }
        }
        for record in self.records.iter().filter(|record| imported.new.contains(&record.key)) {
            for output in record.outputs.values() {
                let staged = self.folder.path().join(output.digest.to_string());
                let bytes = std::fs::read(&staged).map_err(|error| CacheError::io("read", &staged, error))?;
                files.put_blobs(&[(output.digest, &bytes)])?;
            }
            files.restore_record(record)?;
        }
        Ok(imported)
    }
}

fn key_of(name: &str) -> Option<ActionKey> {
    name.strip_prefix("records/")?.strip_suffix(".json")?.parse().ok()
}
