//! The run itself: look up, start what is missed within the machine's room, publish, tell.
//!
//! One thread owns all state and is told by workers; see [`crate::worker`] for what happens on theirs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use flow_cache::{ActionKey, Artifact, CacheError, Claim, Claiming, Lease, Lookup, Slot, Store};

use crate::action::{Action, OwnPart};
use crate::events::{Event, Reporter};
use crate::lineage::Lineage;
use crate::machine::Machine;
use crate::node::{Input, Inputs, NodeError};
use crate::outcome::{NodeFailure, NodeOutcome, NodeStatus};
use crate::plan::{Known, Plan};
use crate::run::recall_name;
use crate::runs::RunFolder;
use crate::schedule::Schedule;
use crate::slots::{Grant, Need, Slots};
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::worker::{Failure, Job, Message, Shown, WorkerProgram, thread_name};
use crate::workflow::{InstanceId, Workflow};

/// What a run works with; all of it outlives the workers.
pub(crate) struct Shop<'a> {
    pub(crate) workflow: &'a Workflow,
    pub(crate) store: &'a Store,
    pub(crate) files: &'a FileDigests,
    pub(crate) machine: &'a Machine,
    /// Where processes for nodes come from, if there are any.
    pub(crate) program: Option<&'a WorkerProgram>,
    pub(crate) keep_going: bool,
    pub(crate) stop: StopFlag,
}

/// The order of what could run: by priority, then by the way that is still to go.
type Urgency = (Reverse<i64>, usize, InstanceId);

/// How often it is looked whether another process is done with a key.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A run under way.
pub(crate) struct Execution<'a, 'e> {
    shop: &'a Shop<'a>,
    folder: &'e mut RunFolder,
    reporter: &'e mut dyn Reporter,
    schedule: Schedule<'a>,
    known: Vec<Option<Known>>,
    artifacts: Vec<Option<Artifact>>,
    outcomes: Vec<NodeOutcome>,
    pub(crate) failures: Vec<NodeFailure>,
    /// Missed, waiting for their part of the machine.
    queue: BTreeMap<Urgency, (Action, Slot)>,
    /// Keys that are queued or running, each with the instances that wait for the same key.
    claimed: HashMap<ActionKey, Vec<InstanceId>>,
    running: HashMap<InstanceId, (ActionKey, Grant)>,
    slots: Slots,
    /// To be looked up again at a time: what failed and is tried again, and what another process works on.
    later: BTreeSet<(Instant, InstanceId)>,
    failed_attempts: HashMap<InstanceId, u32>,
    /// What this run counts on, once it has something to run.
    lease: Option<Lease>,
    /// Who was told to wait for another process.
    waits: HashSet<InstanceId>,
    /// Raised at the first failure: running nodes stop at their next checkpoint, no further ones begin.
    drain: StopFlag,
    /// Damaged entries that were made again in this run, and who was sent back for it: each once.
    repaired: HashSet<ActionKey>,
    sent_back: HashSet<(InstanceId, ActionKey)>,
    tell: Sender<Message>,
    hear: Receiver<Message>,
}

impl<'a, 'e> Execution<'a, 'e> {
    pub(crate) fn new(
        shop: &'a Shop<'a>,
        plan: Plan,
        folder: &'e mut RunFolder,
        reporter: &'e mut dyn Reporter,
    ) -> Self {
        let instances = shop.workflow.instances();
        let (tell, hear) = unbounded();
        Self {
            shop,
            folder,
            reporter,
            schedule: Schedule::new(shop.workflow, &plan),
            known: plan.known,
            artifacts: vec![None; instances.len()],
            outcomes: instances.iter().map(NodeOutcome::waiting).collect(),
            failures: Vec::new(),
            queue: BTreeMap::new(),
            claimed: HashMap::new(),
            running: HashMap::new(),
            slots: Slots::new(shop.machine),
            later: BTreeSet::new(),
            failed_attempts: HashMap::new(),
            lease: None,
            waits: HashSet::new(),
            drain: StopFlag::new(),
            repaired: HashSet::new(),
            sent_back: HashSet::new(),
            tell,
            hear,
        }
    }

    /// Runs until everything is done, or nothing more may begin and nothing is running.
    pub(crate) fn drive(mut self) -> (Vec<NodeOutcome>, Vec<NodeFailure>) {
        let shop = self.shop;
        // A run of nothing but hits reads nothing that could be collected under it.
        if self
            .known
            .iter()
            .any(|known| !matches!(known, Some(Known::Published(_))))
        {
            let mut lease = shop.store.lease();
            lease.add(
                self.known
                    .iter()
                    .flatten()
                    .filter_map(Known::artifact)
                    .map(Artifact::key),
            );
            self.lease = Some(lease);
        }
        std::thread::scope(|scope| {
            loop {
                self.wake();
                self.look_up_ready();
                self.start_queued(scope);
                if self.running.is_empty() && (self.later.is_empty() || !self.may_begin()) {
                    break;
                }
                if let Some(message) = self.hear() {
                    self.hear_message(message);
                }
            }
        });
        let queued = self.queue.keys().map(|(_, _, id)| *id);
        let later = self.later.iter().map(|(_, id)| *id);
        let left: Vec<InstanceId> = self
            .schedule
            .left_over()
            .into_iter()
            .chain(queued)
            .chain(later)
            .collect();
        left.into_iter().for_each(|id| self.skip(id));
        for id in std::mem::take(&mut self.claimed).into_values().flatten() {
            self.skip(id);
        }
        // What published may be written to; a store that is open for reading is left as it is.
        if self.outcomes.iter().any(|outcome| outcome.status == NodeStatus::Ran) {
            shop.files.save();
        }
        let artifacts: Vec<&Artifact> = self.artifacts.iter().flatten().collect();
        shop.store.remember(&recall_name(shop.workflow.path()), &artifacts);
        (self.outcomes, self.failures)
    }

    /// What a worker says next, if it does before something else is due; before it is waited for, everyone is told all that
    /// happened so far.
    fn hear(&mut self) -> Option<Message> {
        if let Ok(message) = self.hear.try_recv() {
            return Some(message);
        }
        self.reporter.flush();
        match self.later.first() {
            None => self.hear.recv().ok(),
            // A request to stop wakes nobody.
            Some((due, _)) => self.hear.recv_deadline((*due).min(Instant::now() + LOOK_AGAIN)).ok(),
        }
    }

    /// Hands out again what is due.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.later.first().copied()
            && due <= now
        {
            self.later.pop_first();
            self.schedule.put_back(id);
        }
    }

    fn may_begin(&self) -> bool {
        !self.drain.is_requested() && !self.shop.stop.is_requested()
    }

    /// Looks up everything of which the inputs are done. A hit is done at once and may make others ready.
    fn look_up_ready(&mut self) {
        while self.may_begin()
            && let Some(id) = self.schedule.take()
        {
            if let Err(error) = self.look_up(id) {
                self.fail(id, Failure::Node(error));
            }
        }
    }

    fn look_up(&mut self, id: InstanceId) -> Result<(), NodeError> {
        let action = match self.known[id].take() {
            Some(Known::Published(artifact)) => return self.cached(id, artifact),
            Some(Known::Missed(action)) => action,
            None => {
                let own = OwnPart::new(self.shop.workflow, id, self.shop.files)?;
                let digest_of = |input: InstanceId| self.artifacts[input].as_ref().map(Artifact::digest);
                Action::new(self.shop.workflow, id, own, digest_of)?
            }
        };
        if let Some(waiting) = self.claimed.get_mut(&action.key) {
            waiting.push(id);
            return Ok(());
        }
        match self.shop.store.lookup(&action.key)? {
            Lookup::Hit(artifact) => self.cached(id, artifact),
            Lookup::Miss(slot) => {
                self.claimed.insert(action.key, Vec::new());
                let priority = self.shop.workflow.instances()[id].terms().priority;
                let urgency = (Reverse(priority), self.schedule.rank(id), id);
                self.queue.insert(urgency, (action, slot));
                Ok(())
            }
        }
    }

    fn cached(&mut self, id: InstanceId, artifact: Artifact) -> Result<(), NodeError> {
        let (node, key) = (self.name(id), *artifact.key());
        self.tell_all(&Event::NodeCached { node, key });
        self.finish(id, artifact, NodeStatus::Cached);
        Ok(())
    }

    /// Starts queued nodes while there is room: many get one thread each, a lone one gets all.
    fn start_queued<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        let mut left = self.slots.clone();
        let mut next = self.queue.keys().next().copied();
        while let Some(urgency) = next
            && !left.is_full()
            && self.may_begin()
        {
            let id = urgency.2;
            let need = Need::of(&self.shop.workflow.instances()[id]);
            let others = self.queue.len() - 1;
            if let Some(error) = self.shop.machine.refuse(&need) {
                self.queue.remove(&urgency);
                self.fail(id, Failure::Node(error));
            } else if left.take(&need, others).is_none() {
                left.keep_for(&need);
            } else if let Some(grant) = self.slots.take(&need, others)
                && let Some((action, slot)) = self.queue.remove(&urgency)
            {
                self.claim_and_start(scope, id, action, slot, grant);
            }
            next = self
                .queue
                .range((Bound::Excluded(urgency), Bound::Unbounded))
                .next()
                .map(|(urgency, _)| *urgency);
        }
    }

    /// Starts a node, unless another process works on its key, or has published it meanwhile.
    fn claim_and_start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        id: InstanceId,
        action: Action,
        slot: Slot,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        let key = action.key;
        let claimed = self.shop.store.claim(&key).and_then(|claiming| match claiming {
            Claiming::Given(claim) => Ok(Ok((claim, self.shop.store.peek(&key)?))),
            Claiming::Held(holder) => Ok(Err(holder)),
        });
        match claimed {
            Ok(Ok((claim, None))) => return self.start(scope, id, action, slot, claim, grant),
            Ok(Ok((_, Some(artifact)))) => {
                self.release(&key);
                if let Err(error) = self.cached(id, artifact) {
                    self.fail(id, Failure::Node(error));
                }
            }
            Ok(Err(holder)) => {
                self.release(&key);
                if self.waits.insert(id) {
                    let node = self.name(id);
                    self.tell_all(&Event::NodeWaits { node, key, holder });
                }
                self.later.insert((Instant::now() + LOOK_AGAIN, id));
            }
            Err(error) => {
                self.release(&key);
                self.fail(id, Failure::Node(error.into()));
            }
        }
        self.slots.give_back(grant);
    }

    /// Nobody in this run works on a key any more: who waited for that is handed out again.
    fn release(&mut self, key: &ActionKey) {
        for waiting in self.claimed.remove(key).unwrap_or_default() {
            self.schedule.put_back(waiting);
        }
    }

    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        id: InstanceId,
        action: Action,
        slot: Slot,
        claim: Claim,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        let shop = self.shop;
        let instance = &shop.workflow.instances()[id];
        let key = action.key;
        let (inputs, lineage) = self.inputs(id);
        let job = Job {
            id,
            instance,
            workflow: shop.workflow.name(),
            action,
            slot,
            claim,
            scratch: shop.store.scratch(&key),
            cache: shop.store.root(),
            inputs,
            lineage,
            grant: grant.clone(),
            files: shop.files,
            program: shop.program,
            stops: [shop.stop.clone(), self.drain.clone()],
            tell: self.tell.clone(),
        };
        self.tell_all(&Event::NodeStarted {
            node: instance.name.clone(),
            key,
            threads: grant.threads,
            gpus: grant.gpus.clone(),
        });
        self.running.insert(id, (key, grant));
        let builder = std::thread::Builder::new().name(thread_name(&instance.name));
        if let Err(error) = builder.spawn_scoped(scope, move || job.work()) {
            let error = NodeError::failed(format!("cannot start a thread: {error}"));
            self.worker_ended(id, Err(Failure::Node(error)));
        }
    }

    fn inputs(&self, id: InstanceId) -> (Inputs, Vec<ActionKey>) {
        let instances = self.shop.workflow.instances();
        let mut inputs = Inputs::default();
        let mut keys = BTreeSet::new();
        for port in &instances[id].ports {
            let taken = port.inputs.iter().filter_map(|edge| {
                let artifact = self.artifacts[edge.instance].clone()?;
                let (node, bindings) = match port.labelled {
                    true => (edge.node.clone(), instances[edge.instance].bindings.clone()),
                    false => Default::default(),
                };
                Some(Input {
                    node,
                    bindings,
                    artifact,
                })
            });
            let taken: Vec<Input> = taken.collect();
            keys.extend(taken.iter().map(|input| *input.artifact.key()));
            inputs.0.insert(port.name, taken);
        }
        (inputs, keys.into_iter().collect())
    }

    fn hear_message(&mut self, message: Message) {
        match message {
            Message::Progress(id, shown) => {
                let node = self.name(id);
                let Shown {
                    step,
                    total,
                    unit,
                    figures,
                } = shown;
                self.tell_all(&Event::NodeProgress {
                    node,
                    step,
                    total,
                    unit,
                    figures,
                });
            }
            Message::Note(id, line) => {
                let node = self.name(id);
                self.folder.note(&node, &line);
                self.tell_all(&Event::NodeNote { node, line });
            }
            Message::Finished(id, result) => self.worker_ended(id, result),
        }
    }

    fn worker_ended(&mut self, id: InstanceId, result: Result<Artifact, Failure>) {
        let Some((key, grant)) = self.running.remove(&id) else {
            return;
        };
        self.slots.give_back(grant);
        self.release(&key);
        match result {
            Ok(artifact) => {
                let record = artifact.account();
                let metrics = finite(&record.metrics);
                let event = Event::NodeFinished {
                    node: self.name(id),
                    key,
                    metrics,
                    cost: record.cost,
                };
                self.tell_all(&event);
                self.finish(id, artifact, NodeStatus::Ran);
            }
            Err(Failure::Node(NodeError::Stopped)) if !self.may_begin() => {
                let node = self.name(id);
                self.outcomes[id].status = NodeStatus::Stopped;
                self.tell_all(&Event::NodeStopped { node });
                self.lose(id);
            }
            Err(Failure::Node(NodeError::Cache(CacheError::Corrupt { key, name, path, why }))) => {
                let error = CacheError::Corrupt { key, name, path, why };
                if let Err(error) = self.repair_input(id, key, error) {
                    self.fail(id, Failure::Node(error));
                }
            }
            Err(failure) => self.retry_or_fail(id, failure),
        }
    }

    /// A node that may be tried again is, after a while.
    fn retry_or_fail(&mut self, id: InstanceId, failure: Failure) {
        let failed = self.failed_attempts.entry(id).or_default();
        *failed += 1;
        let failed = *failed;
        let wait = self.shop.workflow.instances()[id].terms().retry.wait(failed);
        let Some(wait) = wait.filter(|_| self.may_begin()) else {
            return self.fail(id, failure);
        };
        let NodeFailure { node, message, .. } = NodeFailure::new(self.name(id), failure);
        self.folder
            .note(&node, &format!("failed, to be tried again: {message}"));
        let wait_s = wait.as_secs_f64();
        self.tell_all(&Event::NodeRetried {
            node,
            failed,
            wait_s,
            message,
        });
        self.later.insert((Instant::now() + wait, id));
    }

    /// An input could not be read as it was published: it is made again, once, and this instance after it.
    fn repair_input(&mut self, id: InstanceId, key: ActionKey, error: CacheError) -> Result<(), NodeError> {
        let holds = |input: &InstanceId| self.artifacts[*input].as_ref().is_some_and(|a| *a.key() == key);
        let Some(input) = self.shop.workflow.instances()[id].inputs().find(holds) else {
            return Err(error.into());
        };
        if !self.sent_back.insert((id, key)) {
            return Err(error.into());
        }
        if !self.schedule.is_done(input) {
            self.schedule.redo(input, id);
        } else if self.repaired.insert(key) {
            let why = error.to_string();
            self.shop.store.discard(&key, &why)?;
            let node = self.name(input);
            self.tell_all(&Event::NodeRepaired { node, key, why });
            self.schedule.redo(input, id);
        } else {
            self.schedule.put_back(id);
        }
        Ok(())
    }

    /// An instance has its artifact; its page for people is written before anything else learns of it.
    fn finish(&mut self, id: InstanceId, artifact: Artifact, status: NodeStatus) {
        let key = *artifact.key();
        if let Some(lease) = &mut self.lease {
            lease.add([&key]);
        }
        self.outcomes[id].done(artifact.account(), status);
        self.artifacts[id] = Some(artifact);
        match self.write_report(id) {
            Ok(()) => self.schedule.done(id),
            Err(NodeError::Cache(error @ CacheError::Corrupt { .. })) if self.repaired.insert(key) => {
                let why = error.to_string();
                if let Err(error) = self.shop.store.discard(&key, &why) {
                    return self.fail(id, Failure::Node(error.into()));
                }
                let node = self.name(id);
                self.tell_all(&Event::NodeRepaired { node, key, why });
                self.schedule.put_back(id);
            }
            Err(error) => self.fail(id, Failure::Node(error)),
        }
    }

    /// Nodes at the end, and nodes that see names, may have something to say to people.
    fn write_report(&mut self, id: InstanceId) -> Result<(), NodeError> {
        let workflow = self.shop.workflow;
        let instance = &workflow.instances()[id];
        if !workflow.users(id).is_empty() && !instance.has_labelled_port() {
            return Ok(());
        }
        let Some(artifact) = &self.artifacts[id] else {
            return Ok(());
        };
        let artifacts = &self.artifacts;
        let lineage = Lineage {
            workflow,
            id,
            artifacts,
        };
        let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            instance.node.report(artifact, &lineage)
        }))
        .unwrap_or_else(|_| Err(NodeError::failed("BUG: the report of this node panicked")))?;
        if let Some(report) = report {
            let file = self.folder.write_report(&instance.name, report).map_err(|error| {
                NodeError::failed(format!("cannot write its report: {error}"))
                    .with_help("make room in the run's folder")
            })?;
            self.tell_all(&Event::ReportWritten {
                node: instance.name.clone(),
                file,
            });
        }
        Ok(())
    }

    fn fail(&mut self, id: InstanceId, failure: Failure) {
        let failure = NodeFailure::new(self.name(id), failure);
        self.outcomes[id].status = NodeStatus::Failed;
        let (node, message, help) = (failure.node.clone(), failure.message.clone(), failure.help.clone());
        self.folder.note(&node, &format!("failed: {message}"));
        self.tell_all(&Event::NodeFailed { node, message, help });
        self.failures.push(failure);
        if !self.shop.keep_going {
            self.drain.request();
        }
        self.lose(id);
    }

    fn lose(&mut self, id: InstanceId) {
        for lost in self.schedule.lose(id) {
            self.skip(lost);
        }
    }

    fn skip(&mut self, id: InstanceId) {
        if self.outcomes[id].status == NodeStatus::Waiting {
            self.outcomes[id].status = NodeStatus::Skipped;
            let node = self.name(id);
            self.tell_all(&Event::NodeSkipped { node });
        }
    }

    fn name(&self, id: InstanceId) -> String {
        self.shop.workflow.instances()[id].name.clone()
    }

    fn tell_all(&mut self, event: &Event) {
        self.reporter.report(event);
    }
}

fn finite(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}
