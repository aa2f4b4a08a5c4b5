//! What an artifact depends on: the records of everything that it was made from, for reports that show costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow_cache::{ActionKey, Artifact, ArtifactSummary, Record, Store};

use crate::node::{InputCost, MissingInput, NodeError};
use crate::workflow::{InstanceId, Workflow};

/// What one instance depends on. Gathered only when asked: in a large graph that is the greater part of it.
pub struct Lineage<'a> {
    pub(crate) workflow: &'a Workflow,
    pub(crate) id: InstanceId,
    pub(crate) artifacts: &'a [Option<Artifact>],
    pub(crate) store: &'a Store,
}

impl Lineage<'_> {
    /// For each input of the instance every record that it depends on, itself included, each once.
    pub fn costs(&self) -> Vec<InputCost> {
        costs(self.workflow, self.id, self.artifacts)
    }

    /// All records of a kind in the cache, whatever workflow made them, newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn records_of_kind(&self, kind: &str) -> Result<Vec<Record>, NodeError> {
        Ok(self.store.records_of_kind(kind)?)
    }

    /// The record of an action, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record(&self, key: &ActionKey) -> Result<Option<Record>, NodeError> {
        Ok(self.store.record(key)?)
    }

    /// The inputs that there are none of, because they failed: only of ports that go on without them.
    pub fn missing(&self) -> Vec<MissingInput> {
        let instances = self.workflow.instances();
        let edges = instances[self.id].ports.iter().flat_map(|port| &port.inputs);
        let missing = edges.filter(|edge| self.artifacts[edge.instance].is_none());
        let named = missing.map(|edge| MissingInput {
            node: edge.node.clone(),
            bindings: instances[edge.instance].bindings.clone(),
        });
        named.collect()
    }
}

impl std::fmt::Debug for Lineage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lineage").field("id", &self.id).finish_non_exhaustive()
    }
}

fn costs(workflow: &Workflow, id: InstanceId, artifacts: &[Option<Artifact>]) -> Vec<InputCost> {
    let instances = workflow.instances();
    let mut costs = Vec::new();
    for port in &instances[id].ports {
        for (index, edge) in port.inputs.iter().enumerate() {
            costs.push(InputCost {
                port: port.name,
                index,
                node: edge.node.clone(),
                bindings: instances[edge.instance].bindings.clone(),
                records: ancestors(workflow, edge.instance, artifacts),
            });
        }
    }
    costs
}

/// The accounts of an instance and of everything before it, in the order of the workflow.
fn ancestors(workflow: &Workflow, id: InstanceId, artifacts: &[Option<Artifact>]) -> Vec<Arc<ArtifactSummary>> {
    let mut seen = BTreeSet::new();
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if seen.insert(id) {
            stack.extend(workflow.instances()[id].inputs());
        }
    }
    let mut keys = BTreeSet::new();
    let records = seen
        .iter()
        .filter_map(|id| artifacts[*id].as_ref())
        .map(Artifact::shared_summary);
    records.filter(|record| keys.insert(record.key)).collect()
}
