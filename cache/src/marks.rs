//! What people and the collector say of entries: pins, tags, and that the bytes of an entry are gone on purpose.
//!
//! Each mark is a small file named after what it marks (`pins/<key>`, `tags/<name>`, `collected/<key>`), durable like a record
//! and read when asked: there are few of them, and no index could contradict them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;

/// All marks of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Pinned keys, each with a note, which may be empty.
    pub pins: BTreeMap<ActionKey, String>,
    /// Tags, each with the key that it names.
    pub tags: BTreeMap<String, ActionKey>,
    /// Keys whose outputs were collected.
    pub collected: BTreeSet<ActionKey>,
}

impl Marks {
    pub(crate) fn read(files: &Files) -> Result<Self, CacheError> {
        let mut marks = Self::default();
        let layout = &files.layout;
        for (name, note) in contents(files, &layout.pins())? {
            marks.pins.extend(name.parse().ok().map(|key| (key, note)));
        }
        for (name, key) in contents(files, &layout.tags())? {
            marks.tags.extend(key.parse().ok().map(|key| (name, key)));
        }
        let collected = names(files, &layout.collected())?;
        marks.collected = collected.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(marks)
    }

    /// The tags of a key.
    pub fn tags_of(&self, key: &ActionKey) -> impl Iterator<Item = &str> {
        let key = *key;
        self.tags
            .iter()
            .filter(move |(_, tagged)| **tagged == key)
            .map(|(name, _)| name.as_str())
    }
}

/// Whether a tag can have that name: it must be a file's name, and not be taken for the beginning of a key.
pub(crate) fn is_tag(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let like_a_key = name.len() >= 4 && name.bytes().all(|b| b.is_ascii_hexdigit());
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.') && !like_a_key
}

/// Sets a mark.
pub(crate) fn set(files: &Files, folder: &Path, name: &str, content: &str) -> Result<(), CacheError> {
    files.must_write()?;
    files.create_dir(folder)?;
    files.write(&folder.join(name), content.as_bytes())
}

/// Takes a mark away; whether there was one.
pub(crate) fn unset(files: &Files, folder: &Path, name: &str) -> Result<bool, CacheError> {
    files.must_write()?;
    files.remove(&folder.join(name))
}

fn names(files: &Files, folder: &Path) -> Result<Vec<String>, CacheError> {
    match files.disk.list(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| CacheError::io("list", folder, error)),
    }
}

fn contents(files: &Files, folder: &Path) -> Result<Vec<(String, String)>, CacheError> {
    let read = |name: String| {
        let path = folder.join(&name);
        let bytes = files
            .disk
            .read(&path)
            .map_err(|error| CacheError::io("read", &path, error))?;
        Ok((name, String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    };
    names(files, folder)?.into_iter().map(read).collect()
}
