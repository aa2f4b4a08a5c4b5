//! What a run will do and why: for each instance whether it is cached, will run, or is unknown yet.
//!
//! A key contains the digests of the inputs, so it exists once they are done. What depends on something that will run is
//! unknown until then: if that comes out as before, nothing further runs.

use std::collections::HashMap;

use flow_cache::{ActionKey, Artifact, CacheError, Store};
use rayon::prelude::*;
use serde::Serialize;

use crate::action::{Action, OwnPart};
use crate::gpus::GpuNeed;
use crate::node::NodeError;
use crate::reason::{History, Reason};
use crate::stat::FileDigests;
use crate::workflow::{Account, InstanceId, Workflow};

/// What a run of a workflow will do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Version of this layout.
    pub schema: u32,
    /// The workflow's name.
    pub workflow: String,
    /// In the order of the workflow's instances: inputs before what uses them.
    pub nodes: Vec<PlannedNode>,
    /// What nodes say of what their inputs cost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    #[serde(skip)]
    pub(crate) resolved: Vec<Option<Resolved>>,
}

/// What is planned for one instance.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedNode {
    /// The instance's name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// What will be done.
    pub state: PlanState,
    /// Seconds that it took the last time, if it was ever run; absent for what is cached.
    pub estimate_s: Option<f64>,
    /// Bytes of a GPU's memory that it will ask for; absent for what is cached, and for what runs on the CPU or has a GPU for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
}

/// What is known of an instance before the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum PlanState {
    /// Its artifact is in the store.
    Cached {
        /// Under this key.
        key: ActionKey,
    },
    /// Its inputs are done, its artifact is not there.
    WillRun {
        /// Where it will be published.
        key: ActionKey,
        /// Why there is none yet.
        reasons: Vec<Reason>,
    },
    /// The same action as another instance that will run: done once for both.
    Shared {
        /// Where the other publishes.
        key: ActionKey,
        /// The other instance.
        with: String,
    },
    /// Some inputs will run first; each is an [`Reason::Upstream`].
    Unknown {
        /// What is known to have changed.
        reasons: Vec<Reason>,
    },
}

/// How many instances are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// In the store.
    pub cached: usize,
    /// Sure to run.
    pub will_run: usize,
    /// Done together with another.
    pub shared: usize,
    /// Told only when others have run.
    pub unknown: usize,
}

/// What a plan found, for the run that follows it.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    /// It is in the store.
    Published(Artifact),
    /// It is not, and this is what will make it.
    Missed(Action),
}

impl Resolved {
    pub(crate) fn key(&self) -> ActionKey {
        match self {
            Self::Published(artifact) => *artifact.key(),
            Self::Missed(action) => action.key,
        }
    }

    pub(crate) fn artifact(&self) -> Option<&Artifact> {
        match self {
            Self::Published(artifact) => Some(artifact),
            Self::Missed(_) => None,
        }
    }
}

/// So many instances are prepared together, on all threads: their keys then follow one after another.
const BATCH: usize = 4096;

impl Plan {
    /// How many instances are in which state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for node in &self.nodes {
            match node.state {
                PlanState::Cached { .. } => counts.cached += 1,
                PlanState::WillRun { .. } => counts.will_run += 1,
                PlanState::Shared { .. } => counts.shared += 1,
                PlanState::Unknown { .. } => counts.unknown += 1,
            }
        }
        counts
    }

    /// The planned node with that instance name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An instance's key cannot be made, as a rule because a file cannot be read.
    #[error("{node}: {source}")]
    Node {
        /// The instance.
        node: String,
        /// What is wrong.
        source: Box<NodeError>,
    },
}

impl Workflow {
    /// What a run would do now, and why. Nothing is written.
    ///
    /// # Errors
    /// If the store or an input file cannot be read.
    pub fn plan(&self, store: &Store) -> Result<Plan, PlanError> {
        plan(self, store, &file_digests(store))
    }
}

/// The store's memory of file digests.
pub(crate) fn file_digests(store: &Store) -> FileDigests {
    FileDigests::open(store)
}

pub(crate) fn plan(workflow: &Workflow, store: &Store, files: &FileDigests) -> Result<Plan, PlanError> {
    let _span = tracing::info_span!("plan", workflow = workflow.name()).entered();
    let mut planning = Planning {
        workflow,
        store,
        history: History::new(store),
        resolved: Vec::with_capacity(workflow.instances().len()),
        will_run: HashMap::new(),
    };
    let count = workflow.instances().len();
    let mut nodes = Vec::with_capacity(count);
    for first in (0..count).step_by(BATCH) {
        let batch = (first..count.min(first + BATCH)).into_par_iter().with_min_len(64);
        let own: Vec<_> = batch.map(|id| OwnPart::new(workflow, id, files)).collect();
        for (id, own) in (first..).zip(own) {
            let instance = &workflow.instances()[id];
            let (state, estimate_s) = own
                .and_then(|own| planning.state(id, own))
                .map_err(|error| match error {
                    NodeError::Cache(error) => PlanError::Cache(error),
                    source => PlanError::Node {
                        node: instance.name.clone(),
                        source: Box::new(source),
                    },
                })?;
            nodes.push(PlannedNode {
                name: instance.name.clone(),
                kind: instance.kind(),
                gpu_memory: match (&state, instance.resources().gpu_need()) {
                    (PlanState::Cached { .. }, _) | (_, GpuNeed::Whole(_)) => None,
                    (_, GpuNeed::Part(bytes)) => Some(bytes),
                },
                state,
                estimate_s,
            });
        }
    }
    Ok(Plan {
        schema: 1,
        workflow: workflow.name().to_owned(),
        nodes,
        accounts: workflow.accounts().to_vec(),
        resolved: planning.resolved,
    })
}

struct Planning<'a> {
    workflow: &'a Workflow,
    store: &'a Store,
    history: History<'a>,
    resolved: Vec<Option<Resolved>>,
    will_run: HashMap<ActionKey, InstanceId>,
}

impl Planning<'_> {
    /// What is planned for the next instance: all before it were asked already.
    fn state(&mut self, id: InstanceId, own: OwnPart) -> Result<(PlanState, Option<f64>), NodeError> {
        let pending: Vec<InstanceId> = self.pending_inputs(id);
        if !pending.is_empty() {
            self.resolved.push(None);
            return self.unknown(id, &pending, own);
        }
        let resolved = &self.resolved;
        let digest_of = |input: InstanceId| resolved[input].as_ref()?.artifact().map(Artifact::digest);
        let action = Action::new(self.workflow, id, own, digest_of)?;
        let key = action.key;
        let published = self.store.peek(&key)?;
        let forced = published.is_some() && self.workflow.instances()[id].forced;
        if let Some(artifact) = published.filter(|_| !forced) {
            self.resolved.push(Some(Resolved::Published(artifact)));
            return Ok((PlanState::Cached { key }, None));
        }
        let planned = match self.will_run.get(&key) {
            Some(other) => {
                let with = self.workflow.instances()[*other].name.clone();
                (PlanState::Shared { key, with }, None)
            }
            None if forced => {
                self.will_run.insert(key, id);
                let reasons = vec![Reason::Forced];
                (PlanState::WillRun { key, reasons }, None)
            }
            None => {
                self.will_run.insert(key, id);
                let (reasons, estimate) = self.history.explain(self.workflow, id, &action.components)?;
                (PlanState::WillRun { key, reasons }, estimate)
            }
        };
        self.resolved.push(Some(Resolved::Missed(action)));
        Ok(planned)
    }

    /// The inputs without an artifact, each once.
    fn pending_inputs(&self, id: InstanceId) -> Vec<InstanceId> {
        let is_done = |id: &InstanceId| {
            self.resolved[*id]
                .as_ref()
                .is_some_and(|resolved| resolved.artifact().is_some())
        };
        let mut pending: Vec<InstanceId> = self.workflow.instances()[id]
            .inputs()
            .filter(|id| !is_done(id))
            .collect();
        pending.sort_unstable();
        pending.dedup();
        pending
    }

    fn unknown(
        &mut self,
        id: InstanceId,
        pending: &[InstanceId],
        own: OwnPart,
    ) -> Result<(PlanState, Option<f64>), NodeError> {
        let own = own.components();
        let (mut reasons, estimate) = self.history.explain_partly(self.workflow, id, &own)?;
        let upstream = pending.iter().map(|id| self.workflow.instances()[*id].name.clone());
        reasons.extend(upstream.map(|node| Reason::Upstream { node }));
        Ok((PlanState::Unknown { reasons }, estimate))
    }
}
