//! Scratch space of one action: checkpoints, bound to its key, gone once it publishes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;

/// The first bytes of a checkpoint, with the version of its layout: then the digest, then the content.
const MAGIC: &[u8; 16] = b"flow scratch v1\n";
const HEADER: usize = MAGIC.len() + 32;

/// The checkpoints of one action.
#[derive(Clone)]
pub struct Scratch {
    key: ActionKey,
    files: Arc<Files>,
}

impl Scratch {
    pub(crate) fn new(key: ActionKey, files: Arc<Files>) -> Self {
        Self { key, files }
    }

    /// What was saved last under `name`; `None` if there is nothing, or nothing whole, or it belongs to another action.
    ///
    /// # Errors
    /// [`CacheError::InvalidName`], [`CacheError::Io`].
    pub fn load(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(name)?;
        let mut bytes = match self.files.disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::io("read", &path, error)),
        };
        let sound = bytes.len() >= HEADER
            && bytes[..MAGIC.len()] == MAGIC[..]
            && bytes[MAGIC.len()..HEADER] == self.checksum(name, &bytes[HEADER..]).as_bytes()[..];
        if !sound {
            tracing::warn!(path = %path.display(), "checkpoint is torn or belongs to another action: ignored");
            return Ok(None);
        }
        bytes.drain(..HEADER);
        Ok(Some(bytes))
    }

    /// Saves `bytes` under `name`: after a crash the checkpoint is the earlier one or this one, never a mixture.
    ///
    /// # Errors
    /// [`CacheError::InvalidName`], [`CacheError::ReadOnly`], [`CacheError::DiskFull`], [`CacheError::Io`].
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.files.must_write()?;
        let path = self.path(name)?;
        let dir = self.files.layout.scratch_of(&self.key);
        if self.files.create_dir(&dir)? {
            self.files.sync_dir(&self.files.layout.scratch())?;
        }
        let checksum = self.checksum(name, bytes);
        self.files
            .write(&path, &[&MAGIC[..], checksum.as_bytes(), bytes].concat())
    }

    /// Removes all checkpoints of the action. What cannot be removed only takes space.
    pub(crate) fn remove(&self) {
        let dir = self.files.layout.scratch_of(&self.key);
        match self.files.disk.remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), %error, "checkpoints of a published action left behind");
            }
            _ => {}
        }
    }

    /// Covers the key and the name, so that a checkpoint moved to another action's place is not taken for its own.
    fn checksum(&self, name: &str, bytes: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        hasher.update(self.key.digest().as_bytes());
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(bytes);
        hasher.finalize().into()
    }

    fn path(&self, name: &str) -> Result<PathBuf, CacheError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
        if (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.') {
            Ok(self.files.layout.scratch_of(&self.key).join(name))
        } else {
            Err(CacheError::InvalidName { name: name.to_owned() })
        }
    }
}
