//! What training costs, told before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::workflow::{Instance, InstanceId};

/// What a node's own training costs, in the unit in which the kinds of a registry count budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spending {
    /// What it may spend.
    pub allowed: f64,
    /// What it does spend: less, where its workflow stops it early.
    pub used: f64,
}

impl Spending {
    /// All that is allowed is used.
    pub fn all(images: f64) -> Self {
        Self {
            allowed: images,
            used: images,
        }
    }
}

impl std::iter::Sum for Spending {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            allowed: sum.allowed + one.allowed,
            used: sum.used + one.used,
        })
    }
}

/// What one input of a node costs, with everything it depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpent {
    /// The node's name.
    pub node: String,
    /// Its bindings.
    pub bindings: BTreeMap<String, Value>,
    /// The nodes that it depends on, itself included, as far as they cost anything: each once.
    pub parts: Vec<PartSpent>,
}

impl InputSpent {
    /// All parts together; `None` if one of them is not known.
    pub fn total(&self) -> Option<Spending> {
        self.parts.iter().map(|part| part.spends).sum()
    }
}

/// What one node costs.
#[derive(Clone, Debug, PartialEq)]
pub struct PartSpent {
    /// Its kind.
    pub kind: &'static str,
    /// As [`super::Node::spends`].
    pub spends: Option<Spending>,
}

/// What the nodes before one node cost. Gathered only when asked: in a large graph that is the greater part of it.
pub struct Spent<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) all: &'a [Instance],
    /// What each instance before this one says of itself.
    pub(crate) spends: &'a [Option<Spending>],
}

impl Spent<'_> {
    /// All that the node depends on, what it reaches on two ways counted once; `None` if one of these is not known.
    pub fn before(&self) -> Option<Spending> {
        self.parts(self.instance.inputs()).iter().map(|part| part.spends).sum()
    }

    /// How many rounds are left in a loop of rounds, this one included; 1 outside of one.
    pub fn rounds_left(&self) -> u32 {
        self.instance.rounds_left
    }

    /// For each input of a port, in the port's order.
    pub fn of(&self, port: &str) -> Vec<InputSpent> {
        let ports = self.instance.ports.iter().filter(|found| found.name == port);
        let one = |edge: &crate::workflow::Edge| InputSpent {
            node: edge.node.clone(),
            bindings: self.all[edge.instance].bindings.clone(),
            parts: self.parts([edge.instance].into_iter()),
        };
        ports.flat_map(|port| &port.inputs).map(one).collect()
    }

    /// These nodes with all that they depend on, as far as they cost anything.
    fn parts(&self, of: impl Iterator<Item = InstanceId>) -> Vec<PartSpent> {
        let mut seen = BTreeSet::new();
        let mut stack: Vec<InstanceId> = of.collect();
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                stack.extend(self.all[id].inputs());
            }
        }
        let costly = seen
            .into_iter()
            .filter(|id| self.spends[*id] != Some(Spending::default()));
        let part = |id: InstanceId| PartSpent {
            kind: self.all[id].kind(),
            spends: self.spends[id],
        };
        costly.map(part).collect()
    }
}

impl std::fmt::Debug for Spent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spent")
            .field("of", &self.instance.name)
            .finish_non_exhaustive()
    }
}
