//! Reading an archive that anyone may have made.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{ArchiveError, ArchiveLimits, HEAD, VERSION};
use crate::digest::Digest;
use crate::disk;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::record::Record;
use crate::record_file;
use crate::work_folder::WorkFolder;

/// The most memory that unpacking takes, as a power of two of bytes.
const WINDOW_LOG: u32 = 27;
/// Little of anything packs better than everything: before this the ratio is not looked at.
const UNPACKED_FREELY: u64 = 64 << 20;

/// An archive, read and verified: its blobs and records lie in a directory of their own, by digest and key.
pub(crate) struct Opened {
    folder: WorkFolder,
    /// The keys of its records, in the archive's order.
    pub(super) keys: Vec<ActionKey>,
}

impl Opened {
    /// Reads an archive whole. Every blob must be what its name says, and every record sound and complete.
    pub(crate) fn read(files: &Files, path: &Path, limits: ArchiveLimits) -> Result<Self, ArchiveError> {
        let cannot_read = |source| ArchiveError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let (file, _) = disk::open_plain(path).map_err(cannot_read)?;
        let mut reading = Reading {
            files,
            limits,
            folder: WorkFolder::make(files)?,
            blobs: HashMap::new(),
            records: HashMap::new(),
            keys: Vec::new(),
        };
        let result = reading.all(file).and_then(|()| reading.completeness());
        result.map_err(|stopped| match stopped {
            Stop::Why(why) => ArchiveError::Unusable {
                path: path.to_owned(),
                why: why + ". Nothing was imported",
            },
            Stop::Cache(error) => error.into(),
        })?;
        Ok(Self {
            folder: reading.folder,
            keys: reading.keys,
        })
    }

    /// Where a blob lies.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join(digest.to_string())
    }

    /// One of its records.
    pub(super) fn record(&self, key: &ActionKey) -> Result<Record, CacheError> {
        record_in(self.folder.path(), key)
    }
}

fn record_path(folder: &Path, key: &ActionKey) -> PathBuf {
    folder.join(format!("{key}.json"))
}

fn record_in(folder: &Path, key: &ActionKey) -> Result<Record, CacheError> {
    let path = record_path(folder, key);
    let bytes = std::fs::read(&path).map_err(|error| CacheError::io("read", &path, error))?;
    record_file::decode(&bytes, key).map_err(|error| CacheError::io("read", &path, io::Error::other(error)))
}

/// Why reading ends.
enum Stop {
    /// What is wrong with the archive.
    Why(String),
    /// The store failed.
    Cache(CacheError),
}

impl From<CacheError> for Stop {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// An archive that is being read.
struct Reading<'a> {
    files: &'a Files,
    limits: ArchiveLimits,
    folder: WorkFolder,
    /// The bytes of each blob.
    blobs: HashMap<Digest, u64>,
    /// The digest of the outputs that each record names.
    records: HashMap<ActionKey, Digest>,
    keys: Vec<ActionKey>,
}

impl Reading<'_> {
    fn all(&mut self, file: File) -> Result<(), Stop> {
        let limit = Rc::new(Cell::new(None));
        let broken = |error: io::Error| {
            Stop::Why(match limit.take() {
                Some(over) => over,
                None => format!("it is not a flow archive, or it is truncated ({error})"),
            })
        };
        let packed = Rc::new(Cell::new(0));
        let counted = Counted {
            inner: file,
            count: Rc::clone(&packed),
        };
        let mut decoder = zstd::Decoder::with_buffer(BufReader::new(counted)).map_err(broken)?;
        decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
        let bounded = Bounded {
            inner: decoder,
            count: 0,
            packed,
            limits: self.limits,
            over: Rc::clone(&limit),
        };
        let mut archive = tar::Archive::new(bounded);
        let (mut known, mut count) = (false, 0_u64);
        // As they are: nothing is read ahead for what says the names or holes of other entries, which are refused below.
        for entry in archive.entries().map_err(broken)?.raw(true) {
            let mut entry = entry.map_err(broken)?;
            count += 1;
            if count > self.limits.entries {
                let most = self.limits.entries;
                return Err(Stop::Why(format!(
                    "it holds more than {most} files, which `--max-entries` sets"
                )));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if !kind.is_file() {
                let what = describe(kind);
                return Err(Stop::Why(format!(
                    "{name:?} in it is {what}: an archive of flow holds regular files"
                )));
            }
            if name == HEAD {
                let mut version = Vec::new();
                (&mut entry).take(64).read_to_end(&mut version).map_err(broken)?;
                known = version == VERSION.as_bytes();
            } else if let Some(digest) = name.strip_prefix("blobs/").and_then(|hex| hex.parse::<Digest>().ok()) {
                self.blob(digest, &mut entry)
                    .map_err(|error| error.of(&name, &broken))?;
            } else if let Some(key) = key_of(&name) {
                self.record(key, &name, &mut entry)
                    .map_err(|error| error.of(&name, &broken))?;
            } else {
                return Err(Stop::Why(format!("it holds {name:?}, which is not part of an archive")));
            }
        }
        // What follows the end may be no more than filling, and the sums of the compression are at its very end.
        let mut rest = archive.into_inner();
        let mut buffer = [0; 4096];
        loop {
            match rest.read(&mut buffer).map_err(broken)? {
                0 => break,
                read if buffer[..read].iter().all(|byte| *byte == 0) => {}
                _ => return Err(Stop::Why("something follows its end".to_owned())),
            }
        }
        match known {
            true => Ok(()),
            false => Err(Stop::Why(
                "it is not a flow archive, or one of another version".to_owned(),
            )),
        }
    }

    /// Takes a blob in piece by piece: it may be larger than memory.
    fn blob(&mut self, digest: Digest, entry: &mut impl Read) -> Result<(), EntryError> {
        let staged = self.folder.path().join(digest.to_string());
        let cannot_write = |error| EntryError::Cache(CacheError::io("write", &staged, error));
        let mut file = match self.blobs.contains_key(&digest) {
            true => None, // A second time: it is looked at, not kept.
            false => Some(self.files.sharing.create_new(&staged).map_err(cannot_write)?),
        };
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0_u64);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = entry.read(&mut buffer).map_err(EntryError::Broken)?;
            if read == 0 {
                break;
            }
            let piece = &buffer[..read];
            hasher.update(piece);
            bytes += read as u64;
            if let Some(file) = &mut file {
                io::Write::write_all(file, piece).map_err(cannot_write)?;
            }
        }
        if Digest::from(hasher.finalize()) != digest {
            return Err(EntryError::Wrong(
                "does not have the content that its name says".to_owned(),
            ));
        }
        self.blobs.insert(digest, bytes);
        Ok(())
    }

    fn record(&mut self, key: ActionKey, name: &str, entry: &mut impl Read) -> Result<(), EntryError> {
        let most = self.limits.record_bytes;
        let mut bytes = Vec::new();
        entry
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(EntryError::Broken)?;
        if bytes.len() as u64 > most {
            return Err(EntryError::Wrong(format!(
                "has more than {most} bytes, which `--max-record-size` sets"
            )));
        }
        let record =
            record_file::decode(&bytes, &key).map_err(|why| EntryError::Wrong(format!("cannot be used: {why}")))?;
        let outputs = record.digest();
        match self.records.insert(key, outputs) {
            Some(first) if first == outputs => return Ok(()),
            Some(first) => {
                return Err(EntryError::Wrong(format!(
                    "is in it twice, with different outputs: {first} and {outputs}"
                )));
            }
            None => self.keys.push(key),
        }
        let staged = self.folder.path().join(name.trim_start_matches("records/"));
        let written = self.files.sharing.write(&staged, &bytes);
        written.map_err(|error| EntryError::Cache(CacheError::io("write", &staged, error)))
    }

    /// Whether all outputs of all records are in it.
    fn completeness(&self) -> Result<(), Stop> {
        for key in &self.keys {
            let record = record_in(self.folder.path(), key)?;
            let mut outputs = record.outputs.values();
            if !outputs.all(|output| self.blobs.get(&output.digest) == Some(&output.bytes)) {
                return Err(Stop::Why(format!("outputs of {:?} are missing in it", record.node)));
            }
        }
        Ok(())
    }
}

/// What is wrong with one entry.
enum EntryError {
    /// The archive cannot be read on.
    Broken(io::Error),
    /// As the rest of a sentence that begins with the entry's name.
    Wrong(String),
    Cache(CacheError),
}

impl EntryError {
    fn of(self, name: &str, broken: &impl Fn(io::Error) -> Stop) -> Stop {
        match self {
            Self::Broken(error) => broken(error),
            Self::Wrong(why) => Stop::Why(format!("{name} {why}")),
            Self::Cache(error) => Stop::Cache(error),
        }
    }
}

fn key_of(name: &str) -> Option<ActionKey> {
    name.strip_prefix("records/")?.strip_suffix(".json")?.parse().ok()
}

fn describe(kind: tar::EntryType) -> &'static str {
    use tar::EntryType as Kind;
    match kind {
        Kind::Link | Kind::Symlink => "a link",
        Kind::Char | Kind::Block => "a device",
        Kind::Fifo => "a pipe",
        Kind::Directory => "a directory",
        Kind::GNUSparse => "a file with holes",
        Kind::GNULongName | Kind::GNULongLink | Kind::XHeader | Kind::XGlobalHeader => "a name of more than 100 bytes",
        _ => "not a regular file",
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Stops where there is more than is allowed, and says so in `over`.
struct Bounded<R> {
    inner: R,
    count: u64,
    packed: Rc<Cell<u64>>,
    limits: ArchiveLimits,
    over: Rc<Cell<Option<String>>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        let ArchiveLimits { bytes, ratio, .. } = self.limits;
        let over = if self.count > bytes {
            Some(format!(
                "it unpacks to more than {bytes} bytes, which `--max-size` sets"
            ))
        } else if self.count > UNPACKED_FREELY && self.count / self.packed.get().max(1) > ratio {
            Some(format!(
                "it unpacks to more than {ratio} times its size, which `--max-ratio` sets"
            ))
        } else {
            None
        };
        match over {
            None => Ok(read),
            Some(why) => {
                self.over.set(Some(why));
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }
}
