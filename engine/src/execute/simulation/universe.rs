//! What a simulated run sees of the world: a store, claims and workers without time of their own.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use flow_cache::{ActionKey, CacheError, Digest};

use super::super::world::{Claimed, Prepared, World};
use super::shapes::Random;
use crate::events::Event;
use crate::node::{NodeError, Resources};
use crate::room::Grant;
use crate::stop::StopFlag;
use crate::worker::{Message, Shown};
use crate::workflow::{InstanceId, Workflow};

pub(super) type RunId = usize;
pub(super) type ProcessId = usize;
/// What a node needs, and the GPUs that it was given.
pub(super) type Has = (Resources, Vec<String>);

/// What is there outside of all runs.
pub(super) struct Universe<'a> {
    pub(super) random: Random,
    pub(super) now: Instant,
    /// Published keys; whether their bytes are sound.
    pub(super) store: HashMap<ActionKey, bool>,
    pub(super) claims: HashMap<ActionKey, (u64, ProcessId)>,
    pub(super) count: u64,
    pub(super) events: BTreeMap<(Instant, u64), Happening<'a>>,
    pub(super) stops: Vec<StopFlag>,
    /// What is in use: by process, then by run and node.
    pub(super) used: Vec<HashMap<(RunId, InstanceId), Has>>,
    /// Runs in which something was made to fail.
    pub(super) hurt: HashSet<RunId>,
    /// What was started in this step since a node ended or had to wait instead: others may be ready since.
    pub(super) started: Vec<(RunId, InstanceId)>,
    /// Keys that are worked on, whatever claims say.
    pub(super) working: HashSet<ActionKey>,
}

pub(super) enum Happening<'a> {
    /// A process starts its first run.
    Start(ProcessId),
    /// A process is edited under: the next run takes over.
    Edit(ProcessId),
    Stop(ProcessId),
    Kill(ProcessId),
    Damage,
    /// A run has waited as long as it wanted to.
    Due(RunId, u64),
    Computed(Box<Work<'a>>),
    Published(Box<Work<'a>>),
    Deliver(RunId, Message<ActionKey>),
}

/// A node at work.
pub(super) struct Work<'a> {
    pub(super) run: RunId,
    pub(super) process: ProcessId,
    pub(super) id: InstanceId,
    pub(super) key: ActionKey,
    pub(super) inputs: Vec<ActionKey>,
    pub(super) grant: Option<Grant<'a>>,
    pub(super) claim: Option<SimulatedClaim<'a>>,
    pub(super) stops: [StopFlag; 3],
}

pub(super) struct SimulatedClaim<'a> {
    key: ActionKey,
    number: u64,
    universe: Shared<'a>,
}

impl Drop for SimulatedClaim<'_> {
    fn drop(&mut self) {
        let mut universe = self.universe.borrow_mut();
        if universe
            .claims
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            universe.claims.remove(&self.key);
        }
    }
}

pub(super) type Shared<'a> = Rc<RefCell<Universe<'a>>>;

impl<'a> Universe<'a> {
    pub(super) fn after(&mut self, wait: Duration, happening: Happening<'a>) {
        self.count += 1;
        self.events.insert((self.now + wait, self.count), happening);
    }
}

/// The world as one run sees it.
pub(super) struct Simulated<'a> {
    pub(super) universe: Shared<'a>,
    pub(super) workflow: &'a Workflow,
    pub(super) run: RunId,
    pub(super) process: ProcessId,
    /// What an edit has changed: a part of each node's key.
    pub(super) versions: Vec<u64>,
    /// What the plan found.
    pub(super) planned: Vec<Option<ActionKey>>,
    pub(super) keys: Vec<Option<ActionKey>>,
    pub(super) kept: Vec<Option<ActionKey>>,
}

impl Simulated<'_> {
    /// The key of a node by what it and its inputs are.
    fn key(&self, id: InstanceId, kept: &[Option<ActionKey>]) -> ActionKey {
        let mut text = format!("{id} {}", self.versions[id]);
        for input in self.workflow.instances()[id].inputs() {
            text += &kept[input].map_or_else(String::new, |key| key.short());
        }
        ActionKey::from(Digest::of(text.as_bytes()))
    }

    /// What is in the store already, as far as keys are known.
    pub(super) fn plan(&mut self) {
        let universe = self.universe.borrow();
        let mut planned = vec![None; self.keys.len()];
        for (id, instance) in self.workflow.instances().iter().enumerate() {
            if !instance.forced && instance.inputs().all(|input| planned[input].is_some()) {
                let key = self.key(id, &planned);
                planned[id] = universe.store.contains_key(&key).then_some(key);
            }
        }
        drop(universe);
        self.planned = planned;
    }
}

impl<'a> World<'a> for Simulated<'a> {
    type Artifact = ActionKey;
    type Claim = SimulatedClaim<'a>;

    fn now(&self) -> Instant {
        self.universe.borrow().now
    }

    fn stop_requested(&self) -> bool {
        self.universe.borrow().stops[self.process].is_requested()
    }

    fn prepare(&mut self, id: InstanceId) -> Result<Prepared<ActionKey>, NodeError> {
        if let Some(key) = self.planned[id].take() {
            return Ok(Prepared::Published(key));
        }
        let missing = |input: InstanceId| self.kept[input].is_none();
        let ports = &self.workflow.instances()[id].ports;
        let needs = ports.iter().filter(|port| !port.partial).flat_map(|port| &port.inputs);
        assert!(
            !needs.map(|edge| edge.instance).any(missing),
            "looked up before its inputs are done"
        );
        let key = self.key(id, &self.kept);
        self.keys[id] = Some(key);
        Ok(Prepared::Action(key))
    }

    fn lookup(&mut self, key: &ActionKey) -> Result<Option<ActionKey>, NodeError> {
        Ok(self.universe.borrow().store.contains_key(key).then_some(*key))
    }

    fn claim(&mut self, key: &ActionKey) -> Result<Claimed<SimulatedClaim<'a>, ActionKey>, NodeError> {
        let mut universe = self.universe.borrow_mut();
        if universe.claims.contains_key(key) {
            universe.started.clear();
            return Ok(Claimed::Held("another".to_owned()));
        }
        // Others do not wait while this one asks.
        if universe.random.percent(2) {
            universe.store.insert(*key, true);
        }
        universe.count += 1;
        let number = universe.count;
        universe.claims.insert(*key, (number, self.process));
        let published = universe.store.contains_key(key).then_some(*key);
        if published.is_some() {
            universe.started.clear();
        }
        let (key, universe) = (*key, Rc::clone(&self.universe));
        Ok(Claimed::Ours(SimulatedClaim { key, number, universe }, published))
    }

    fn discard(&mut self, key: &ActionKey, _: &str) -> Result<(), NodeError> {
        self.universe.borrow_mut().store.remove(key);
        Ok(())
    }

    fn start(
        &mut self,
        id: InstanceId,
        claim: SimulatedClaim<'a>,
        grant: Grant<'a>,
        drain: &StopFlag,
        cancel: &StopFlag,
    ) -> Result<(), NodeError> {
        let (run, process) = (self.run, self.process);
        let mut universe = self.universe.borrow_mut();
        assert_eq!(
            universe.claims.get(&claim.key),
            Some(&(claim.number, process)),
            "it has the claim"
        );
        assert!(universe.working.insert(claim.key), "n{id} is worked on already");
        let mut need = self.workflow.instances()[id].resources();
        need.threads = Some(grant.threads);
        universe.used[process].insert((run, id), (need, grant.gpus.clone()));
        universe.started.push((run, id));
        let work = Work {
            run,
            process,
            id,
            key: claim.key,
            inputs: self.workflow.instances()[id]
                .inputs()
                .filter_map(|input| self.kept[input])
                .collect(),
            grant: Some(grant),
            claim: Some(claim),
            stops: [universe.stops[process].clone(), drain.clone(), cancel.clone()],
        };
        let takes = universe.random.ms(300);
        universe.after(takes, Happening::Computed(Box::new(work)));
        Ok(())
    }

    fn key_of(artifact: &ActionKey) -> ActionKey {
        *artifact
    }

    fn keep(&mut self, id: InstanceId, artifact: ActionKey) {
        self.kept[id] = Some(artifact);
    }

    fn kept(&self, id: InstanceId) -> Option<ActionKey> {
        self.kept[id]
    }

    fn write_report(&mut self, id: InstanceId) -> Result<(), NodeError> {
        let mut universe = self.universe.borrow_mut();
        match self.kept[id] {
            Some(key) if self.workflow.users(id).is_empty() && universe.store.get(&key) == Some(&false) => {
                universe.hurt.insert(self.run);
                Err(corrupt(key))
            }
            _ => Ok(()),
        }
    }

    fn tell_published(&mut self, _: InstanceId, _: &ActionKey) {}
    fn tell_progress(&mut self, _: InstanceId, _: Shown) {}
    fn tell_note(&mut self, _: InstanceId, _: String) {}
    fn tell(&mut self, event: &Event) {
        if matches!(event, Event::NodeFailed { .. }) {
            self.universe.borrow_mut().started.clear();
        }
    }
    fn note(&mut self, _: InstanceId, _: &str) {}
}

pub(super) fn corrupt(key: ActionKey) -> NodeError {
    NodeError::Cache(CacheError::Corrupt {
        key,
        name: "o".to_owned(),
        path: "o".into(),
        why: "was damaged".to_owned(),
    })
}
