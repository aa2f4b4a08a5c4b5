//! Why an instance must run: what differs from the record that is most like it.

use std::collections::HashMap;
use std::fmt;

use flow_cache::{CacheError, Change, Components, Record, Store};
use serde::Serialize;
use serde_json::Value;

use crate::action::input_names;
use crate::workflow::{InstanceId, Workflow};

/// One reason why an instance must run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No instance of that name and kind has run before.
    New,
    /// A parameter changed.
    ParamChanged {
        /// Its dotted path.
        name: String,
        /// What it was; `None` if the kind did not have it then.
        old: Option<Value>,
        /// What it is; `None` if the kind no longer has it.
        new: Option<Value>,
    },
    /// An input has other content, or is named otherwise on a port that minds names.
    InputChanged {
        /// The port and the place in it, e.g. `data.0`.
        port: String,
        /// The instance that is there now; `None` if there is none any more.
        node: Option<String>,
    },
    /// A file has other content.
    FileChanged {
        /// The parameter that leads to it.
        name: String,
    },
    /// The node kind does something else than it did.
    VersionChanged {
        /// The version that ran then.
        old: Option<Value>,
        /// The version of this build.
        new: Option<Value>,
    },
    /// It ran before, but its artifact is gone or damaged.
    Missing,
    /// An input will run first.
    Upstream {
        /// That instance.
        node: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        match self {
            Self::New => write!(f, "new"),
            Self::ParamChanged { name, old, new } => write!(f, "{name}: {} -> {}", shown(old), shown(new)),
            Self::InputChanged { port, node: Some(node) } => write!(f, "input {port} ({node}) has changed"),
            Self::InputChanged { port, node: None } => write!(f, "input {port} is gone"),
            Self::FileChanged { name } => write!(f, "file {name} has changed"),
            Self::VersionChanged { old, new } => {
                write!(f, "the node kind has changed: version {} -> {}", shown(old), shown(new))
            }
            Self::Missing => write!(f, "its artifact is gone or damaged"),
            Self::Upstream { node } => write!(f, "until {node} has run"),
        }
    }
}

/// What ran before under the same names. Read from the store when the first miss asks, so that a plan in which everything
/// is cached does not read it at all, and a plan of many misses reads it once.
pub(crate) struct History<'a> {
    store: &'a Store,
    by_node: Option<HashMap<(String, String), Vec<Record>>>,
}

impl<'a> History<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, by_node: None }
    }

    /// Why a key is missed, and how long the nearest earlier run took in seconds.
    pub(crate) fn explain(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        components: &Components,
    ) -> Result<(Vec<Reason>, Option<f64>), CacheError> {
        let Some(record) = self.nearest(workflow, id, |_| true, components)? else {
            return Ok((vec![Reason::New], None));
        };
        let changes = record.components.diff(components);
        let mut reasons = reasons(workflow, id, changes);
        if reasons.is_empty() {
            reasons.push(Reason::Missing);
        }
        Ok((reasons, Some(record.cost.wall_s)))
    }

    /// As [`History::explain`], before the inputs are known.
    pub(crate) fn explain_partly(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        own: &Components,
    ) -> Result<(Vec<Reason>, Option<f64>), CacheError> {
        let is_own = |name: &str| !name.starts_with("input.");
        let Some(record) = self.nearest(workflow, id, is_own, own)? else {
            return Ok((vec![Reason::New], None));
        };
        let changes = record
            .components
            .diff(own)
            .into_iter()
            .filter(|change| is_own(&change.name))
            .collect();
        Ok((reasons(workflow, id, changes), Some(record.cost.wall_s)))
    }

    /// The record of the same kind and name that differs least, then the newest.
    fn nearest(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        counts: impl Fn(&str) -> bool,
        components: &Components,
    ) -> Result<Option<&Record>, CacheError> {
        if self.by_node.is_none() {
            let mut by_node: HashMap<_, Vec<Record>> = HashMap::new();
            for record in self.store.records()? {
                by_node
                    .entry((record.kind.clone(), record.node.clone()))
                    .or_default()
                    .push(record);
            }
            self.by_node = Some(by_node);
        }
        let instance = &workflow.instances()[id];
        let name = (instance.kind().to_owned(), instance.name.clone());
        let records = self
            .by_node
            .as_ref()
            .and_then(|all| all.get(&name))
            .into_iter()
            .flatten();
        Ok(records.min_by_key(|record| {
            let changes = record
                .components
                .diff(components)
                .iter()
                .filter(|change| counts(&change.name))
                .count();
            (changes, std::cmp::Reverse(record.finished_unix_ms))
        }))
    }
}

fn reasons(workflow: &Workflow, id: InstanceId, changes: Vec<Change>) -> Vec<Reason> {
    let names: HashMap<String, &str> = input_names(workflow, id).collect();
    let mut reasons: Vec<Reason> = Vec::with_capacity(changes.len());
    for Change { name, old, new } in changes {
        let reason = match name.split_once('.') {
            Some(("param", path)) => Reason::ParamChanged {
                name: path.to_owned(),
                old,
                new,
            },
            Some(("file", file)) => Reason::FileChanged { name: file.to_owned() },
            Some(("input", place)) => {
                let port = place.strip_suffix(".label").unwrap_or(place);
                Reason::InputChanged {
                    port: port.to_owned(),
                    node: names.get(port).map(|node| (*node).to_owned()),
                }
            }
            _ => Reason::VersionChanged { old, new },
        };
        // An input and its label are neighbours, and one reason.
        if reasons.last() != Some(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}
