//! The run itself: look up, start what is missed within the machine's room, publish, tell.
//!
//! One thread owns all state and is told by workers; see [`crate::worker`] for what happens on theirs.

mod begin;
mod end;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use flow_cache::{ActionKey, Artifact, Lease, Store};

use crate::action::Action;
use crate::events::{Event, Reporter};
use crate::outcome::{NodeFailure, NodeOutcome, NodeStatus};
use crate::plan::{Known, Plan};
use crate::recall::recall_name;
use crate::runs::RunFolder;
use crate::schedule::Schedule;
use crate::slots::{Grant, Room};
use crate::stat::FileDigests;
use crate::stop::StopFlag;
use crate::worker::{Message, Shown, WorkerProgram};
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

/// The order of what could run: by priority, then by the way that is still to go.
type Urgency = (Reverse<i64>, usize, InstanceId);

/// How often it is looked whether another process is done with a key.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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

/// A node at work.
struct Running {
    key: ActionKey,
    /// What it has of the machine; `None` once it has run, and is being published.
    grant: Option<Grant>,
    /// Raised when nobody wants it any more.
    cancel: StopFlag,
    /// When its log was told of its progress last; `None` for a node that is quick and has no log.
    logged: Option<Instant>,
}

/// Waiting for the disk takes nothing of the machine, and disks make many writes durable in the time of one. What waits is in memory.
const PUBLISHING_TOGETHER: usize = 16;

/// How often a node's log is told of its progress.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A run under way.
pub(crate) struct Execution<'a, 'e> {
    context: &'a RunContext<'a>,
    folder: &'e mut RunFolder,
    reporter: &'e mut dyn Reporter,
    schedule: Schedule<'a>,
    known: Vec<Option<Known>>,
    artifacts: Vec<Option<Artifact>>,
    outcomes: Vec<NodeOutcome>,
    pub(crate) failures: Vec<NodeFailure>,
    /// Missed, waiting for their part of the machine.
    queue: BTreeMap<Urgency, Action>,
    /// Keys that are queued or running, each with the instances that wait for the same key.
    claimed: HashMap<ActionKey, Vec<InstanceId>>,
    running: HashMap<InstanceId, Running>,
    /// To be looked up again at a time: what failed and is tried again, and what another process works on.
    later: BTreeSet<(Instant, InstanceId)>,
    failed_attempts: HashMap<InstanceId, u32>,
    /// What was published before and ran again because it was asked to: once is enough.
    made_again: HashSet<ActionKey>,
    /// What this run counts on, once it has something to run.
    lease: Option<Lease>,
    /// Who was told to wait for another process.
    waits: HashSet<InstanceId>,
    /// Raised at the first failure: running nodes stop at their next checkpoint, no further ones begin.
    drain: StopFlag,
    /// Another run has taken over: nodes that it wants as well run to their end, no further ones begin.
    superseded: bool,
    /// Damaged entries that were made again in this run, and who was sent back for it: each once.
    repaired: HashSet<ActionKey>,
    sent_back: HashSet<(InstanceId, ActionKey)>,
    mail: Mailbox,
}

impl<'a, 'e> Execution<'a, 'e> {
    pub(crate) fn new(
        context: &'a RunContext<'a>,
        plan: Plan,
        folder: &'e mut RunFolder,
        reporter: &'e mut dyn Reporter,
        mail: Mailbox,
    ) -> Self {
        let instances = context.workflow.instances();
        Self {
            context,
            folder,
            reporter,
            schedule: Schedule::new(context.workflow, &plan),
            known: plan.known,
            artifacts: vec![None; instances.len()],
            outcomes: instances.iter().map(NodeOutcome::waiting).collect(),
            failures: Vec::new(),
            queue: BTreeMap::new(),
            claimed: HashMap::new(),
            running: HashMap::new(),
            later: BTreeSet::new(),
            failed_attempts: HashMap::new(),
            made_again: HashSet::new(),
            lease: None,
            waits: HashSet::new(),
            drain: StopFlag::new(),
            superseded: false,
            repaired: HashSet::new(),
            sent_back: HashSet::new(),
            mail,
        }
    }

    /// Runs until everything is done, or nothing more may begin and nothing is running.
    pub(crate) fn drive(mut self) -> (Vec<NodeOutcome>, Vec<NodeFailure>) {
        let context = self.context;
        // A run of nothing but hits reads nothing that could be collected under it.
        if self
            .known
            .iter()
            .any(|known| !matches!(known, Some(Known::Published(_))))
        {
            let mut lease = context.store.lease();
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
                while self.start_queued(scope) {
                    self.look_up_ready();
                }
                let waits = !self.later.is_empty() || !self.queue.is_empty();
                if self.running.is_empty() && !(waits && self.may_begin()) {
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
            context.files.save();
        }
        if !self.superseded {
            let artifacts: Vec<&Artifact> = self.artifacts.iter().flatten().collect();
            context
                .store
                .remember(&recall_name(context.workflow.path()), &artifacts);
        }
        (self.outcomes, self.failures)
    }

    /// What a worker says next, if it does before something else is due; before it is waited for, everyone is told all that
    /// happened so far.
    fn hear(&mut self) -> Option<Message> {
        if let Ok(message) = self.mail.hear.try_recv() {
            return Some(message);
        }
        self.reporter.flush();
        // A request to stop wakes nobody, and neither does another run that gives room back.
        let look_again = Instant::now() + LOOK_AGAIN;
        match self.later.first() {
            Some((due, _)) => self.mail.hear.recv_deadline((*due).min(look_again)).ok(),
            None if self.running.is_empty() || self.waits_for_room() => self.mail.hear.recv_deadline(look_again).ok(),
            None => self.mail.hear.recv().ok(),
        }
    }

    /// Whether nodes wait for what another run of this process has.
    fn waits_for_room(&self) -> bool {
        let ours = self.running.len() - self.publishing();
        !self.queue.is_empty() && self.context.room.slots().granted() > ours
    }

    /// How many nodes have run and are being published.
    fn publishing(&self) -> usize {
        self.running.values().filter(|running| running.grant.is_none()).count()
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
        !self.superseded && !self.drain.is_requested() && !self.context.stop.is_requested()
    }

    fn hear_message(&mut self, message: Message) {
        match message {
            Message::Progress(id, shown) => {
                let node = self.name(id);
                self.log_progress(id, &shown);
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
                self.tell_all(&Event::NodeNote { node, line });
            }
            Message::Computed(id) => {
                if let Some(grant) = self.running.get_mut(&id).and_then(|running| running.grant.take()) {
                    self.context.room.slots().give_back(grant);
                }
            }
            Message::Finished(id, result) => self.worker_ended(id, result),
            Message::Superseded { wanted } => {
                self.superseded = true;
                let unwanted = self.running.values().filter(|running| !wanted.contains(&running.key));
                unwanted.for_each(|running| running.cancel.request());
            }
        }
    }

    /// A line in the node's log, from time to time and at the end.
    fn log_progress(&mut self, id: InstanceId, shown: &Shown) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let recent = running.logged.is_some_and(|at| at.elapsed() < LOG_EVERY);
        if recent && shown.step < shown.total {
            return;
        }
        running.logged = Some(Instant::now());
        let line = shown.to_string();
        self.folder.note(&self.name(id), &line);
    }

    fn name(&self, id: InstanceId) -> String {
        self.context.workflow.instances()[id].name.clone()
    }

    fn tell_all(&mut self, event: &Event) {
        self.reporter.report(event);
    }
}
