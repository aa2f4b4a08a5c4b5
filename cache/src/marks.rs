//! What people and the collector say of entries: pins, tags, and that the bytes of an entry are gone on purpose.
//!
//! Each mark is a small file named after what it marks (`pins/<key>`, `tags/<name>`, `collected/<key>`), durable like a record
//! and read when asked: there are few of them, and no index could contradict them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::CacheError;
use crate::files::{Files, is_damage};
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
            // The name pins, whatever became of the note.
            let note = note.unwrap_or_default();
            marks.pins.extend(name.parse().ok().map(|key| (key, note)));
        }
        for (name, key) in contents(files, &layout.tags())? {
            let key = key.and_then(|key| key.parse().ok());
            marks.tags.extend(key.map(|key| (name, key)));
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

/// The names that runs found entries under, other than those that they were made under: two nodes may have one key, and a node
/// may be renamed. One line for each in the file `names`: the key, and the name in quotes.
pub(crate) fn other_names(files: &Files) -> Result<BTreeMap<ActionKey, BTreeSet<String>>, CacheError> {
    let path = files.layout.names();
    let bytes = match files.disk.read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| CacheError::io("read", &path, error))?,
    };
    let mut names: BTreeMap<ActionKey, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        // A line that a process did not finish says nothing.
        let parsed = line.split_once(' ').and_then(|(key, name)| {
            let name: String = serde_json::from_str(name).ok()?;
            Some((key.parse().ok()?, name))
        });
        if let Some((key, name)) = parsed {
            names.entry(key).or_default().insert(name);
        }
    }
    Ok(names)
}

/// Writes down those of these names that are not known yet.
pub(crate) fn also_called<'a>(
    files: &Files,
    names: impl Iterator<Item = (ActionKey, &'a str)>,
) -> Result<(), CacheError> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    let known = other_names(files)?;
    let is_known = |key: &ActionKey, name: &str| known.get(key).is_some_and(|names| names.contains(name));
    let new = names.filter(|(key, name)| !is_known(key, name));
    let lines: String = new
        .map(|(key, name)| format!("{key} {}\n", serde_json::Value::from(name)))
        .collect();
    let path = files.layout.names();
    let appended = files.disk.append(&path, lines.as_bytes());
    appended.map_err(|error| CacheError::io("append to", &path, error))
}

fn names(files: &Files, folder: &Path) -> Result<Vec<String>, CacheError> {
    match files.disk.list(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| CacheError::io("list", folder, error)),
    }
}

/// The marks in a folder by name; of one that is damaged there is no content.
fn contents(files: &Files, folder: &Path) -> Result<Vec<(String, Option<String>)>, CacheError> {
    let read = |name: String| {
        let path = folder.join(&name);
        let content = match files.disk.read(&path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            Err(error) if is_damage(&error) => {
                tracing::warn!("{} cannot be read: {error}", path.display());
                None
            }
            Err(error) => return Err(CacheError::io("read", &path, error)),
        };
        Ok((name, content))
    };
    names(files, folder)?.into_iter().map(read).collect()
}
