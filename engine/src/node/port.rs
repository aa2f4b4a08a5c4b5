//! Parameters that name other nodes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::ArtifactType;

/// The name of another node as written in a parameter. Not part of the key: what that node makes is, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "flow::NodeRef")]
pub struct NodeRef(String);

impl JsonSchema for NodeRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "node".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "node" })
    }
}

/// The name by which serde tells it.
pub(crate) const NODE_REF: &str = "flow::NodeRef";

impl NodeRef {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeRef {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// One parameter that names other nodes.
#[derive(Clone, Debug)]
pub struct Port {
    /// The parameter's key in TOML.
    pub name: &'static str,
    /// The nodes named there, in the order written.
    pub refs: Vec<String>,
    /// The names under which `run` sees the inputs, one for each of `refs`, where it sees names: they are part of the key.
    pub names: Option<Vec<String>>,
    /// The artifact types that are taken.
    pub accepts: &'static [ArtifactType],
    /// Whether the names and matrix bindings of the inputs are part of the meaning (and so of the key), as they are for
    /// a table that prints them. Only then does `run` see them.
    pub labelled: bool,
    /// Whether the port gathers every instance over the variables in the node's `over` list.
    pub gathers: bool,
    /// Whether the node goes on without those of the port's inputs that failed, as long as there is one.
    pub partial: bool,
}

impl Port {
    fn new<'r>(
        name: &'static str,
        refs: impl IntoIterator<Item = &'r NodeRef>,
        accepts: &'static [ArtifactType],
    ) -> Self {
        let refs = refs.into_iter().map(|node| node.0.clone()).collect();
        Self {
            name,
            refs,
            names: None,
            accepts,
            labelled: false,
            gathers: false,
            partial: false,
        }
    }

    /// A port with exactly one input.
    pub fn one(name: &'static str, node: &NodeRef, accepts: &'static [ArtifactType]) -> Self {
        Self::new(name, [node], accepts)
    }

    /// A port that may be left out.
    pub fn maybe(name: &'static str, node: &Option<NodeRef>, accepts: &'static [ArtifactType]) -> Self {
        Self::new(name, node, accepts)
    }

    /// A port with any number of inputs, of which `run` sees the order.
    pub fn many(name: &'static str, nodes: &[NodeRef], accepts: &'static [ArtifactType]) -> Self {
        Self::new(name, nodes, accepts)
    }

    /// A port whose inputs `run` sees under the names given.
    pub fn named(name: &'static str, nodes: &BTreeMap<String, NodeRef>, accepts: &'static [ArtifactType]) -> Self {
        let names = Some(nodes.keys().cloned().collect());
        Self {
            names,
            ..Self::new(name, nodes.values(), accepts)
        }
    }

    /// Makes names and bindings part of the meaning.
    #[must_use]
    pub fn labelled(mut self) -> Self {
        self.labelled = true;
        self
    }

    /// Lets the node go on without inputs that failed.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Lets the port gather over the node's `over` variables.
    #[must_use]
    pub fn gathers(mut self) -> Self {
        self.gathers = true;
        self
    }
}
