//! The names in parameters: whether they lead somewhere, and whether nodes depend on themselves.

use std::collections::{BTreeMap, HashMap, VecDeque};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::diagnose::{Diagnostics, Problem, suggest};
use super::template::Template;

/// Checks that every name leads to a node and, where it names one, to a round that there is; and that there is no cycle.
/// `rounds` has every node of the file with how many rounds its own table asks for, 0 if none.
pub(crate) fn check(templates: &[Template], rounds: &[(String, u32)], diagnostics: &mut Diagnostics) {
    let graph = NameGraph::of(templates);
    let rounds_of = rounds_by_name(templates, &graph, rounds);
    for template in templates {
        check_refs(template, &rounds_of, diagnostics);
    }
    check_cycles(templates, &graph, diagnostics);
}

/// How many rounds each node has, so that `student@1` can be named.
fn rounds_by_name<'a>(
    templates: &'a [Template],
    graph: &NameGraph<'a>,
    names: &'a [(String, u32)],
) -> BTreeMap<&'a str, u32> {
    let own: BTreeMap<&str, u32> = names.iter().map(|(name, rounds)| (name.as_str(), *rounds)).collect();
    let mut all = own.clone();
    for template in templates {
        let Some(rounds) = &template.table.rounds else { continue };
        for member in graph.between(&rounds.node, &template.table.name) {
            all.insert(member, rounds.count);
        }
    }
    all
}

/// `student@2` is `student` in round 2.
pub(crate) fn split_round(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once('@') {
        Some((base, round)) => match round.parse() {
            Ok(round) => (base, Some(round)),
            Err(_) => (name, None),
        },
        None => (name, None),
    }
}

fn check_refs(template: &Template, rounds_of: &BTreeMap<&str, u32>, diagnostics: &mut Diagnostics) {
    for port in template.variants.iter().flat_map(|v| &v.ports) {
        for (index, name) in port.refs.iter().enumerate() {
            let (base, round) = split_round(name);
            let span = || template.span_of_ref(port.name, index);
            match rounds_of.get(base) {
                None => {
                    let message = format!("unknown node `{name}`");
                    let label = format!("`{}` of `{}` names it", port.name, template.table.name);
                    let known = rounds_of.keys().copied().filter(|k| *k != template.table.name);
                    diagnostics.push(
                        Problem::at("workflow::unknown_node", &span(), message, label)
                            .help(suggest(base, "nodes", known)),
                    );
                }
                Some(count) if round.is_some_and(|r| r == 0 || r > *count) => {
                    let message = format!("`{base}` has no round {}", round.unwrap_or(0));
                    let help = match count {
                        0 => format!("`{base}` runs once: write `{base}`"),
                        n => format!("its rounds are 1 to {n}"),
                    };
                    diagnostics.push(Problem::at("workflow::rounds", &span(), message, "no such round").help(help));
                }
                Some(_) => {}
            }
        }
    }
}

/// Which node names which, without bindings or rounds.
pub(crate) struct NameGraph<'a> {
    graph: DiGraph<&'a str, ()>,
    index: HashMap<&'a str, NodeIndex>,
}

impl<'a> NameGraph<'a> {
    pub(crate) fn of(templates: &'a [Template]) -> Self {
        let mut graph = DiGraph::new();
        let index: HashMap<&str, NodeIndex> = templates
            .iter()
            .map(|t| (t.table.name.as_str(), graph.add_node(t.table.name.as_str())))
            .collect();
        for template in templates {
            let to = index[template.table.name.as_str()];
            for name in template.variants.iter().flat_map(|v| &v.ports).flat_map(|p| &p.refs) {
                if let Some(from) = index.get(split_round(name).0) {
                    // A name that is written twice is two edges: looking for the first would cost more than it saves.
                    graph.add_edge(*from, to, ());
                }
            }
        }
        Self { graph, index }
    }

    /// The nodes on all paths from one node to another, both included; none if there is no path.
    pub(crate) fn between(&self, from: &str, to: &str) -> Vec<&'a str> {
        let (Some(from), Some(to)) = (self.index.get(from), self.index.get(to)) else {
            return Vec::new();
        };
        let after = self.reach(*from, Direction::Outgoing);
        let before = self.reach(*to, Direction::Incoming);
        self.graph
            .node_indices()
            .filter(|n| after[n.index()] && before[n.index()])
            .map(|n| self.graph[n])
            .collect()
    }

    fn reach(&self, start: NodeIndex, direction: petgraph::Direction) -> Vec<bool> {
        let mut seen = vec![false; self.graph.node_count()];
        let mut stack = vec![start];
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut seen[node.index()], true) {
                stack.extend(self.graph.neighbors_directed(node, direction));
            }
        }
        seen
    }

    /// A shortest cycle of each knot, starting at its first name; each ends where it began.
    fn cycles(&self) -> Vec<Vec<&'a str>> {
        let mut cycles: Vec<Vec<&str>> = tarjan_scc(&self.graph)
            .into_iter()
            .filter(|knot| knot.len() > 1 || self.graph.contains_edge(knot[0], knot[0]))
            .filter_map(|knot| self.cycle_in(&knot))
            .collect();
        cycles.sort_unstable();
        cycles
    }

    fn cycle_in(&self, knot: &[NodeIndex]) -> Option<Vec<&'a str>> {
        let start = *knot.iter().min_by_key(|n| self.graph[**n])?;
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            let mut next: Vec<NodeIndex> = self.graph.neighbors(node).filter(|n| knot.contains(n)).collect();
            next.sort_by_key(|n| self.graph[*n]);
            for neighbor in next {
                if neighbor == start {
                    let mut cycle = vec![self.graph[start]];
                    let mut at = node;
                    while at != start {
                        cycle.push(self.graph[at]);
                        at = came_from[&at];
                    }
                    cycle.push(self.graph[start]);
                    cycle.reverse();
                    return Some(cycle);
                }
                came_from.entry(neighbor).or_insert_with(|| {
                    queue.push_back(neighbor);
                    node
                });
            }
        }
        None
    }
}

fn check_cycles(templates: &[Template], graph: &NameGraph<'_>, diagnostics: &mut Diagnostics) {
    let by_name: BTreeMap<&str, &Template> = templates.iter().map(|t| (t.table.name.as_str(), t)).collect();
    for cycle in graph.cycles() {
        let whole = cycle.join(" -> ");
        let (first, rest) = (cycle[0], &cycle[1..cycle.len() - 1]);
        let mut problem = Problem::at(
            "workflow::cycle",
            &by_name[first].table.name_span,
            format!("dependency cycle: {whole}"),
            format!("feeds `{}`", cycle[1]),
        );
        for (at, name) in rest.iter().enumerate() {
            problem = problem.also(&by_name[name].table.name_span, format!("feeds `{}`", cycle[at + 2]));
        }
        let help = "remove one of these references; to feed an output back, use rounds and becomes";
        diagnostics.push(problem.help(help));
    }
}
