//! How a node ends: published, tried again, made again for who cannot read it, failed, skipped.

use std::collections::BTreeMap;
use std::time::Instant;

use flow_cache::{ActionKey, Artifact, CacheError, panic_text};

use super::{Execution, Running};
use crate::events::Event;
use crate::lineage::Lineage;
use crate::node::NodeError;
use crate::outcome::{NodeFailure, NodeStatus};
use crate::worker::Failure;
use crate::workflow::InstanceId;

impl<'a, 'e> Execution<'a, 'e> {
    pub(super) fn worker_ended(&mut self, id: InstanceId, result: Result<Artifact, Failure>) {
        let Some(Running {
            key,
            grant,
            cancel,
            logged,
        }) = self.running.remove(&id)
        else {
            return;
        };
        if let Some(grant) = grant {
            self.context.room.slots().give_back(grant);
        }
        self.release(&key);
        match result {
            Ok(artifact) => {
                if self.context.workflow.instances()[id].forced {
                    self.made_again.insert(key);
                }
                let record = artifact.summary();
                let metrics = finite(&record.metrics);
                if logged.is_some() {
                    let figures: String = metrics
                        .iter()
                        .map(|(name, value)| format!("  {name} {value}"))
                        .collect();
                    let line = format!(
                        "published as {} after {:.1} s{figures}",
                        key.short(),
                        record.cost.wall_s
                    );
                    self.folder.note(&self.name(id), &line);
                }
                let event = Event::NodeFinished {
                    node: self.name(id),
                    key,
                    metrics,
                    cost: record.cost,
                };
                self.tell_all(&event);
                self.finish(id, artifact, NodeStatus::Ran);
            }
            // What someone who was asked to stop ends with, e.g. that its file has changed, is no failure.
            Err(failure) if cancel.is_requested() || (failure.is_stopped() && !self.may_begin()) => {
                let node = self.name(id);
                self.outcomes[id].status = NodeStatus::Stopped;
                self.tell_all(&Event::NodeStopped { node });
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
        let wait = self.context.workflow.instances()[id].policy().retry.wait(failed);
        let Some(wait) = wait.filter(|_| self.may_begin()) else {
            return self.fail(id, failure);
        };
        let NodeFailure { node, message, .. } = NodeFailure::new(self.name(id), failure);
        self.folder.note(&node, &format!("failed, will be retried: {message}"));
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
        let Some(input) = self.context.workflow.instances()[id].inputs().find(holds) else {
            return Err(error.into());
        };
        if !self.sent_back.insert((id, key)) {
            return Err(error.into());
        }
        if !self.schedule.is_done(input) {
            self.schedule.redo(input, id);
        } else if self.repaired.insert(key) {
            let why = error.to_string();
            self.context.store.discard(&key, &why)?;
            let node = self.name(input);
            self.tell_all(&Event::NodeRepaired { node, key, why });
            self.schedule.redo(input, id);
        } else {
            self.schedule.put_back(id);
        }
        Ok(())
    }

    /// An instance has its artifact; its page for people is written before anything else learns of it.
    pub(super) fn finish(&mut self, id: InstanceId, artifact: Artifact, status: NodeStatus) {
        let key = *artifact.key();
        if let Some(lease) = &mut self.lease {
            lease.add([&key]);
        }
        self.outcomes[id].done(artifact.summary(), status);
        self.artifacts[id] = Some(artifact);
        match self.write_report(id) {
            Ok(()) => self.schedule.done(id),
            Err(NodeError::Cache(error @ CacheError::Corrupt { .. })) if self.repaired.insert(key) => {
                let why = error.to_string();
                if let Err(error) = self.context.store.discard(&key, &why) {
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
            let file = self.folder.write_report(&instance.name, report).map_err(|error| {
                NodeError::failed(format!("cannot write its report: {error}"))
                    .with_help("free disk space for the run directory")
            })?;
            self.tell_all(&Event::ReportWritten {
                node: instance.name.clone(),
                file,
            });
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, id: InstanceId, failure: Failure) {
        let failure = NodeFailure::new(self.name(id), failure);
        self.outcomes[id].status = NodeStatus::Failed;
        let (node, message, help) = (failure.node.clone(), failure.message.clone(), failure.help.clone());
        self.folder.note(&node, &format!("failed: {message}"));
        self.tell_all(&Event::NodeFailed { node, message, help });
        self.failures.push(failure);
        if !self.context.keep_going {
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
        if self.outcomes[id].status == NodeStatus::Waiting {
            self.outcomes[id].status = NodeStatus::Skipped;
            let node = self.name(id);
            self.tell_all(&Event::NodeSkipped { node });
        }
    }
}

fn finite(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}
