//! The workflow as a drawing: DOT and Mermaid, of nodes as written or of all instances.
//!
//! Edges that follow from others are left out (the transitive reduction), so that a drawing shows what feeds what and not
//! that everything depends on the images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use petgraph::algo::toposort;
use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::{DiGraph, NodeIndex};

use flow_cache::ActionKey;
use flow_cache::name::without_bindings;

use crate::figure;
use crate::outcome::NodeOutcome;
use crate::workflow::Workflow;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nodes as written (a loop of rounds unrolled), with how many instances each has.
    Nodes,
    /// Every instance.
    Instances,
}

/// One box of a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// What it is called.
    pub label: String,
    /// The node's kind, which gives its colour.
    pub kind: &'static str,
    /// How many instances it stands for.
    pub instances: usize,
}

/// Fills that black text can be read on, one for each kind in alphabetical order, then from the start again.
const COLOURS: [&str; 10] = [
    "#cfe2f3", "#d9ead3", "#fff2cc", "#f4cccc", "#d9d2e9", "#fce5cd", "#d0e0e3", "#ead1dc", "#e2efda", "#ededed",
];

/// The workflow as a graph: an edge goes from what is made to what takes it. Boxes are in the workflow's order.
pub fn graph(workflow: &Workflow, detail: Detail) -> DiGraph<Drawn, ()> {
    let instances = workflow.instances();
    let mut graph = DiGraph::new();
    let mut by_name: BTreeMap<&str, NodeIndex> = BTreeMap::new();
    let mut box_of = Vec::with_capacity(instances.len());
    for instance in instances {
        let label = match detail {
            Detail::Nodes => instance.node_name(),
            Detail::Instances => instance.name(),
        };
        let index = *by_name.entry(label).or_insert_with(|| {
            graph.add_node(Drawn {
                label: label.to_owned(),
                kind: instance.kind(),
                instances: 0,
            })
        });
        graph[index].instances += 1;
        box_of.push(index);
    }
    for (id, instance) in instances.iter().enumerate() {
        for input in instance.inputs() {
            graph.update_edge(box_of[input], box_of[id], ());
        }
    }
    graph
}

/// The drawing in Graphviz' language.
pub fn dot(workflow: &Workflow, detail: Detail) -> String {
    let graph = graph(workflow, detail);
    let colours = colours(&graph);
    let mut out = String::from("digraph {\n    rankdir=LR\n    node [shape=box style=\"rounded,filled\"]\n");
    for index in graph.node_indices() {
        let (drawn, id) = (&graph[index], index.index());
        let (label, colour) = (quote(&label(drawn)), colours[drawn.kind]);
        let _ = writeln!(
            out,
            "    n{id} [label=\"{label}\\n{}\" fillcolor=\"{colour}\"]",
            quote(drawn.kind)
        );
    }
    for (from, to) in reduced_edges(&graph) {
        let _ = writeln!(out, "    n{from} -> n{to}");
    }
    out.push_str("}\n");
    out
}

/// The drawing in Mermaid's language.
pub fn mermaid(workflow: &Workflow, detail: Detail) -> String {
    let graph = graph(workflow, detail);
    let colours = colours(&graph);
    let mut out = String::from("flowchart LR\n");
    for index in graph.node_indices() {
        let (drawn, id) = (&graph[index], index.index());
        let label = label(drawn).replace('"', "#quot;");
        let _ = writeln!(out, "    n{id}[\"{label}<br/>{}\"]:::{}", drawn.kind, class(drawn.kind));
    }
    for (from, to) in reduced_edges(&graph) {
        let _ = writeln!(out, "    n{from} --> n{to}");
    }
    for (kind, colour) in &colours {
        let _ = writeln!(out, "    classDef {} fill:{colour},stroke:#555,color:#000", class(kind));
    }
    out
}

/// What a run made of its workflow: nodes as written, with how their instances ended and how long they took. Arrows are those of the records,
/// `inputs`: what never ran has none.
pub fn of_run(nodes: &[NodeOutcome], inputs: &BTreeMap<ActionKey, Vec<ActionKey>>) -> figure::Graph {
    let mut graph: DiGraph<figure::GraphBox, ()> = DiGraph::new();
    let mut by_name: BTreeMap<&str, NodeIndex> = BTreeMap::new();
    let mut box_of: HashMap<ActionKey, NodeIndex> = HashMap::new();
    let mut timed: BTreeSet<ActionKey> = BTreeSet::new();
    for node in nodes {
        let name = without_bindings(&node.name);
        let index = *by_name.entry(name).or_insert_with(|| {
            graph.add_node(figure::GraphBox {
                name: name.to_owned(),
                kind: node.kind.clone(),
                states: Vec::new(),
                seconds: 0.0,
            })
        });
        let drawn = &mut graph[index];
        let state = format!("{:?}", node.status).to_lowercase();
        match drawn.states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => drawn.states.push((state, 1)),
        }
        if let Some(key) = node.key {
            box_of.insert(key, index);
            if timed.insert(key) {
                drawn.seconds += node.cost.map_or(0.0, |cost| cost.wall_s);
            }
        }
    }
    for (key, to) in &box_of {
        for from in inputs
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|input| box_of.get(input))
        {
            if from != to {
                graph.update_edge(*from, *to, ());
            }
        }
    }
    let edges = reduced_edges(&graph);
    let mut boxes: Vec<figure::GraphBox> = graph.into_nodes_edges().0.into_iter().map(|node| node.weight).collect();
    boxes
        .iter_mut()
        .for_each(|drawn| drawn.states.sort_by_key(|(_, count)| std::cmp::Reverse(*count)));
    figure::Graph {
        title: "The workflow".into(),
        boxes,
        edges,
    }
}

fn label(drawn: &Drawn) -> String {
    if drawn.instances > 1 {
        format!("{} x{}", drawn.label, drawn.instances)
    } else {
        drawn.label.clone()
    }
}

fn quote(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn class(kind: &str) -> String {
    format!("k_{}", kind.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn colours(graph: &DiGraph<Drawn, ()>) -> BTreeMap<&'static str, &'static str> {
    let kinds: BTreeSet<&'static str> = graph.node_weights().map(|drawn| drawn.kind).collect();
    kinds.into_iter().zip(COLOURS.iter().copied().cycle()).collect()
}

/// The edges that do not follow from others, sorted.
fn reduced_edges<N>(graph: &DiGraph<N, ()>) -> Vec<(usize, usize)> {
    let Ok(order) = toposort(graph, None) else {
        return Vec::new();
    };
    let (sorted, place) = dag_to_toposorted_adjacency_list::<_, NodeIndex>(graph, &order);
    let (reduction, _) = dag_transitive_reduction_closure(&sorted);
    let mut edges: Vec<(usize, usize)> = graph
        .edge_indices()
        .filter_map(|edge| graph.edge_endpoints(edge))
        .filter(|(from, to)| reduction.contains_edge(place[from.index()], place[to.index()]))
        .map(|(from, to)| (from.index(), to.index()))
        .collect();
    edges.sort_unstable();
    edges
}
