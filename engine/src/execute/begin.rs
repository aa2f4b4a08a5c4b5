//! How a node begins: looked up, queued, given its part of the machine, claimed, started.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::thread::Scope;
use std::time::Instant;

use flow_cache::{ActionKey, Artifact, Claim, Claiming};

use super::{Execution, LOOK_AGAIN, PUBLISHING_TOGETHER, Running};
use crate::action::{Action, OwnPart};
use crate::events::Event;
use crate::node::{Input, Inputs, NodeError};
use crate::node_log::NodeLog;
use crate::outcome::NodeStatus;
use crate::plan::Known;
use crate::slots::{Grant, Need};
use crate::stop::StopFlag;
use crate::worker::{Failure, Job, Thread, thread_name};
use crate::workflow::InstanceId;

impl<'a, 'e> Execution<'a, 'e> {
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
        let action = match self.known[id].take() {
            Some(Known::Published(artifact)) => return self.cached(id, artifact),
            Some(Known::Missed(action)) => action,
            None => {
                let own = OwnPart::new(self.context.workflow, id, self.context.files)?;
                let digest_of = |input: InstanceId| self.artifacts[input].as_ref().map(Artifact::digest);
                Action::new(self.context.workflow, id, own, digest_of)?
            }
        };
        if let Some(waiting) = self.claimed.get_mut(&action.key) {
            waiting.push(id);
            return Ok(());
        }
        match self.context.store.lookup(&action.key)? {
            Some(artifact) if !self.is_forced(id, &action.key) => self.cached(id, artifact),
            Some(_) | None => {
                self.enqueue(id, action);
                Ok(())
            }
        }
    }

    fn enqueue(&mut self, id: InstanceId, action: Action) {
        self.claimed.insert(action.key, Vec::new());
        let priority = self.context.workflow.instances()[id].policy().priority;
        let urgency = (Reverse(priority), self.schedule.rank(id), id);
        self.queue.insert(urgency, action);
    }

    /// Whether an instance is to run though its key is published.
    fn is_forced(&self, id: InstanceId, key: &ActionKey) -> bool {
        self.context.workflow.instances()[id].forced && !self.made_again.contains(key)
    }

    fn cached(&mut self, id: InstanceId, artifact: Artifact) -> Result<(), NodeError> {
        let (node, key) = (self.name(id), *artifact.key());
        self.tell_all(&Event::NodeCached { node, key });
        self.finish(id, artifact, NodeStatus::Cached);
        Ok(())
    }

    /// Starts queued nodes while there is room: many get one thread each, a lone one gets all. Whether one ended, or has to wait
    /// for another process, instead of being started: then others may be ready, and there is more room than was left for them.
    pub(super) fn start_queued<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> bool
    where
        'a: 'scope,
    {
        let mut left = self.context.room.slots().clone();
        let mut next = self.queue.keys().next().copied();
        while let Some(urgency) = next
            && !left.is_full()
            && self.publishing() < PUBLISHING_TOGETHER
            && self.may_begin()
        {
            let id = urgency.2;
            let need = Need::of(&self.context.workflow.instances()[id]);
            let others = self.queue.len() - 1;
            if let Some(error) = self.context.room.machine.refuse(&need) {
                self.queue.remove(&urgency);
                self.fail(id, Failure::Node(error));
                return true;
            } else if left.take(&need, others).is_none() {
                left.keep_for(&need);
            } else {
                // Another run of this process may have been faster.
                let grant = self.context.room.slots().take(&need, others);
                if let Some(grant) = grant
                    && let Some(action) = self.queue.remove(&urgency)
                {
                    self.claim_and_start(scope, id, action, grant);
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
    fn claim_and_start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        id: InstanceId,
        action: Action,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        let key = action.key;
        let claimed = self.context.store.claim(&key).and_then(|claiming| match claiming {
            Claiming::Given(claim) => Ok(Ok((claim, self.context.store.peek(&key)?))),
            Claiming::Held(holder) => Ok(Err(holder)),
        });
        match claimed {
            Ok(Ok((claim, None))) => return self.start(scope, id, action, claim, grant),
            Ok(Ok((claim, Some(_)))) if self.is_forced(id, &key) => {
                return self.start(scope, id, action, claim, grant);
            }
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
        self.context.room.slots().give_back(grant);
    }

    /// Nobody in this run works on a key any more: who waited for that is handed out again.
    pub(super) fn release(&mut self, key: &ActionKey) {
        for waiting in self.claimed.remove(key).unwrap_or_default() {
            self.schedule.put_back(waiting);
        }
    }

    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        id: InstanceId,
        action: Action,
        claim: Claim,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        let context = self.context;
        let instance = &context.workflow.instances()[id];
        let key = action.key;
        let cancel = StopFlag::new();
        let (inputs, lineage) = self.inputs(id);
        let job = Job {
            id,
            instance,
            workflow: context.workflow.name(),
            action,
            store: context.store,
            claim,
            scratch: context.store.scratch(&key),
            inputs,
            lineage,
            grant: grant.clone(),
            files: context.files,
            pools: &context.room.pools,
            program: context.program,
            stops: [context.stop.clone(), self.drain.clone(), cancel.clone()],
            tell: Thread {
                id,
                tell: self.mail.sender(),
                log: NodeLog::new(
                    self.folder.log(&instance.name),
                    self.folder.sharing(),
                    context.workflow.secrets().clone(),
                ),
            },
            secrets: context.workflow.secrets(),
        };
        self.tell_all(&Event::NodeStarted {
            node: instance.name.clone(),
            key,
            threads: grant.threads,
            gpus: grant.gpus.clone(),
        });
        self.running.insert(
            id,
            Running {
                key,
                grant: Some(grant),
                cancel,
                logged: None,
            },
        );
        let builder = std::thread::Builder::new().name(thread_name(&instance.name));
        if let Err(error) = builder.spawn_scoped(scope, move || job.work()) {
            let error = NodeError::failed(format!("cannot start a thread: {error}"));
            self.worker_ended(id, Err(Failure::Node(error)));
        }
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
