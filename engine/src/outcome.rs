//! How a run ended, node by node.

use std::collections::BTreeMap;

use flow_cache::{ActionKey, ArtifactSummary, Cost};
use serde::{Deserialize, Serialize};

use crate::node::NodeError;
use crate::worker::Failure;
use crate::workflow::Instance;

/// What to do about an error in the program.
pub(crate) const REPORT_THIS: &str = "this is a bug, and no error of the workflow: report it with the run directory";

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOutcome {
    /// The instance's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How it ended.
    pub status: NodeStatus,
    /// Its key, if it is done.
    pub key: Option<ActionKey>,
    /// What it measured; metrics that are not finite are left out, the record has them.
    pub metrics: BTreeMap<String, f64>,
    /// What it took when it was made, if it is done.
    pub cost: Option<Cost>,
    /// Whether its record was made under another name.
    #[serde(skip)]
    pub(crate) renamed: bool,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It had not got its turn yet.
    Waiting,
    /// It ran in this run, and was published.
    Ran,
    /// It was in the store, or another instance of this run did the same.
    Cached,
    /// It failed.
    Failed,
    /// It was asked to stop.
    Stopped,
    /// It never got its turn.
    Skipped,
}

impl NodeOutcome {
    pub(crate) fn waiting(instance: &Instance) -> Self {
        Self {
            name: instance.name().to_owned(),
            kind: instance.kind().to_owned(),
            status: NodeStatus::Waiting,
            key: None,
            metrics: BTreeMap::new(),
            cost: None,
            renamed: false,
        }
    }

    pub(crate) fn done(&mut self, record: &ArtifactSummary, status: NodeStatus) {
        self.status = status;
        self.key = Some(record.key);
        self.metrics = record
            .metrics
            .iter()
            .filter(|(_, v)| v.is_finite())
            .map(|(name, v)| (name.clone(), *v))
            .collect();
        self.cost = Some(record.cost);
        self.renamed = record.node != self.name;
    }
}

/// Why one instance failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFailure {
    /// The instance's name.
    pub node: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether the cause is damage in the cache that could not be repaired (its own exit code).
    pub cache_corrupt: bool,
}

impl NodeFailure {
    pub(crate) fn new(node: String, failure: Failure) -> Self {
        let cache_corrupt = matches!(
            &failure,
            Failure::Node(NodeError::Cache(flow_cache::CacheError::Corrupt { .. }))
        );
        let (message, help) = match failure {
            Failure::Node(NodeError::Failed { message, help }) => (message, help),
            Failure::Node(NodeError::Stopped) => (
                "BUG: it reports that it was stopped without a request to stop".to_owned(),
                Some(REPORT_THIS.to_owned()),
            ),
            Failure::Node(error @ NodeError::Cache(_)) => (error.to_string(), None),
            Failure::Panic(text) => (format!("it panicked: {text}"), Some(REPORT_THIS.to_owned())),
        };
        Self {
            node,
            message,
            help,
            cache_corrupt,
        }
    }
}
