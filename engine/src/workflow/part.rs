//! A part of a workflow: some nodes with all that they depend on, or those that are to run whatever the cache holds.

use super::diagnose::{Problem, suggest};
use super::{Diagnostics, Instance, InstanceId, Workflow, users};

impl Workflow {
    /// The workflow with nothing left but `wanted` and what it depends on. A node's name stands for all of its instances, an
    /// instance's name (`student[labels=40]`) for itself. Keys do not change, so what is left is found in the cache as before.
    ///
    /// # Errors
    /// For each name that nothing has.
    pub fn only(self, wanted: &[String]) -> Result<Self, Diagnostics> {
        let mut kept = self.called(wanted, "workflow::only")?;
        // Inputs have smaller places than what uses them, so one pass from the end finds all.
        for id in (0..kept.len()).rev().filter(|id| kept[*id]).collect::<Vec<_>>() {
            keep_inputs(&self.instances, id, &mut kept);
        }
        let mut place: Vec<Option<InstanceId>> = vec![None; kept.len()];
        let mut instances: Vec<Instance> = Vec::new();
        for (id, mut instance) in self.instances.into_iter().enumerate().filter(|(id, _)| kept[*id]) {
            for edge in instance.ports.iter_mut().flat_map(|port| &mut port.inputs) {
                edge.instance =
                    place[edge.instance].expect("BUG: an input comes before what uses it, and is kept with it");
            }
            place[id] = Some(instances.len());
            instances.push(instance);
        }
        let users = users(&instances);
        let mut accounts = self.accounts;
        accounts.retain(|account| instances.iter().any(|instance| instance.name == account.node));
        Ok(Self {
            instances,
            users,
            accounts,
            ..self
        })
    }

    /// The workflow with `again`, named as in [`Workflow::only`], to be run even if they are cached. What comes out must be what was
    /// published: a node that makes something else of the same inputs fails, and so tells that it is not deterministic.
    ///
    /// # Errors
    /// For each name that nothing has.
    pub fn force(mut self, again: &[String]) -> Result<Self, Diagnostics> {
        let forced = self.called(again, "workflow::force")?;
        for (instance, forced) in self.instances.iter_mut().zip(forced) {
            instance.forced |= forced;
        }
        Ok(self)
    }

    /// Which instances are meant by these names; `code` is the diagnostic's for one that nothing has.
    fn called(&self, names: &[String], code: &'static str) -> Result<Vec<bool>, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut meant = vec![false; self.instances.len()];
        for name in names {
            let mut found = false;
            for (meant, instance) in meant.iter_mut().zip(&self.instances) {
                if is_called(instance, name) {
                    (*meant, found) = (true, true);
                }
            }
            if !found {
                let mut known: Vec<&str> = self.instances.iter().map(|i| i.node_name.as_str()).collect();
                known.dedup();
                let message = format!("there is no node `{name}` in {}", self.path.display());
                diagnostics.push(Problem::nowhere(code, message).help(suggest(name, "nodes", known)));
            }
        }
        diagnostics.ok(meant)
    }
}

fn is_called(instance: &Instance, name: &str) -> bool {
    let without_round = instance
        .node_name
        .split_once('@')
        .map_or(instance.node_name.as_str(), |(node, _)| node);
    [instance.name.as_str(), &instance.node_name, without_round].contains(&name)
}

fn keep_inputs(instances: &[Instance], id: InstanceId, kept: &mut [bool]) {
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        for input in instances[id].inputs() {
            if !std::mem::replace(&mut kept[input], true) {
                open.push(input);
            }
        }
    }
}
