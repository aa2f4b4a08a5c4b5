//! The run itself: look up, start what is missed within the machine's threads, publish, tell.
//!
//! One thread owns all state and is told by workers; see [`crate::worker`] for what happens on theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, unbounded};
use flow_cache::{ActionKey, Artifact, CacheError, Lookup, Slot, Store};

use crate::action::{Action, OwnPart};
use crate::events::{Event, Figure, Reporter};
use crate::lineage::Lineage;
use crate::node::{Input, Inputs, NodeError, Progress};
use crate::outcome::{NodeFailure, NodeOutcome, NodeStatus};
use crate::plan::{Known, Plan};
use crate::run::recall_name;
use crate::runs::RunFolder;
use crate::schedule::Schedule;
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::worker::{Failure, Job, Message, thread_name};
use crate::workflow::{InstanceId, Workflow};

/// What a run works with; all of it outlives the workers.
pub(crate) struct Shop<'a> {
    pub(crate) workflow: &'a Workflow,
    pub(crate) store: &'a Store,
    pub(crate) files: &'a FileDigests,
    pub(crate) threads: usize,
    pub(crate) keep_going: bool,
    pub(crate) stop: StopFlag,
}

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
    /// Missed, waiting for threads; by urgency.
    queue: BTreeMap<(usize, InstanceId), (Action, Slot)>,
    /// Keys that are queued or running, each with the instances that wait for the same key.
    claimed: HashMap<ActionKey, Vec<InstanceId>>,
    running: HashMap<InstanceId, (ActionKey, usize)>,
    free: usize,
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
            free: shop.threads,
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
        std::thread::scope(|scope| {
            loop {
                self.look_up_ready();
                self.start_queued(scope);
                if self.running.is_empty() {
                    break;
                }
                match self.hear() {
                    Some(message) => self.hear_message(message),
                    None => break,
                }
            }
        });
        for id in self
            .schedule
            .left_over()
            .into_iter()
            .chain(self.queue.keys().map(|(_, id)| *id).collect::<Vec<_>>())
        {
            self.skip(id);
        }
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

    /// What a worker says next; before it is waited for, everyone is told all that happened so far.
    fn hear(&mut self) -> Option<Message> {
        self.hear.try_recv().ok().or_else(|| {
            self.reporter.flush();
            self.hear.recv().ok()
        })
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
                self.queue.insert((self.schedule.rank(id), id), (action, slot));
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

    /// Starts queued nodes while threads are free: many get one thread each, a lone one gets all.
    fn start_queued<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        while self.free > 0
            && self.may_begin()
            && let Some(((_, id), (action, slot))) = self.queue.pop_first()
        {
            let most = self.shop.workflow.instances()[id].node.resources().max_threads.max(1);
            let threads = (self.free / (self.queue.len() + 1)).clamp(1, most).min(self.free);
            self.start(scope, id, action, slot, threads);
        }
    }

    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        id: InstanceId,
        action: Action,
        slot: Slot,
        threads: usize,
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
            scratch: shop.store.scratch(&key),
            inputs,
            lineage,
            threads,
            files: shop.files,
            stops: [shop.stop.clone(), self.drain.clone()],
            tell: self.tell.clone(),
        };
        self.running.insert(id, (key, threads));
        self.free -= threads;
        self.tell_all(&Event::NodeStarted {
            node: instance.name.clone(),
            key,
            threads,
        });
        let builder = std::thread::Builder::new().name(thread_name(instance));
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
            Message::Progress(id, progress) => {
                let event = progress_event(self.name(id), progress);
                self.tell_all(&event);
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
        let Some((key, threads)) = self.running.remove(&id) else {
            return;
        };
        self.free += threads;
        for waiting in self.claimed.remove(&key).unwrap_or_default() {
            self.schedule.put_back(waiting);
        }
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
            Err(failure) => self.fail(id, failure),
        }
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

fn progress_event(node: String, progress: Progress) -> Event {
    let figure = |(name, value): (&str, f64)| Figure {
        name: name.to_owned(),
        value: value.is_finite().then_some(value),
    };
    Event::NodeProgress {
        node,
        step: progress.step,
        total: progress.total,
        unit: progress.unit.to_owned(),
        figures: progress.figures.into_iter().map(figure).collect(),
    }
}
