//! Action keys and the components that they are made of.
//!
//! One builder feeds both the hash and the list of components, so that the explanation of a miss cannot drift from the key:
//! the key *is* the digest of the components ([`Components::key`]).

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
    /// Its value now; `None` if it is gone.
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

/// Collects the components of a key. The order of the calls does not matter.
#[derive(Clone, Debug)]
pub struct KeyBuilder(Components);

impl KeyBuilder {
    /// Starts the key of one action of a node kind at its `version`.
    pub fn new(kind: &str, version: u32) -> Self {
        Self(Components::default())
            .component("kind".into(), kind.into())
            .component("version".into(), version.into())
    }

    /// A parameter: component `param.<path>`. A table becomes one component for each of its leaves, so that
    /// `optimizer = { lr = 0.1 }` is `param.optimizer.lr`; a key that is no plain word is quoted as in TOML.
    pub fn param(self, path: &str, value: &Value) -> Self {
        self.flatten(format!("param.{path}"), value)
    }

    /// The content digest of one input: component `input.<port>.<index>`, and `.label` where a name is part of the meaning.
    pub fn input(self, port: &str, index: usize, digest: Digest, label: Option<&str>) -> Self {
        let name = format!("input.{port}.{index}");
        let labelled = match label {
            Some(label) => self.component(format!("{name}.label"), label.into()),
            None => self,
        };
        labelled.component(name, digest.to_string().into())
    }

    /// The content digest of a file outside the workflow: component `file.<name>`. The name must not be a path of this machine.
    pub fn file(self, name: &str, digest: Digest) -> Self {
        self.component(format!("file.{name}"), digest.to_string().into())
    }

    /// The key, and what it is made of.
    pub fn finish(self) -> (ActionKey, Components) {
        (self.0.key(), self.0)
    }

    fn flatten(mut self, name: String, value: &Value) -> Self {
        match value {
            // An empty table is a leaf: it must not read like an absent one.
            Value::Object(map) if !map.is_empty() => {
                for (field, value) in map {
                    self = self.flatten(format!("{name}.{}", quote_unless_plain(field)), value);
                }
                self
            }
            _ => self.component(name, value.clone()),
        }
    }

    fn component(mut self, name: String, value: Value) -> Self {
        if let Some(earlier) = self.0.0.insert(name.clone(), value) {
            panic!("BUG: component `{name}` of an action key given twice, first as {earlier}");
        }
        self
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
