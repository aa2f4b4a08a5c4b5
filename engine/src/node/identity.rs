//! Types of parameters that say what is part of a node's key. A worker process gets all parameters as they are; a key gets
//! [`crate::projection`] of them, which tells these types by the names given to serde, never by comparing text.

use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

use flow_cache::Digest;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(crate) use super::port::NODE_REF;

/// A parameter that names a file or a directory outside the workflow, relative to the workflow file. Its content is part of the key
/// ([`super::Node::files`] says as what); where it lies is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "flow::DeclaredFile", from = "PathBuf")]
pub struct DeclaredFile(PathBuf);

impl JsonSchema for DeclaredFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "path".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}

/// The name by which serde tells it.
pub(crate) const DECLARED_FILE: &str = "flow::DeclaredFile";

impl DeclaredFile {
    /// The path, relative to the workflow file, in one spelling: `lib//a`, `./lib/a` and `lib/a/` are `lib/a`.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for DeclaredFile {
    fn from(path: PathBuf) -> Self {
        let plain: PathBuf = path
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .collect();
        // The workflow's own folder.
        Self(if plain.as_os_str().is_empty() && !path.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            plain
        })
    }
}

/// A file or a directory that a node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// What it is to the node; part of the key. As a rule the parameter that leads to it, e.g. `init.file` or `path/train.gz`, and
    /// never where it lies, unless the node sees that.
    pub role: String,
    /// Where it lies, relative to the workflow file.
    pub path: PathBuf,
}

impl NodeFile {
    /// The file that the parameter `role` names.
    pub fn new(role: impl Into<String>, file: &DeclaredFile) -> Self {
        Self {
            role: role.into(),
            path: file.0.clone(),
        }
    }

    /// The file `name` in the directory that the parameter `role` names.
    pub fn within(role: &str, folder: &DeclaredFile, name: &str) -> Self {
        Self {
            role: format!("{role}/{name}"),
            path: folder.0.join(name),
        }
    }
}

/// A [`NodeFile`] as `run` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The digest of its content that is in the key.
    pub digest: Digest,
}

/// A parameter that changes nothing in what the node makes, such as a number of threads. It is not part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "flow::NotInKey")]
pub struct NotInKey<T>(pub T);

/// The name by which serde tells it.
pub(crate) const NOT_IN_KEY: &str = "flow::NotInKey";

impl<T> Deref for NotInKey<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
