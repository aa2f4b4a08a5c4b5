//! Rounds: a node that becomes an input of the next round, unrolled into one copy of the path for each round.
//!
//! `student` with `rounds = 2, becomes = "pseudo.teacher"` gives `pseudo@1 -> student@1 -> pseudo@2 -> student@2`, where
//! `pseudo@2` has `student@1` as its teacher. Elsewhere `student` means the last round.

use std::collections::{BTreeMap, HashMap};

use super::diagnose::{Diagnostics, Problem, suggest};
use super::names::{NameGraph, split_round};
use super::node_table::Rounds;
use super::template::Template;

/// A template in one round; most have none.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// `student@2`, or the node's plain name.
    pub(crate) name: String,
    pub(crate) template: usize,
    round: Option<u32>,
    /// The port whose inputs are replaced, and the name that stands there instead.
    pub(crate) fed: Option<(String, String)>,
}

/// All templates in all their rounds.
pub(crate) struct Units {
    pub(crate) all: Vec<Unit>,
    by_name: HashMap<String, usize>,
    /// The loop that a template is part of, and how many rounds that has.
    loops: BTreeMap<String, (usize, u32)>,
}

impl Units {
    /// What a name means where `unit` writes it.
    pub(crate) fn meant(&self, unit: &Unit, templates: &[Template], name: &str) -> Option<usize> {
        if let (_, Some(_)) = split_round(name) {
            return self.by_name.get(name).copied();
        }
        let Some((target_loop, last)) = self.loops.get(name) else {
            return self.by_name.get(name).copied();
        };
        let own_loop = self.loops.get(&templates[unit.template].table.name).map(|(own, _)| own);
        let round = unit.round.filter(|_| own_loop == Some(target_loop)).unwrap_or(*last);
        self.by_name.get(&format!("{name}@{round}")).copied()
    }

    /// How many rounds a unit of the template `name` and those after it are; 1 outside of a loop.
    pub(crate) fn rounds_left(&self, unit: &Unit, name: &str) -> u32 {
        let rounds = self.loops.get(name).map_or(1, |(_, rounds)| *rounds);
        unit.round.map_or(1, |round| rounds + 1 - round)
    }
}

/// Unrolls all rounds.
///
/// # Errors
/// If `becomes` names no node or no port, if no path leads from there to the node, or if two loops share a node.
pub(crate) fn unroll(templates: &[Template]) -> Result<Units, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut loops: BTreeMap<String, (usize, u32)> = BTreeMap::new();
    let mut fed_by: BTreeMap<&str, (&Rounds, &str)> = BTreeMap::new();
    if templates.iter().all(|template| template.table.rounds.is_none()) {
        return Ok(units(templates, loops, &fed_by));
    }
    let graph = NameGraph::of(templates);
    for (index, template) in templates.iter().enumerate() {
        let Some(rounds) = &template.table.rounds else { continue };
        let last = template.table.name.as_str();
        if let Err(problem) = check(rounds, last, templates) {
            diagnostics.push(problem);
            continue;
        }
        let members = graph.between(&rounds.node, last);
        if members.is_empty() {
            diagnostics.push(no_path(rounds, last));
            continue;
        }
        for member in members {
            if loops.insert(member.to_owned(), (index, rounds.count)).is_some() {
                let message = format!("`{member}` is part of two loops of rounds");
                let problem = Problem::at("workflow::rounds", &rounds.span, message, "the second one");
                diagnostics
                    .push(problem.help("loops of rounds may not share nodes: copy the node under a second name"));
            }
        }
        fed_by.insert(rounds.node.as_str(), (rounds, last));
    }
    diagnostics.ok(())?;
    Ok(units(templates, loops, &fed_by))
}

fn units(
    templates: &[Template],
    loops: BTreeMap<String, (usize, u32)>,
    fed_by: &BTreeMap<&str, (&Rounds, &str)>,
) -> Units {
    let mut all = Vec::new();
    for (template, node) in templates.iter().enumerate() {
        let name = &node.table.name;
        match loops.get(name) {
            None => all.push(Unit {
                name: name.clone(),
                template,
                round: None,
                fed: None,
            }),
            Some((_, rounds)) => all.extend((1..=*rounds).map(|round| {
                let fed = fed_by.get(name.as_str()).filter(|_| round > 1);
                Unit {
                    name: format!("{name}@{round}"),
                    template,
                    round: Some(round),
                    fed: fed.map(|(rounds, last)| (rounds.port.clone(), format!("{last}@{}", round - 1))),
                }
            })),
        }
    }
    let by_name = all
        .iter()
        .enumerate()
        .map(|(index, unit)| (unit.name.clone(), index))
        .collect();
    Units { all, by_name, loops }
}

fn check(rounds: &Rounds, last: &str, templates: &[Template]) -> Result<(), Problem> {
    let span = &rounds.becomes_span;
    let Some(target) = templates.iter().find(|t| t.table.name == rounds.node) else {
        let names = templates.iter().map(|t| t.table.name.as_str());
        let message = format!("`becomes` of `{last}` names the unknown node `{}`", rounds.node);
        return Err(
            Problem::at("workflow::unknown_node", span, message, "no such node").help(suggest(
                &rounds.node,
                "nodes",
                names,
            )),
        );
    };
    let mut ports: Vec<&str> = target.variants.iter().flat_map(|v| &v.ports).map(|p| p.name).collect();
    ports.sort_unstable();
    ports.dedup();
    if !ports.contains(&rounds.port.as_str()) {
        let message = format!("`{}` has no port `{}`", rounds.node, rounds.port);
        let help = suggest(&rounds.port, "ports", ports);
        return Err(Problem::at("workflow::rounds", span, message, "no such port").help(help));
    }
    Ok(())
}

fn no_path(rounds: &Rounds, last: &str) -> Problem {
    let message = format!(
        "`{last}` does not depend on `{}`, so it cannot become its input",
        rounds.node
    );
    let help = format!("`becomes` closes a loop: name a node that `{last}` uses, itself or through others");
    Problem::at(
        "workflow::rounds",
        &rounds.becomes_span,
        message,
        "not among its inputs",
    )
    .help(help)
}
