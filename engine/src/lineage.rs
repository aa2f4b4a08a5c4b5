//! What an artifact rests on: the records of everything that it was made from, for reports that show costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow_cache::{Artifact, Record};

use crate::node::InputCost;
use crate::workflow::{InstanceId, Workflow};

/// For each input of an instance every record that it rests on, itself included, each once.
pub(crate) fn lineage(workflow: &Workflow, id: InstanceId, artifacts: &[Option<Artifact>]) -> Vec<InputCost> {
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

/// The records of an instance and of everything before it, in the order of the workflow.
fn ancestors(workflow: &Workflow, id: InstanceId, artifacts: &[Option<Artifact>]) -> Vec<Arc<Record>> {
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
        .map(Artifact::shared_record);
    records.filter(|record| keys.insert(record.key)).collect()
}
