//! What a run's artifacts and its event log show, as figures for `flow report`. Everything is read; nothing is computed that takes longer than reading.

mod curves;
mod differences;
mod guesses;
mod judged;
mod networks;
pub(crate) mod picture;
mod pretexts;

use std::collections::HashMap;

use flow_cache::name::{Name, without_bindings};
use flow_cache::{ActionKey, Artifact, Store};
use flow_engine::NodeOutcome;
use flow_engine::figure::{Figure, Judged};
use flow_engine::node::Input;
use flow_engine::timeline::Told;

/// A node of a run with what there is of it.
pub struct Shown<'a> {
    /// How it ended.
    pub outcome: &'a NodeOutcome,
    /// What it made, if that is in the cache.
    pub artifact: Option<Artifact>,
    /// What the log of the run that computed it says, if there is one.
    pub told: Option<&'a Told>,
}

impl<'a> Shown<'a> {
    /// The nodes of a run, each key once.
    pub fn of_run(store: &Store, outcomes: &'a [NodeOutcome], told: &HashMap<ActionKey, &'a Told>) -> Vec<Self> {
        let mut seen = std::collections::HashSet::new();
        let of_node = |outcome: &'a NodeOutcome| {
            let key = outcome.key?;
            seen.insert(key).then(|| Self {
                outcome,
                // One that is damaged is as good as none: what can be shown is.
                artifact: store.peek(&key).ok().flatten(),
                told: told.get(&key).copied(),
            })
        };
        outcomes.iter().filter_map(of_node).collect()
    }

    /// `student@2` of `student@2[labels=40,seed=0]`.
    fn node(&self) -> &'a str {
        without_bindings(&self.outcome.name)
    }

    /// `student` of that.
    fn base(&self) -> &'a str {
        Name::parse(&self.outcome.name).map_or(self.node(), |name| name.base())
    }

    /// 2 of that; 1 where there are no rounds.
    fn round(&self) -> u32 {
        let name = Name::parse(&self.outcome.name);
        name.and_then(|name| name.round()?.parse().ok()).unwrap_or(1)
    }

    /// The value of its first variable, `labels=40` of that; empty where there are none.
    fn first(&self) -> String {
        let name = Name::parse(&self.outcome.name);
        let first = name.and_then(|name| name.bindings().first().copied());
        first.map_or_else(String::new, |(variable, value)| format!("{variable}={value}"))
    }

    fn input(&self) -> Option<Input> {
        Some(input(self.artifact.clone()?))
    }
}

fn input(artifact: Artifact) -> Input {
    Input {
        node: String::new(),
        bindings: Default::default(),
        artifact,
    }
}

/// What is drawn of scores by arm: confusion matrices, and the images that tell arms apart.
pub fn judged(store: &Store, nodes: &[Shown<'_>], judged: &Judged) -> Vec<Figure> {
    judged::figures(store, nodes, judged)
}

/// What is drawn of the nodes by themselves: learning curves, what pretext tasks showed, and pseudo-labels.
pub fn trainings(nodes: &[Shown<'_>]) -> Vec<Figure> {
    let mut figures = curves::figures(nodes);
    figures.extend(pretexts::figures(nodes));
    figures.extend(guesses::figures(nodes));
    figures
}

/// What some of a run's networks see, the first pre-trained one and the first of each task: made now, and put into the cache, where it is not there yet.
pub fn networks(store: &Store, nodes: &[Shown<'_>]) -> Vec<Figure> {
    networks::figures(store, nodes)
}

/// What differs between the scores of two runs.
pub fn differences(store: &Store, first: &Judged, second: &Judged) -> Vec<Figure> {
    differences::figures(store, first, second)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The values of a key, made where there is none: in the order of first use.
fn entry<'t, V: Default>(table: &'t mut Vec<(String, V)>, key: &str) -> &'t mut V {
    let place = table.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        table.push((key.to_owned(), V::default()));
        table.len() - 1
    });
    &mut table[place].1
}
