//! How a node begins: looked up, queued, given its part of the machine, claimed, started.

use std::cmp::Reverse;
use std::ops::Bound;

use flow_cache::ActionKey;

use super::world::{Claimed, Prepared, World};
use super::{Execution, LOOK_AGAIN, PUBLISHING_TOGETHER, Running};
use crate::events::Event;
use crate::node::NodeError;
use crate::outcome::NodeStatus;
use crate::room::Grant;
use crate::stop::StopFlag;
use crate::worker::Failure;
use crate::workflow::InstanceId;

impl<'a, W: World<'a>> Execution<'a, W> {
    /// Looks up everything of which the inputs are done. A hit is done at once and may make others ready.
    pub(super) fn look_up_ready(&mut self) {
        while self.may_begin()
            && let Some(id) = self.schedule.take()
        {
            if let Err(error) = self.look_up(id) {
                self.fail(id, Failure::Node(error));
            }
        }
    }

    fn look_up(&mut self, id: InstanceId) -> Result<(), NodeError> {
        let key = match self.world.prepare(id)? {
            Prepared::Published(artifact) => {
                self.cached(id, artifact);
                return Ok(());
            }
            Prepared::Action(key) => key,
        };
        if let Some(waiting) = self.claimed.get_mut(&key) {
            waiting.push(id);
            return Ok(());
        }
        match self.world.lookup(&key)? {
            Some(artifact) if !self.is_forced(id, &key) => self.cached(id, artifact),
            Some(_) | None => self.enqueue(id, key),
        }
        Ok(())
    }

    fn enqueue(&mut self, id: InstanceId, key: ActionKey) {
        self.claimed.insert(key, Vec::new());
        let priority = self.workflow.instances()[id].policy().priority;
        let urgency = (Reverse(priority), self.schedule.rank(id), id);
        self.queue.insert(urgency, key);
    }

    /// Whether an instance is to run though its key is published.
    fn is_forced(&self, id: InstanceId, key: &ActionKey) -> bool {
        self.workflow.instances()[id].forced && !self.made_again.contains(key)
    }

    fn cached(&mut self, id: InstanceId, artifact: W::Artifact) {
        let (node, key) = (self.name(id), W::key_of(&artifact));
        self.world.tell(&Event::NodeCached { node, key });
        self.finish(id, artifact, NodeStatus::Cached);
    }

    /// Starts queued nodes while there is room: many get one thread each, a lone one gets all. Whether one ended, or has to wait
    /// for another process, instead of being started: then others may be ready, and there is more room than was left for them.
    pub(super) fn start_queued(&mut self) -> bool {
        let mut left = self.room.free();
        let mut next = self.queue.keys().next().copied();
        while let Some(urgency) = next
            && !left.is_full()
            && self.publishing() < PUBLISHING_TOGETHER
            && self.may_begin()
        {
            let id = urgency.2;
            let need = self.workflow.instances()[id].resources();
            let others = self.queue.len() - 1;
            if let Some(error) = self.room.machine.refuse(&need) {
                self.queue.remove(&urgency);
                self.fail(id, Failure::Node(error));
                return true;
            } else if left.take(&need, others).is_none() {
                left.keep_for(&need);
            } else {
                // Another run of this process may have been faster.
                let grant = self.room.take(&need, others);
                if let Some(grant) = grant
                    && let Some(key) = self.queue.remove(&urgency)
                {
                    self.claim_and_start(id, key, grant);
                    if !self.running.contains_key(&id) {
                        return true;
                    }
                }
            }
            next = self
                .queue
                .range((Bound::Excluded(urgency), Bound::Unbounded))
                .next()
                .map(|(urgency, _)| *urgency);
        }
        false
    }

    /// Starts a node, unless another process works on its key, or has published it meanwhile.
    fn claim_and_start(&mut self, id: InstanceId, key: ActionKey, grant: Grant<'a>) {
        match self.world.claim(&key) {
            Ok(Claimed::Ours(claim, None)) => self.start(id, key, claim, grant),
            Ok(Claimed::Ours(claim, Some(_))) if self.is_forced(id, &key) => self.start(id, key, claim, grant),
            Ok(Claimed::Ours(_, Some(artifact))) => {
                self.release(&key);
                self.cached(id, artifact);
            }
            Ok(Claimed::Held(holder)) => {
                self.release(&key);
                if self.waits.insert(id) {
                    let node = self.name(id);
                    self.world.tell(&Event::NodeWaits { node, key, holder });
                }
                self.later.insert((self.world.now() + LOOK_AGAIN, id));
            }
            Err(error) => {
                self.release(&key);
                self.fail(id, Failure::Node(error));
            }
        }
    }

    /// Nobody in this run works on a key any more: who waited for that is handed out again.
    pub(super) fn release(&mut self, key: &ActionKey) {
        for waiting in self.claimed.remove(key).unwrap_or_default() {
            self.schedule.put_back(waiting);
        }
    }

    fn start(&mut self, id: InstanceId, key: ActionKey, claim: W::Claim, grant: Grant<'a>) {
        self.world.tell(&Event::NodeStarted {
            node: self.name(id),
            key,
            threads: grant.threads,
            gpus: grant.gpus.clone(),
        });
        let cancel = StopFlag::new();
        let started = self.world.start(id, claim, grant, &self.drain, &cancel);
        let publishing = false;
        self.running.insert(
            id,
            Running {
                key,
                publishing,
                cancel,
            },
        );
        if let Err(error) = started {
            self.worker_ended(id, Err(Failure::Node(error)));
        }
    }
}
