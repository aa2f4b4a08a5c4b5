//! The node kinds that a binary knows: one line each.
//!
//! ```text
//! let mut registry = Registry::new();
//! registry.register::<DatasetNode>();
//! registry.register::<PretrainNode>();
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use flow_cache::Artifact;
use serde_json::Value;

use crate::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Lineage, Node, NodeError, Output, ParamError, Port, Report,
    Resources,
};

/// Why a node's table is not what its kind takes: serde's message, and the path of the value it is about.
pub(crate) struct ParseError {
    /// Dotted path inside the node's table; empty for the table itself.
    pub(crate) path: String,
    /// serde's own words, e.g. ``unknown field `epoch`, expected one of ...``.
    pub(crate) message: String,
}

/// [`Node`] without its type: what the engine works with.
pub(crate) trait ErasedNode: Send + Sync {
    fn kind(&self) -> &'static str;
    fn version(&self) -> u32;
    fn output(&self) -> ArtifactType;
    fn ports(&self) -> Vec<Port>;
    fn files(&self) -> Vec<PathBuf>;
    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError>;
    fn resources(&self) -> Resources;
    fn isolated(&self) -> bool;
    fn copies_files(&self) -> bool;
    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError>;
    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError>;
    /// The parameters as JSON, defaults filled in.
    fn params(&self) -> Result<Value, String>;
}

impl<N: Node> ErasedNode for N {
    fn kind(&self) -> &'static str {
        N::KIND
    }

    fn version(&self) -> u32 {
        N::VERSION
    }

    fn output(&self) -> ArtifactType {
        N::OUTPUT
    }

    fn ports(&self) -> Vec<Port> {
        Node::ports(self)
    }

    fn files(&self) -> Vec<PathBuf> {
        Node::files(self)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        Node::facts(self, inputs)
    }

    fn resources(&self) -> Resources {
        Node::resources(self)
    }

    fn copies_files(&self) -> bool {
        Node::copies_files(self)
    }

    fn isolated(&self) -> bool {
        Node::isolated(self)
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        Node::run(self, inputs, cx)
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        Node::report(self, artifact, lineage)
    }

    /// Goes through text because `to_value` widens an `f32` (0.1 becomes 0.10000000149011612) and text does not: people
    /// read these values when a miss is explained.
    fn params(&self) -> Result<Value, String> {
        let text = serde_json::to_string(self).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }
}

type ParseFn = fn(toml::Table) -> Result<Arc<dyn ErasedNode>, ParseError>;

fn parse<N: Node>(table: toml::Table) -> Result<Arc<dyn ErasedNode>, ParseError> {
    match serde_path_to_error::deserialize::<_, N>(toml::Value::Table(table)) {
        Ok(node) => Ok(Arc::new(node)),
        Err(error) => {
            let path = error.path().to_string();
            Err(ParseError {
                path: if path == "." { String::new() } else { path },
                message: error.into_inner().message().to_owned(),
            })
        }
    }
}

/// The node kinds by the name written as `kind` in TOML.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, ParseFn>,
}

impl Registry {
    /// A registry that knows no kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind.
    ///
    /// # Panics
    /// If the kind's name is taken: two node kinds of one binary cannot share a name.
    pub fn register<N: Node>(&mut self) -> &mut Self {
        let taken = self.kinds.insert(N::KIND, parse::<N>).is_some();
        assert!(!taken, "BUG: node kind `{}` is registered twice", N::KIND);
        self
    }

    /// The names of all kinds, sorted.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.keys().copied().collect()
    }

    /// Whether there is such a kind.
    pub(crate) fn knows(&self, kind: &str) -> bool {
        self.kinds.contains_key(kind)
    }

    /// The parameters that a kind takes, in the order of its struct. serde knows them, and tells them to whoever gives it
    /// a key that cannot be one. `None` if they depend on another parameter, or if there is no such kind.
    pub(crate) fn keys(&self, kind: &str) -> Option<Vec<String>> {
        let question = toml::Table::from_iter([("\0".to_owned(), toml::Value::Boolean(true))]);
        let answer = self.parse(kind, question)?.err()?;
        let (_, list) = answer
            .message
            .strip_prefix("unknown field ")?
            .split_once(", expected ")?;
        Some(list.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    }

    /// Makes a node of `kind` from its table; `None` if there is no such kind.
    pub(crate) fn parse(&self, kind: &str, table: toml::Table) -> Option<Result<Arc<dyn ErasedNode>, ParseError>> {
        self.kinds.get(kind).map(|parse| parse(table))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
