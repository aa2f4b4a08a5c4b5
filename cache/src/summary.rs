//! What a run has to know of something published, without what its key was made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::ActionKey;
use crate::output_name::OutputName;
use crate::record::{Cost, OutputFile, Record};

/// The part of a [`Record`] that is needed each time its artifact is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactSummary {
    /// As in the record.
    pub key: ActionKey,
    /// As in the record.
    pub kind: String,
    /// As in the record.
    pub node: String,
    /// As in the record.
    pub outputs: BTreeMap<OutputName, OutputFile>,
    /// As in the record.
    pub metrics: BTreeMap<String, f64>,
    /// As in the record.
    pub cost: Cost,
    /// The digest of all outputs together, see [`Record::digest`].
    pub digest: Digest,
}

impl From<&Record> for ArtifactSummary {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key,
            kind: record.kind.clone(),
            node: record.node.clone(),
            outputs: record.outputs.clone(),
            metrics: record.metrics.clone(),
            cost: record.cost,
            digest: record.digest(),
        }
    }
}
