//! A run in the real world: its clock, threads, store and run folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use flow_cache::{ActionKey, Artifact, Claim, Claiming, Lease, Store, panic_text};

use super::world::{Claimed, Prepared, World};
use super::{Execution, Step};
use crate::action::{Action, OwnPart};
use crate::events::{Event, Reporter, RunStatus};
use crate::lineage::Lineage;
use crate::node::{Input, Inputs, NodeError};
use crate::node_log::NodeLog;
use crate::outcome::{NodeFailure, NodeOutcome, NodeStatus};
use crate::plan::{Plan, Resolved};
use crate::recall::recall_name;
use crate::room::{Grant, Room};
use crate::runs::RunFolder;
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::worker::{Job, Message, Shown, Thread, WorkerProgram, thread_name};
use crate::workflow::{InstanceId, Workflow};

/// What a run works with; all of it outlives the workers.
pub(crate) struct RunContext<'a> {
    pub(crate) workflow: &'a Workflow,
    pub(crate) store: &'a Store,
    pub(crate) files: &'a FileDigests,
    /// The machine, shared with other runs of this process.
    pub(crate) room: &'a Room,
    /// Where processes for nodes come from, if there are any.
    pub(crate) program: Option<&'a WorkerProgram>,
    pub(crate) keep_going: bool,
    pub(crate) stop: StopFlag,
}

/// Where a run hears of its workers, and of the run that takes over from it.
pub(crate) struct Mailbox {
    tell: Sender<Message>,
    hear: Receiver<Message>,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        let (tell, hear) = unbounded();
        Self { tell, hear }
    }

    pub(crate) fn sender(&self) -> Sender<Message> {
        self.tell.clone()
    }
}

/// How often a node's log is told of its progress.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Runs until it is over: how it ended, what became of each node, and what failed.
pub(crate) fn drive(
    context: &RunContext<'_>,
    mut plan: Plan,
    folder: &mut RunFolder,
    reporter: &mut dyn Reporter,
    mail: Mailbox,
) -> (RunStatus, Vec<NodeOutcome>, Vec<NodeFailure>) {
    std::thread::scope(|scope| {
        let Mailbox { tell, hear } = mail;
        let mut world = Real::new(context, scope, folder, reporter, tell);
        world.resolved = std::mem::take(&mut plan.resolved);
        world.take_lease();
        let mut execution = Execution::new(context.workflow, &plan, context.room, context.keep_going, world);
        let status = loop {
            match execution.step() {
                Step::Ended(status) => break status,
                Step::Wait(until) => {
                    if let Some(message) = execution.world.receive(&hear, until) {
                        execution.hear(message);
                    }
                }
            }
        };
        let Execution {
            mut world,
            statuses,
            failures,
            superseded,
            ..
        } = execution;
        for (outcome, status) in world.outcomes.iter_mut().zip(statuses) {
            outcome.status = status;
        }
        // What published may be written to; a store that is open for reading is left as it is.
        if world.outcomes.iter().any(|outcome| outcome.status == NodeStatus::Ran) {
            context.files.save();
        }
        if !superseded {
            let artifacts: Vec<&Artifact> = world.artifacts.iter().flatten().collect();
            let name = recall_name(context.workflow.path());
            context.store.remember(&name, &artifacts);
        }
        (status, world.outcomes, failures)
    })
}

struct Real<'scope, 'env, 'a, 'e> {
    context: &'a RunContext<'a>,
    scope: &'scope Scope<'scope, 'env>,
    folder: &'e mut RunFolder,
    reporter: &'e mut dyn Reporter,
    tell: Sender<Message>,
    /// What the plan found.
    resolved: Vec<Option<Resolved>>,
    /// What will be done for those that were looked up and missed.
    actions: HashMap<InstanceId, Action>,
    artifacts: Vec<Option<Artifact>>,
    outcomes: Vec<NodeOutcome>,
    /// What this run counts on, once it has something to run.
    lease: Option<Lease>,
    /// When a node's log was told of its progress last.
    logged: HashMap<InstanceId, Instant>,
}

impl<'scope, 'env, 'a, 'e> Real<'scope, 'env, 'a, 'e> {
    fn new(
        context: &'a RunContext<'a>,
        scope: &'scope Scope<'scope, 'env>,
        folder: &'e mut RunFolder,
        reporter: &'e mut dyn Reporter,
        tell: Sender<Message>,
    ) -> Self {
        let instances = context.workflow.instances();
        Self {
            context,
            scope,
            folder,
            reporter,
            tell,
            resolved: Vec::new(),
            actions: HashMap::new(),
            artifacts: vec![None; instances.len()],
            outcomes: instances.iter().map(NodeOutcome::waiting).collect(),
            lease: None,
            logged: HashMap::new(),
        }
    }

    /// A run of nothing but hits reads nothing that could be collected under it.
    fn take_lease(&mut self) {
        let is_hit = |resolved: &Option<Resolved>| matches!(resolved, Some(Resolved::Published(_)));
        if !self.resolved.iter().all(is_hit) {
            let mut lease = self.context.store.lease();
            let artifacts = self.resolved.iter().flatten().filter_map(Resolved::artifact);
            lease.add(artifacts.map(Artifact::key));
            self.lease = Some(lease);
        }
    }

    /// The next message, if there is one in time; before it is waited for, everyone is told all that happened so far.
    fn receive(&mut self, hear: &Receiver<Message>, until: Option<Instant>) -> Option<Message> {
        if let Ok(message) = hear.try_recv() {
            return Some(message);
        }
        self.reporter.flush();
        match until {
            Some(until) => hear.recv_deadline(until).ok(),
            None => hear.recv().ok(),
        }
    }

    fn name(&self, id: InstanceId) -> &'a str {
        &self.context.workflow.instances()[id].name
    }

    fn inputs(&self, id: InstanceId) -> (Inputs, Vec<ActionKey>) {
        let instances = self.context.workflow.instances();
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
}

impl<'scope, 'a: 'scope> World<'a> for Real<'scope, '_, 'a, '_> {
    type Artifact = Artifact;
    type Claim = Claim;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn stop_requested(&self) -> bool {
        self.context.stop.is_requested()
    }

    fn prepare(&mut self, id: InstanceId) -> Result<Prepared<Artifact>, NodeError> {
        let action = match self.resolved[id].take() {
            Some(Resolved::Published(artifact)) => return Ok(Prepared::Published(artifact)),
            Some(Resolved::Missed(action)) => action,
            None => {
                let own = OwnPart::new(self.context.workflow, id, self.context.files)?;
                let digest_of = |input: InstanceId| self.artifacts[input].as_ref().map(Artifact::digest);
                Action::new(self.context.workflow, id, own, digest_of)?
            }
        };
        let key = action.key;
        self.actions.insert(id, action);
        Ok(Prepared::Action(key))
    }

    fn lookup(&mut self, key: &ActionKey) -> Result<Option<Artifact>, NodeError> {
        Ok(self.context.store.lookup(key)?)
    }

    fn claim(&mut self, key: &ActionKey) -> Result<Claimed<Claim, Artifact>, NodeError> {
        Ok(match self.context.store.claim(key)? {
            Claiming::Given(claim) => Claimed::Ours(claim, self.context.store.peek(key)?),
            Claiming::Held(holder) => Claimed::Held(holder),
        })
    }

    fn discard(&mut self, key: &ActionKey, why: &str) -> Result<(), NodeError> {
        Ok(self.context.store.discard(key, why).map(drop)?)
    }

    fn start(
        &mut self,
        id: InstanceId,
        claim: Claim,
        grant: Grant<'a>,
        drain: &StopFlag,
        cancel: &StopFlag,
    ) -> Result<(), NodeError> {
        let context = self.context;
        let instance = &context.workflow.instances()[id];
        let action = self.actions.remove(&id);
        let action = action.ok_or_else(|| NodeError::failed("BUG: it was started before it was looked up"))?;
        let (inputs, lineage) = self.inputs(id);
        let job = Job {
            id,
            instance,
            workflow: context.workflow.name(),
            scratch: context.store.scratch(&action.key),
            action,
            store: context.store,
            claim,
            inputs,
            lineage,
            grant,
            files: context.files,
            pools: &context.room.pools,
            program: context.program,
            stops: [context.stop.clone(), drain.clone(), cancel.clone()],
            tell: Thread {
                id,
                tell: self.tell.clone(),
                log: NodeLog::new(
                    self.folder.log(&instance.name),
                    self.folder.sharing(),
                    context.workflow.secrets().clone(),
                ),
            },
            secrets: context.workflow.secrets(),
        };
        let builder = std::thread::Builder::new().name(thread_name(&instance.name));
        let spawned = builder.spawn_scoped(self.scope, move || job.work());
        spawned
            .map(drop)
            .map_err(|error| NodeError::cannot("start a thread", &error))
    }

    fn key_of(artifact: &Artifact) -> ActionKey {
        *artifact.key()
    }

    fn keep(&mut self, id: InstanceId, artifact: Artifact) {
        if let Some(lease) = &mut self.lease {
            lease.add([artifact.key()]);
        }
        self.actions.remove(&id);
        self.outcomes[id].done(artifact.summary(), NodeStatus::Cached);
        self.artifacts[id] = Some(artifact);
    }

    fn kept(&self, id: InstanceId) -> Option<ActionKey> {
        self.artifacts[id].as_ref().map(|artifact| *artifact.key())
    }

    /// Nodes at the end, and nodes that see names, may have something to say to people.
    fn write_report(&mut self, id: InstanceId) -> Result<(), NodeError> {
        let workflow = self.context.workflow;
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
            store: self.context.store,
        };
        let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            instance.node.report(artifact, &lineage)
        }))
        .unwrap_or_else(|payload| {
            let text = panic_text(payload.as_ref());
            Err(NodeError::failed(format!(
                "BUG: the report of this node panicked: {text}"
            )))
        })?;
        if let Some(report) = report {
            let written = self.folder.write_report(&instance.name, report);
            let file = written.map_err(|error| NodeError::cannot("write its report", &error))?;
            self.reporter.report(&Event::ReportWritten {
                node: instance.name.clone(),
                file,
            });
        }
        Ok(())
    }

    fn tell_published(&mut self, id: InstanceId, artifact: &Artifact) {
        let record = artifact.summary();
        let (key, metrics) = (record.key, finite(&record.metrics));
        if self.logged.remove(&id).is_some() {
            let metrics: String = metrics
                .iter()
                .map(|(name, value)| format!("  {name} {value}"))
                .collect();
            let line = format!(
                "published as {} after {:.1} s{metrics}",
                key.short(),
                record.cost.wall_s
            );
            self.note(id, &line);
        }
        self.reporter.report(&Event::NodeFinished {
            node: self.name(id).to_owned(),
            key,
            metrics,
            cost: record.cost,
        });
    }

    fn tell_progress(&mut self, id: InstanceId, shown: Shown) {
        let recent = self.logged.get(&id).is_some_and(|at| at.elapsed() < LOG_EVERY);
        if !recent || shown.step >= shown.total {
            self.logged.insert(id, Instant::now());
            self.note(id, &shown.to_string());
        }
        let node = self.name(id).to_owned();
        let Shown {
            step,
            total,
            unit,
            metrics,
        } = shown;
        self.reporter.report(&Event::NodeProgress {
            node,
            step,
            total,
            unit,
            metrics,
        });
    }

    fn tell_note(&mut self, id: InstanceId, line: String) {
        let node = self.name(id).to_owned();
        self.reporter.report(&Event::NodeNote { node, line });
    }

    fn tell(&mut self, event: &Event) {
        self.reporter.report(event);
    }

    fn note(&mut self, id: InstanceId, line: &str) {
        self.folder.note(&self.context.workflow.instances()[id].name, line);
    }
}

fn finite(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}
