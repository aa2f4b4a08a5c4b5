//! Action keys and the components that they are made of.
//!
//! One struct, [`KeyFields`], says what an action depends on. It becomes a list of [`Components`], of which the key *is* the digest
//! ([`Components::key`]), so that the explanation of a miss cannot drift from the key.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, ParseDigestError};

/// Separates these hashes from every other use of BLAKE3, and names the version of the encoding.
const DOMAIN: &[u8] = b"flow action key, encoding 1\0";

/// What was done, to what: the digest of a list of [`Components`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionKey(Digest);

impl ActionKey {
    /// The first twelve hexadecimal digits: enough for people.
    pub fn short(&self) -> String {
        self.0.short()
    }

    /// The digest that the key is.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl From<Digest> for ActionKey {
    /// For a key that was stored as its digest; a new one comes from [`Components::key`].
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionKey({})", self.short())
    }
}

impl FromStr for ActionKey {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Everything that an action key depends on, by name: `kind`, `version`, `param.optimizer.lr`, `input.data.0`, `file.0`, ...
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Components(BTreeMap<String, Value>);

/// One component that differs between two lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The component's name, e.g. `param.optimizer.lr`.
    pub name: String,
    /// Its earlier value; `None` if it is new.
    pub old: Option<Value>,
    /// Its value now; `None` if it is missing.
    pub new: Option<Value>,
}

impl Components {
    /// The value of one component.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All components, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What changed from `self` (the earlier list) to `newer`, sorted by name.
    pub fn diff(&self, newer: &Components) -> Vec<Change> {
        let gone_or_changed = self
            .0
            .iter()
            .filter(|(name, old)| newer.0.get(*name) != Some(old))
            .map(|(name, old)| Change {
                name: name.clone(),
                old: Some(old.clone()),
                new: newer.0.get(name).cloned(),
            });
        let added = newer
            .0
            .iter()
            .filter(|(name, _)| !self.0.contains_key(*name))
            .map(|(name, new)| Change {
                name: name.clone(),
                old: None,
                new: Some(new.clone()),
            });
        let mut changes: Vec<Change> = gone_or_changed.chain(added).collect();
        changes.sort_by(|a, b| a.name.cmp(&b.name));
        changes
    }

    /// The action key of this list.
    pub fn key(&self) -> ActionKey {
        ActionKey(Digest::of(&encode(self.0.iter())))
    }

    /// The digest of everything but the inputs: equal for two records of which people changed nothing themselves.
    pub fn own_digest(&self) -> Digest {
        Digest::of(&encode(self.0.iter().filter(|(name, _)| !name.starts_with("input."))))
    }
}

/// The canonical encoding: sorted by name, each name and each value (as canonical JSON) after its length.
fn encode<'a>(components: impl Iterator<Item = (&'a String, &'a Value)>) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    for (name, value) in components {
        let mut json = String::new();
        write_canonical(value, &mut json);
        for part in [name.as_str(), &json] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}

/// JSON with one spelling for each value: no spaces, sorted keys, integers in decimal digits, floats in the shortest
/// scientific form that reads back to the same bits (std's `{:e}`, so that no other crate's taste can change a key).
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            out.push_str(&format!("{float:e}"));
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (i, (name, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(&Value::String(name.clone()), out);
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        // Null, booleans, integers and strings have one compact spelling already.
        _ => out.push_str(&value.to_string()),
    }
}

/// Everything that decides what an action makes, field by field: the one source of the key and of its explanation. What is not here
/// changes nothing, or its content is here by digest: no path, time, host or thread count.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFields {
    /// The node kind: two kinds with equal parameters do different things. Component `kind`.
    pub kind: String,
    /// Raised when the kind's code changes meaning, so that what it made before is recomputed. Component `version`.
    pub version: u32,
    /// Parameters with defaults filled in, without what names nodes and files and what changes nothing. A table becomes one component
    /// for each of its leaves: `optimizer = { lr = 0.1 }` is `param.optimizer.lr`; a key that is no plain word is quoted as in TOML.
    pub params: BTreeMap<String, Value>,
    /// What the action takes from other nodes, by content.
    pub inputs: Vec<InputField>,
    /// What it reads from outside the workflow, by content.
    pub files: Vec<FileField>,
}

/// One input of an action: component `input.<port>.<place>`, and `.label` where names are part of the meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct InputField {
    /// The parameter that names the input.
    pub port: String,
    /// Where in the parameter it stands: a number in a list, or the name under which the action sees it.
    pub place: String,
    /// Digest of what the input's node made: equal content, equal key, regardless of who made it.
    pub digest: Digest,
    /// The node's name and bindings, where the action sees them (a table that prints them).
    pub label: Option<String>,
}

/// One file or directory: component `file.<role>`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileField {
    /// What it is to the action, e.g. `path/train.gz` or `code/train.py`; never where it lies on this machine.
    pub role: String,
    /// Digest of its content; of a directory, of the names and contents of all below it.
    pub digest: Digest,
}

impl KeyFields {
    /// An action of a node kind at its `version`, without parameters, inputs and files.
    pub fn new(kind: &str, version: u32) -> Self {
        let (params, inputs, files) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self {
            kind: kind.to_owned(),
            version,
            params,
            inputs,
            files,
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: &Value) -> Self {
        self.params.insert(name.to_owned(), value.clone());
        self
    }

    /// Adds the input at a place of a port.
    #[must_use]
    pub fn input(mut self, port: &str, place: impl ToString, digest: Digest, label: Option<&str>) -> Self {
        let (port, place, label) = (port.to_owned(), place.to_string(), label.map(str::to_owned));
        self.inputs.push(InputField {
            port,
            place,
            digest,
            label,
        });
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, role: &str, digest: Digest) -> Self {
        self.files.push(FileField {
            role: role.to_owned(),
            digest,
        });
        self
    }

    /// The components that are hashed and that explain a miss. Their order does not depend on that of the fields.
    ///
    /// # Panics
    /// If two inputs have one port and place, or two files one role, with different digests: a defect of the node kind.
    pub fn components(&self) -> Components {
        let Self {
            kind,
            version,
            params,
            inputs,
            files,
        } = self;
        let mut components = Components::default();
        components.add("kind".to_owned(), kind.as_str().into());
        components.add("version".to_owned(), (*version).into());
        for (name, value) in params {
            components.add_leaves(format!("param.{}", quote_unless_plain(name)), value);
        }
        for InputField {
            port,
            place,
            digest,
            label,
        } in inputs
        {
            let name = format!("input.{port}.{}", quote_unless_plain(place));
            if let Some(label) = label {
                components.add(format!("{name}.label"), label.as_str().into());
            }
            components.add(name, digest.to_string().into());
        }
        for FileField { role, digest } in files {
            components.add(format!("file.{role}"), digest.to_string().into());
        }
        components
    }

    /// The key, and what it is made of.
    pub fn finish(&self) -> (ActionKey, Components) {
        let components = self.components();
        (components.key(), components)
    }
}

impl Components {
    fn add_leaves(&mut self, name: String, value: &Value) {
        match value {
            // An empty table is a leaf: it must not read like an absent one.
            Value::Object(map) if !map.is_empty() => {
                for (field, value) in map {
                    self.add_leaves(format!("{name}.{}", quote_unless_plain(field)), value);
                }
            }
            _ => self.add(name, value.clone()),
        }
    }

    fn add(&mut self, name: String, value: Value) {
        let earlier = self.0.insert(name.clone(), value);
        assert!(
            earlier.is_none() || earlier.as_ref() == self.0.get(&name),
            "BUG: two values for `{name}` of an action key"
        );
    }
}

/// A table key as TOML would write it in a dotted path, so that `a."b.c"` and `a.b.c` stay different.
pub(crate) fn quote_unless_plain(field: &str) -> String {
    let plain = !field.is_empty()
        && field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain {
        field.to_owned()
    } else {
        Value::from(field).to_string()
    }
}

#[cfg(test)]
mod tests;
