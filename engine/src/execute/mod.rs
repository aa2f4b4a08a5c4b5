//! The decisions of a run: what is looked up, started within the machine's room, tried again, given up, and when it is over.
//!
//! A state machine: [`Execution::step`] decides all that can be decided and says what to wait for, [`Execution::hear`] takes what a
//! worker says. It knows no clock, no threads and no store (see [`world`]), so that its tests can simulate all of them.

mod begin;
mod end;
mod real;
#[cfg(test)]
mod simulation;
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use flow_cache::ActionKey;

pub(crate) use self::real::{Mailbox, RunContext, drive};
use self::world::World;
use crate::events::{RunStatus, StoppedBy};
use crate::outcome::{NodeFailure, NodeStatus, REPORT_THIS};
use crate::plan::Plan;
use crate::room::Room;
use crate::schedule::Schedule;
use crate::stop::StopFlag;
use crate::worker::Message;
use crate::workflow::{InstanceId, Workflow};

/// The order of what could run: by priority, then by the way that is still to go.
type Urgency = (Reverse<i64>, usize, InstanceId);

/// How often it is looked whether another process is done with a key.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A node at work.
struct Running {
    key: ActionKey,
    /// It has run, and takes nothing of the machine any more.
    publishing: bool,
    /// Raised when nobody wants it any more.
    cancel: StopFlag,
}

/// Waiting for the disk takes nothing of the machine, and disks make many writes durable in the time of one. What waits is in memory.
const PUBLISHING_TOGETHER: usize = 16;

/// What is next for who drives a run.
pub(crate) enum Step {
    /// A message, at the latest at this time if there is one.
    Wait(Option<Instant>),
    /// Nothing: the run is over.
    Ended(RunStatus),
}

/// A run under way.
pub(crate) struct Execution<'a, W: World<'a>> {
    workflow: &'a Workflow,
    /// The machine, shared with other runs of this process.
    room: &'a Room,
    world: W,
    keep_going: bool,
    schedule: Schedule<'a>,
    statuses: Vec<NodeStatus>,
    failures: Vec<NodeFailure>,
    /// Missed, waiting for their part of the machine.
    queue: BTreeMap<Urgency, ActionKey>,
    /// Keys that are queued or running, each with the instances that wait for the same key.
    claimed: HashMap<ActionKey, Vec<InstanceId>>,
    running: HashMap<InstanceId, Running>,
    /// To be looked up again at a time: what failed and is tried again, and what another process works on.
    later: BTreeSet<(Instant, InstanceId)>,
    failed_attempts: HashMap<InstanceId, u32>,
    /// What was published before and ran again because it was asked to: once is enough.
    made_again: HashSet<ActionKey>,
    /// Who was told to wait for another process.
    waits: HashSet<InstanceId>,
    /// Raised at the first failure: running nodes stop at their next checkpoint, no further ones begin.
    drain: StopFlag,
    /// Another run has taken over: nodes that it wants as well run to their end, no further ones begin.
    superseded: bool,
    /// Damaged entries that were made again in this run, and who was sent back for it: each once.
    repaired: HashSet<ActionKey>,
    sent_back: HashSet<(InstanceId, ActionKey)>,
    /// The fault that the simulation must find: the end is looked for before what became ready last is looked up.
    #[cfg(test)]
    ends_early: bool,
}

impl<'a, W: World<'a>> Execution<'a, W> {
    pub(crate) fn new(workflow: &'a Workflow, plan: &Plan, room: &'a Room, keep_going: bool, world: W) -> Self {
        Self {
            workflow,
            room,
            world,
            keep_going,
            schedule: Schedule::new(workflow, plan),
            statuses: vec![NodeStatus::Waiting; workflow.instances().len()],
            failures: Vec::new(),
            queue: BTreeMap::new(),
            claimed: HashMap::new(),
            running: HashMap::new(),
            later: BTreeSet::new(),
            failed_attempts: HashMap::new(),
            made_again: HashSet::new(),
            waits: HashSet::new(),
            drain: StopFlag::new(),
            superseded: false,
            repaired: HashSet::new(),
            sent_back: HashSet::new(),
            #[cfg(test)]
            ends_early: false,
        }
    }

    /// Decides all that can be decided now.
    pub(crate) fn step(&mut self) -> Step {
        self.wake();
        self.look_up_ready();
        while self.start_queued() {
            #[cfg(test)]
            if self.ends_early {
                break;
            }
            self.look_up_ready();
        }
        #[cfg(test)]
        if self.ends_early && self.running.is_empty() && self.later.is_empty() && !self.waits_for_room() {
            return Step::Ended(self.end());
        }
        let left = !self.later.is_empty() || !self.queue.is_empty();
        match self.running.is_empty() && !(left && self.may_begin()) {
            true => Step::Ended(self.end()),
            false => Step::Wait(self.wait_until()),
        }
    }

    /// A run ends in one of three ways: all is done, something failed, or somebody stopped it. Anything else is a defect, and told as
    /// a failure.
    fn end(&mut self) -> RunStatus {
        let all = 0..self.statuses.len();
        let left: Vec<InstanceId> = all.filter(|id| self.statuses[*id] == NodeStatus::Waiting).collect();
        left.iter().for_each(|id| self.skip(*id));
        let is_done = |status: &NodeStatus| matches!(status, NodeStatus::Ran | NodeStatus::Cached);
        match self.stopped_by() {
            _ if !self.failures.is_empty() => RunStatus::Failed,
            _ if self.statuses.iter().all(is_done) => RunStatus::Finished,
            Some(by) => RunStatus::Stopped(by),
            None => {
                self.failures.push(NodeFailure {
                    node: left.first().map(|id| self.name(*id)).unwrap_or_default(),
                    message: format!(
                        "BUG: the run ended with {} nodes not done, and nobody stopped it",
                        left.len()
                    ),
                    help: Some(REPORT_THIS.to_owned()),
                    cache_corrupt: false,
                });
                RunStatus::Failed
            }
        }
    }

    /// Until when to wait for a message. A request to stop wakes nobody, and neither does another run that gives room back.
    fn wait_until(&self) -> Option<Instant> {
        let look_again = self.world.now() + LOOK_AGAIN;
        match self.later.first() {
            Some((due, _)) => Some(look_again.min(*due)),
            None if self.running.is_empty() || self.waits_for_room() => Some(look_again),
            None => None,
        }
    }

    /// Whether nodes wait for what another run of this process has.
    fn waits_for_room(&self) -> bool {
        let ours = self.running.len() - self.publishing();
        !self.queue.is_empty() && self.room.granted() > ours
    }

    /// How many nodes have run and are being published.
    fn publishing(&self) -> usize {
        self.running.values().filter(|running| running.publishing).count()
    }

    /// Hands out again what is due.
    fn wake(&mut self) {
        let now = self.world.now();
        while let Some((due, id)) = self.later.first().copied()
            && due <= now
        {
            self.later.pop_first();
            self.schedule.put_back(id);
        }
    }

    fn may_begin(&self) -> bool {
        !self.drain.is_requested() && self.stopped_by().is_none()
    }

    fn stopped_by(&self) -> Option<StoppedBy> {
        if self.superseded {
            Some(StoppedBy::NextRun)
        } else {
            self.world.stop_requested().then_some(StoppedBy::Request)
        }
    }

    /// Takes what a worker, or the run that takes over, says.
    pub(crate) fn hear(&mut self, message: Message<W::Artifact>) {
        match message {
            Message::Progress(id, shown) => self.world.tell_progress(id, shown),
            Message::Note(id, line) => self.world.tell_note(id, line),
            Message::Computed(id) => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.publishing = true;
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

    fn name(&self, id: InstanceId) -> String {
        self.workflow.instances()[id].name.clone()
    }
}
