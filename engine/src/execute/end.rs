//! How a node ends: published, tried again, made again for who cannot read it, failed, skipped.

use flow_cache::{ActionKey, CacheError};

use super::world::World;
use super::{Execution, Running};
use crate::events::Event;
use crate::node::NodeError;
use crate::outcome::{NodeFailure, NodeStatus};
use crate::worker::Failure;
use crate::workflow::InstanceId;

/// What is wrong with an artifact, for whoever it is told to: `output `model` is missing`.
fn damage(error: &CacheError) -> String {
    match error {
        CacheError::Corrupt { name, why, .. } => format!("output `{name}` {why}"),
        other => other.to_string(),
    }
}

impl<'a, W: World<'a>> Execution<'a, W> {
    pub(super) fn worker_ended(&mut self, id: InstanceId, result: Result<W::Artifact, Failure>) {
        let Some(Running { key, cancel, .. }) = self.running.remove(&id) else {
            return;
        };
        self.release(&key);
        match result {
            Ok(artifact) => {
                if self.workflow.instances()[id].forced {
                    self.made_again.insert(key);
                }
                self.world.tell_published(id, &artifact);
                self.finish(id, artifact, NodeStatus::Ran);
            }
            // What someone who was asked to stop ends with, e.g. that its file has changed, is no failure.
            Err(failure) if cancel.is_requested() || (failure.is_stopped() && !self.may_begin()) => {
                let node = self.name(id);
                self.statuses[id] = NodeStatus::Stopped;
                self.world.tell(&Event::NodeStopped { node });
                self.lose(id, false);
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
        let wait = self.workflow.instances()[id].policy().retry.wait(failed);
        let Some(wait) = wait.filter(|_| self.may_begin()) else {
            return self.fail(id, failure);
        };
        let NodeFailure { node, message, .. } = NodeFailure::new(self.name(id), failure);
        self.world.note(id, &format!("failed, will be retried: {message}"));
        let wait_s = wait.as_secs_f64();
        self.world.tell(&Event::NodeRetried {
            node,
            failed,
            wait_s,
            message,
        });
        self.later.insert((self.world.now() + wait, id));
    }

    /// An input could not be read as it was published: it is made again, once, and this instance after it.
    fn repair_input(&mut self, id: InstanceId, key: ActionKey, error: CacheError) -> Result<(), NodeError> {
        let holds = |input: &InstanceId| self.world.kept(*input) == Some(key);
        let Some(input) = self.workflow.instances()[id].inputs().find(holds) else {
            return Err(error.into());
        };
        // What was to be made again for another user and failed will not come.
        if self.schedule.is_lost(input) || !self.sent_back.insert((id, key)) {
            return Err(error.into());
        }
        if !self.schedule.is_done(input) {
            self.schedule.redo(input, id);
        } else if self.repaired.insert(key) {
            let why = damage(&error);
            self.world.discard(&key, &why)?;
            let node = self.name(input);
            self.world.tell(&Event::NodeRepaired { node, key, why });
            // It has nothing until it is made again, which may come to nothing.
            self.statuses[input] = NodeStatus::Waiting;
            self.schedule.redo(input, id);
        } else {
            self.schedule.put_back(id);
        }
        Ok(())
    }

    /// An instance has its artifact; its page for people is written before anything else learns of it.
    pub(super) fn finish(&mut self, id: InstanceId, artifact: W::Artifact, status: NodeStatus) {
        let key = W::key_of(&artifact);
        self.world.keep(id, artifact);
        match self.world.write_report(id) {
            Ok(()) => {
                self.statuses[id] = status;
                self.schedule.done(id);
            }
            Err(NodeError::Cache(error @ CacheError::Corrupt { .. })) if self.repaired.insert(key) => {
                let why = damage(&error);
                if let Err(error) = self.world.discard(&key, &why) {
                    return self.fail(id, Failure::Node(error));
                }
                let node = self.name(id);
                self.world.tell(&Event::NodeRepaired { node, key, why });
                self.schedule.put_back(id);
            }
            Err(error) => self.fail(id, Failure::Node(error)),
        }
    }

    pub(super) fn fail(&mut self, id: InstanceId, failure: Failure) {
        let failure = NodeFailure::new(self.name(id), failure);
        self.statuses[id] = NodeStatus::Failed;
        let (node, message, help) = (failure.node.clone(), failure.message.clone(), failure.help.clone());
        self.world.note(id, &format!("failed: {message}"));
        self.world.tell(&Event::NodeFailed { node, message, help });
        self.failures.push(failure);
        if !self.keep_going {
            self.drain.request();
        }
        self.lose(id, true);
    }

    fn lose(&mut self, id: InstanceId, failed: bool) {
        for lost in self.schedule.lose(id, failed) {
            self.skip(lost);
        }
    }

    pub(super) fn skip(&mut self, id: InstanceId) {
        if self.statuses[id] == NodeStatus::Waiting {
            self.statuses[id] = NodeStatus::Skipped;
            let node = self.name(id);
            self.world.tell(&Event::NodeSkipped { node });
        }
    }
}
