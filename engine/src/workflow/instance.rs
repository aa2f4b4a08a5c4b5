//! One node of the expanded workflow: a kind with its parameters, its bindings and the instances that it takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::policy::ExecutionPolicy;
use crate::node::{ArtifactType, NodeFile, Resources};
use crate::registry::ErasedNode;

/// The place of an instance in [`super::Workflow::instances`]; inputs have smaller places than what uses them.
pub type InstanceId = usize;

/// One node of the expanded workflow.
#[derive(Clone)]
pub struct Instance {
    pub(crate) name: String,
    pub(crate) node_name: String,
    pub(crate) template: usize,
    pub(crate) bindings: BTreeMap<String, Value>,
    pub(crate) node: Arc<dyn ErasedNode>,
    pub(crate) ports: Vec<InstancePort>,
    pub(crate) files: Vec<NodeFile>,
    pub(crate) policy: Arc<ExecutionPolicy>,
    /// What its kind takes of the machine: known once it was checked.
    pub(crate) kind_resources: Resources,
    pub(crate) dir: PathBuf,
    /// Rounds that are left in its loop, this one included; 1 outside of a loop.
    pub(crate) rounds_left: u32,
    /// To be run even if it is cached.
    pub(crate) forced: bool,
}

impl Instance {
    /// `student[labels=40,seed=0]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `student`, or `student@1` in a loop of rounds.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The node's kind.
    pub fn kind(&self) -> &'static str {
        self.node.kind()
    }

    /// The values of its matrix variables.
    pub fn bindings(&self) -> &BTreeMap<String, Value> {
        &self.bindings
    }

    /// The parameters that name other nodes, with the instances that they lead to.
    pub fn ports(&self) -> &[InstancePort] {
        &self.ports
    }

    /// The files that it reads, relative to the folder of the file that it is written in.
    pub fn files(&self) -> &[NodeFile] {
        &self.files
    }

    /// The instances whose artifacts it takes, port by port; one that is taken twice comes twice.
    pub fn inputs(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.ports
            .iter()
            .flat_map(|port| &port.inputs)
            .map(|edge| edge.instance)
    }

    /// How it is run.
    pub fn policy(&self) -> &ExecutionPolicy {
        &self.policy
    }

    /// What it takes of the machine.
    pub fn resources(&self) -> Resources {
        Resources::of(&self.policy, &self.kind_resources)
    }

    /// Whether names and bindings of inputs are part of what it makes.
    pub(crate) fn has_labelled_port(&self) -> bool {
        self.ports.iter().any(|port| port.labelled)
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// A port with the instances that it takes.
#[derive(Clone, Debug)]
pub struct InstancePort {
    /// The parameter's key.
    pub name: &'static str,
    /// The artifact types that it takes.
    pub accepts: &'static [ArtifactType],
    /// The names under which the node sees its inputs, by [`Edge::reference`], if it sees names.
    pub names: Option<Vec<String>>,
    /// Whether names and bindings enter the key.
    pub labelled: bool,
    /// Whether the node goes on without inputs that failed.
    pub partial: bool,
    /// The inputs, in the order of the names written and, where it gathers, of the matrix.
    pub inputs: Vec<Edge>,
}

/// One input of a port.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The instance whose artifact is taken.
    pub instance: InstanceId,
    /// The node's name as it was written.
    pub node: String,
    /// Which of the names written in the port this comes from.
    pub reference: usize,
}
