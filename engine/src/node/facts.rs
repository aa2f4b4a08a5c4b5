//! What is known of a node's output before anything runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::ArtifactType;
use super::identity::NodeFile;

/// What a node can say of its output before anything ran (shape, classes, number of images, ...): a value of the node kinds' own
/// types, passed from inputs to outputs along the graph, so that impossible combinations are errors before the first node runs.
#[derive(Clone, Default)]
pub struct Facts(Option<Arc<dyn Any + Send + Sync>>);

impl Facts {
    /// Unknown before the node has run.
    pub fn unknown() -> Self {
        Self(None)
    }

    /// This is known.
    pub fn of(facts: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(facts)))
    }

    /// What is known, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Facts(..)"
        } else {
            "Facts(unknown)"
        })
    }
}

/// What is known of one input.
#[derive(Clone, Debug)]
pub struct InputFact {
    /// As [`super::Input::node`].
    pub node: String,
    /// As [`super::Input::bindings`].
    pub bindings: BTreeMap<String, Value>,
    /// What sort of artifact it is.
    pub artifact: ArtifactType,
    /// What its node says of it.
    pub facts: Facts,
}

/// What is known of the inputs, by port, in the order of the port's refs, and where files are.
#[derive(Clone, Debug, Default)]
pub struct InputFacts {
    by_port: BTreeMap<&'static str, Vec<InputFact>>,
    folder: PathBuf,
}

impl InputFacts {
    /// Of a node whose paths are relative to `folder`.
    pub fn new(by_port: BTreeMap<&'static str, Vec<InputFact>>, folder: &Path) -> Self {
        Self {
            by_port,
            folder: folder.to_owned(),
        }
    }

    /// All inputs of a port; none if it was left out.
    pub fn all(&self, port: &str) -> &[InputFact] {
        self.by_port.get(port).map_or(&[], Vec::as_slice)
    }

    /// What is known of the first input of a port, if it is there and its facts are of this type.
    pub fn get<T: Any>(&self, port: &str) -> Option<&T> {
        self.all(port).first()?.facts.get()
    }

    /// What the node's paths are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file is, for kinds that read headers before anything runs.
    pub fn path(&self, file: &NodeFile) -> PathBuf {
        self.folder.join(&file.path)
    }
}

/// An error in a node's parameters. The engine adds file, line and column from `key`.
#[derive(Clone, Debug)]
pub struct ParamError {
    /// The parameter's path inside the node's table, e.g. `optimizer.lr`; empty for the node itself.
    pub key: String,
    /// What is wrong, with the value found and what was expected.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}
