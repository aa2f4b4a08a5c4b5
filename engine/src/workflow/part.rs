//! A part of a workflow: some nodes with all that they depend on, or those that are to run whatever the cache holds.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::name::{Name, without_bindings};

use super::diagnose::{Problem, suggest};
use super::{Diagnostics, Instance, InstanceId, Workflow, users};

/// Values of a variable that an error lists.
const SHOWN: usize = 12;

impl Workflow {
    /// The workflow with nothing left but `wanted` and what it depends on. A node's name stands for all of its instances; values behind
    /// it, in any order (`student[labels=40]`), for those that have them. Keys do not change, so what is left is found in the cache as
    /// before.
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
            let wanted = Name::parse(name);
            let mut found = false;
            for (meant, instance) in meant.iter_mut().zip(&self.instances) {
                if instance.name == *name || stands_for(wanted.as_ref(), &instance.name) {
                    (*meant, found) = (true, true);
                }
            }
            if !found {
                diagnostics.push(self.nothing_is(name, code));
            }
        }
        diagnostics.ok(meant)
    }

    fn nothing_is(&self, name: &str, code: &'static str) -> Problem {
        let file = self.path.display();
        let node = without_bindings(name);
        let wanted = Name::parse(node);
        let names = self.instances.iter().map(Instance::name);
        let of_node: Vec<Name<'_>> = names
            .filter(|instance| stands_for(wanted.as_ref(), instance))
            .filter_map(Name::parse)
            .collect();
        if of_node.is_empty() {
            let mut known: Vec<&str> = self.instances.iter().map(|i| i.node_name.as_str()).collect();
            known.dedup();
            let message = format!("there is no node `{node}` in {file}");
            return Problem::nowhere(code, message).help(suggest(node, "nodes", known));
        }
        let message = format!("there is no `{name}` in {file}");
        let values = values(&of_node);
        let help = if values.is_empty() {
            format!("`{node}` has no variables: write `{node}`")
        } else {
            format!("of `{node}`, {}", values.join("; "))
        };
        Problem::nowhere(code, message).help(help)
    }
}

fn stands_for(wanted: Option<&Name<'_>>, instance: &str) -> bool {
    wanted
        .zip(Name::parse(instance))
        .is_some_and(|(wanted, instance)| wanted.stands_for(&instance))
}

/// The variables of these instances in words, each with its values, or some of them: `seed` is 0 or 1.
fn values(instances: &[Name<'_>]) -> Vec<String> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (variable, value) in instances.iter().flat_map(Name::bindings) {
        all.entry(variable).or_default().insert(value);
    }
    let in_words = |(variable, values): (&str, BTreeSet<&str>)| {
        let more = values.len().saturating_sub(SHOWN);
        let mut shown: Vec<String> = values.into_iter().take(SHOWN).map(str::to_owned).collect();
        shown.extend((more > 0).then(|| format!("one of {more} more")));
        format!("`{variable}` is {}", shown.join(" or "))
    };
    all.into_iter().map(in_words).collect()
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
