//! Why an instance must run: what differs from the record that is most like it.

use std::collections::HashMap;
use std::fmt;

use flow_cache::{CacheError, Change, Components, Past, PastRun, Store};
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
    /// It ran before, but its artifact is missing or damaged.
    Missing,
    /// It ran before, and its outputs were collected.
    Collected,
    /// It is cached, and was asked to run again.
    Forced,
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
            Self::InputChanged { port, node: None } => write!(f, "input {port} was removed"),
            Self::FileChanged { name } => write!(f, "file {name} has changed"),
            Self::VersionChanged { old, new } => {
                write!(f, "the node kind has changed: version {} -> {}", shown(old), shown(new))
            }
            Self::Collected => write!(f, "its outputs were collected by flow cache gc"),
            Self::Missing => write!(f, "its artifact is missing or damaged"),
            Self::Forced => write!(f, "forced"),
            Self::Upstream { node } => write!(f, "until {node} has run"),
        }
    }
}

/// The reasons in words, for people; of many inputs that will run first only some are named.
pub fn in_words(reasons: &[Reason]) -> Vec<String> {
    const NAMED: usize = 3;
    let (upstream, own): (Vec<&Reason>, Vec<&Reason>) = reasons
        .iter()
        .partition(|reason| matches!(reason, Reason::Upstream { .. }));
    let mut words: Vec<String> = own.iter().map(ToString::to_string).collect();
    words.extend(upstream.iter().take(NAMED).map(ToString::to_string));
    if upstream.len() > NAMED {
        words.push(format!("and {} more", upstream.len() - NAMED));
    }
    words
}

/// Of the earlier runs of a node so many, the newest, are compared.
const COMPARED: usize = 64;

/// What ran before under the same names. Asked of the store when the first miss asks, so that a plan in which everything is
/// cached does not ask at all; records are read only of nodes in which something changed.
pub(crate) struct History<'a> {
    store: &'a Store,
    past: Option<Past>,
}

impl<'a> History<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, past: None }
    }

    /// Why a key is missed, and how long the nearest earlier run took in seconds.
    pub(crate) fn explain(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        components: &Components,
    ) -> Result<(Vec<Reason>, Option<f64>), CacheError> {
        let Some((changes, wall_s)) = self.nearest(workflow, id, |_| true, components)? else {
            return Ok((vec![Reason::New], None));
        };
        let mut reasons = reasons(workflow, id, changes);
        if reasons.is_empty() {
            let collected = self.store.is_collected(&components.key());
            reasons.push(if collected { Reason::Collected } else { Reason::Missing });
        }
        Ok((reasons, Some(wall_s)))
    }

    /// As [`History::explain`], before the inputs are known.
    pub(crate) fn explain_partly(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        own: &Components,
    ) -> Result<(Vec<Reason>, Option<f64>), CacheError> {
        let digest = own.own_digest();
        if let Some(unchanged) = self.of(workflow, id)?.iter().find(|run| run.own == digest) {
            return Ok((Vec::new(), Some(unchanged.wall_s)));
        }
        let is_own = |name: &str| !name.starts_with("input.");
        match self.nearest(workflow, id, is_own, own)? {
            Some((changes, wall_s)) => Ok((reasons(workflow, id, changes), Some(wall_s))),
            None => Ok((vec![Reason::New], None)),
        }
    }

    /// What changed since the run of the same kind and name that differs least, the newest of several, and what it took.
    fn nearest(
        &mut self,
        workflow: &Workflow,
        id: InstanceId,
        counts: impl Fn(&str) -> bool,
        components: &Components,
    ) -> Result<Option<(Vec<Change>, f64)>, CacheError> {
        let own = components.own_digest();
        let store = self.store;
        let runs = self.of(workflow, id)?;
        let same: Vec<&PastRun> = runs.iter().filter(|run| run.own == own).collect();
        let candidates: Vec<&PastRun> = if same.is_empty() { runs.iter().collect() } else { same };
        let mut compared = Vec::new();
        for run in candidates.into_iter().take(COMPARED) {
            if let Some(record) = store.record(&run.key)? {
                let mut changes = record.components.diff(components);
                changes.retain(|change| counts(&change.name));
                compared.push((record.distance(&record.node, &changes), changes, run.wall_s));
            }
        }
        let nearest = compared.into_iter().min_by(|a, b| a.0.cmp(&b.0));
        Ok(nearest.map(|(_, changes, wall_s)| (changes, wall_s)))
    }

    /// The earlier runs of an instance's kind and name, newest first.
    fn of(&mut self, workflow: &Workflow, id: InstanceId) -> Result<&[PastRun], CacheError> {
        let past = match &mut self.past {
            Some(past) => past,
            unknown => unknown.insert(self.store.past()?),
        };
        let instance = &workflow.instances()[id];
        Ok(past.of(instance.kind(), &instance.name))
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
