//! Nodes as written, each given to its kind once for every combination of the matrix variables that its own text uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::diagnose::{Diagnostics, Problem, suggest};
use super::expand::MAX_INSTANCES;
use super::parse::{Document, NodeTable, RESERVED};
use super::span::Span;
use super::tree::locate;
use super::variables::{Binding, Matrix, fill, used};
use crate::node::Port;
use crate::registry::{ErasedNode, ParseError, Registry};

/// A node of the file.
pub(crate) struct Template {
    pub(crate) table: NodeTable,
    /// One for each combination of the variables that its text uses; exactly one if it uses none.
    pub(crate) variants: Vec<Variant>,
}

/// A node with its parameters read by its kind.
pub(crate) struct Variant {
    pub(crate) binding: Binding,
    pub(crate) node: Arc<dyn ErasedNode>,
    pub(crate) ports: Vec<Port>,
    /// Relative to the workflow file, as the kind gives them.
    pub(crate) files: Vec<PathBuf>,
}

impl Template {
    /// The place of a parameter by dotted path (its value), else of the node's name.
    pub(crate) fn span_of(&self, key: &str) -> Span {
        span_of(&self.table, key)
    }

    /// The place of the `index`th name written in a port's parameter.
    pub(crate) fn span_of_ref(&self, port: &str, index: usize) -> Span {
        span_of(&self.table, &format!("{port}[{index}]"))
    }
}

fn span_of(table: &NodeTable, key: &str) -> Span {
    match locate(&table.params, key) {
        Some((_, value)) if !key.is_empty() => value,
        _ => table.name_span.clone(),
    }
}

/// Reads every node's parameters, and checks that all names in them lead somewhere and that nothing rests on itself.
///
/// # Errors
/// All problems of all nodes, together with those that were found before.
pub(crate) fn resolve(
    document: Document,
    registry: &Registry,
    dir: &Path,
    mut diagnostics: Diagnostics,
) -> Result<Vec<Template>, Diagnostics> {
    let kinds = registry.kinds();
    for default in document.defaults.iter().filter(|d| !kinds.contains(&d.key.as_str())) {
        diagnostics.push(unknown_kind(&default.key, &default.key_span, &kinds));
    }
    let rounds = |node: &NodeTable| (node.name.clone(), node.rounds.as_ref().map_or(0, |r| r.count));
    let mut names: Vec<(String, u32)> = document.nodes.iter().map(rounds).collect();
    names.extend(document.broken.into_iter().map(|name| (name, 0)));
    let matrix = &document.matrix;
    let templates: Vec<Template> = document
        .nodes
        .into_iter()
        .map(|table| template(table, matrix, registry, &mut diagnostics))
        .collect();
    let rounds_of = rounds_by_name(&templates, &names);
    for template in &templates {
        check_refs(template, &rounds_of, &mut diagnostics);
        check_files(template, dir, &mut diagnostics);
    }
    check_cycles(&templates, &mut diagnostics);
    diagnostics.ok(templates)
}

fn unknown_kind(kind: &str, span: &Span, kinds: &[&'static str]) -> Problem {
    Problem::at(
        "workflow::unknown_kind",
        span,
        format!("unknown node kind `{kind}`"),
        "no such kind",
    )
    .help(suggest(kind, "kinds", kinds.iter().copied()))
}

fn template(table: NodeTable, matrix: &Matrix, registry: &Registry, diagnostics: &mut Diagnostics) -> Template {
    let mut variants = Vec::new();
    match used(&table.params, matrix) {
        Err(problems) => problems.into_iter().for_each(|p| diagnostics.push(p)),
        Ok(_) if !registry.kinds().contains(&table.kind.as_str()) => {
            diagnostics.push(unknown_kind(&table.kind, &table.kind_span, &registry.kinds()));
        }
        Ok(variables) if matrix.count(&variables) > MAX_INSTANCES => {
            let message = format!(
                "the matrix makes more than {MAX_INSTANCES} instances of `{}`",
                table.name
            );
            let problem = Problem::at("workflow::too_many", &table.name_span, message, "this node");
            diagnostics.push(problem.help("use fewer values or variables"));
        }
        Ok(variables) => {
            let all = matrix.combinations(&variables);
            variants.extend(
                all.into_iter()
                    .filter_map(|b| variant(&table, b, matrix, registry, diagnostics)),
            );
        }
    }
    Template { table, variants }
}

/// Gives the parameters to the kind. serde stops at the first unknown key: it is told, taken out, and the rest tried again.
fn variant(
    table: &NodeTable,
    binding: Binding,
    matrix: &Matrix,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Variant> {
    let mut params = fill(&table.params, matrix, &binding);
    loop {
        match registry.parse(&table.kind, params.clone())? {
            Ok(node) => {
                let (ports, files) = (node.ports(), node.files());
                return Some(Variant {
                    binding,
                    node,
                    ports,
                    files,
                });
            }
            Err(error) => {
                diagnostics.push(param_problem(table, &error));
                let path = unknown_path(&error)?;
                remove(&mut params, &path)?;
            }
        }
    }
}

fn remove(table: &mut toml::Table, path: &str) -> Option<toml::Value> {
    match path.split_once('.') {
        None => table.remove(path),
        Some((first, rest)) => remove(table.get_mut(first)?.as_table_mut()?, rest),
    }
}

/// The dotted path of the key that serde does not know, if that is what it says.
fn unknown_path(error: &ParseError) -> Option<String> {
    let field = quoted_after(&error.message, "unknown field `")?;
    let parent = match error.path.rsplit_once('.') {
        Some((parent, last)) if last == field => parent,
        None if error.path == field => "",
        _ => error.path.as_str(),
    };
    Some(if parent.is_empty() {
        field.to_owned()
    } else {
        format!("{parent}.{field}")
    })
}

/// The name in back quotes that follows `start` at the beginning of serde's message.
fn quoted_after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.trim().strip_prefix(start)?.split('`').next()
}

/// Puts serde's error into words for the person who wrote the value, at the place where it was written.
fn param_problem(table: &NodeTable, error: &ParseError) -> Problem {
    let (name, kind) = (&table.name, &table.kind);
    let message = error.message.trim();
    if let Some(path) = unknown_path(error) {
        return unknown_key(table, error, &path);
    }
    if let Some(field) = quoted_after(message, "missing field `") {
        let at = table.name_span.clone();
        let full = if error.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", error.path)
        };
        let message = format!("node `{name}` needs `{full}`");
        return Problem::at("workflow::missing_key", &at, message, format!("this {kind} node"))
            .help(format!("add {field} = .."));
    }
    let span = span_of(table, &error.path);
    if let Some(variant) = quoted_after(message, "unknown variant `") {
        let message = format!("`{}` of `{name}` cannot be `{variant}`", error.path);
        return Problem::at("workflow::unknown_value", &span, message, "no such choice").help(suggest(
            variant,
            "choices",
            expected_names(&error.message),
        ));
    }
    match message.split_once(", expected ") {
        Some((found, expected)) if message.starts_with("invalid ") => {
            let found = found.split_once(": ").map_or(found, |(_, value)| value);
            let message = format!("`{}` of `{name}` must be {}", error.path, words_for(expected));
            Problem::at(
                "workflow::wrong_type",
                &span,
                message,
                format!("this is {}", with_article(found)),
            )
        }
        _ => {
            let what = if error.path.is_empty() {
                name.clone()
            } else {
                format!("`{}` of `{name}`", error.path)
            };
            Problem::at("workflow::bad_value", &span, format!("{what}: {message}"), "here")
        }
    }
}

fn unknown_key(table: &NodeTable, error: &ParseError, path: &str) -> Problem {
    let span = locate(&table.params, path).map_or_else(|| table.name_span.clone(), |(key, _)| key);
    let mut known = expected_names(&error.message);
    let field = match path.rsplit_once('.') {
        Some((_, field)) => field,
        None => {
            known.extend(RESERVED);
            path
        }
    };
    Problem::at(
        "workflow::unknown_key",
        &span,
        format!("unknown key `{path}`"),
        format!("not a key of {}", table.kind),
    )
    .help(suggest(field, "keys", known))
}

/// The names in serde's ``expected one of `a`, `b```.
fn expected_names(message: &str) -> Vec<&str> {
    let list = message.split_once(", expected").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}

/// What serde expected, in words that do not need Rust.
fn words_for(expected: &str) -> String {
    let words = match expected.trim() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        other => {
            return other
                .strip_prefix("struct ")
                .map_or_else(|| other.to_owned(), |_| "a table".to_owned());
        }
    };
    words.to_owned()
}

fn with_article(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => format!(
            "the {}",
            found
                .replace("integer", "number")
                .replace("floating point", "number")
                .replace('`', "")
        ),
    }
}

/// How many rounds each node has, so that `student@1` can be named.
fn rounds_by_name<'a>(templates: &'a [Template], names: &'a [(String, u32)]) -> BTreeMap<&'a str, u32> {
    let own: BTreeMap<&str, u32> = names.iter().map(|(name, rounds)| (name.as_str(), *rounds)).collect();
    let graph = NameGraph::of(templates);
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
            let span = template.span_of_ref(port.name, index);
            match rounds_of.get(base) {
                None => {
                    let message = format!("unknown node `{name}`");
                    let label = format!("`{}` of `{}` names it", port.name, template.table.name);
                    let known = rounds_of.keys().copied().filter(|k| *k != template.table.name);
                    diagnostics.push(
                        Problem::at("workflow::unknown_node", &span, message, label)
                            .help(suggest(base, "nodes", known)),
                    );
                }
                Some(count) if round.is_some_and(|r| r == 0 || r > *count) => {
                    let message = format!("`{base}` has no round {}", round.unwrap_or(0));
                    let help = match count {
                        0 => format!("`{base}` runs once: write `{base}`"),
                        n => format!("its rounds are 1 to {n}"),
                    };
                    diagnostics.push(Problem::at("workflow::rounds", &span, message, "no such round").help(help));
                }
                Some(_) => {}
            }
        }
    }
}

fn check_files(template: &Template, dir: &Path, diagnostics: &mut Diagnostics) {
    for variant in &template.variants {
        for file in &variant.files {
            let path = dir.join(file);
            let Err(error) = std::fs::metadata(&path) else { continue };
            let written = file.to_string_lossy();
            let span = template
                .table
                .params
                .iter()
                .find(|e| {
                    e.value
                        .str()
                        .is_some_and(|text| !text.is_empty() && file.starts_with(text))
                })
                .map_or_else(|| template.table.name_span.clone(), |e| e.value.span.clone());
            let message = format!("cannot read `{written}`: {error}");
            diagnostics.push(
                Problem::at(
                    "workflow::file",
                    &span,
                    message,
                    format!("read by `{}`", template.table.name),
                )
                .help(format!(
                    "it was looked for at {}: paths are relative to the workflow file",
                    path.display()
                )),
            );
        }
    }
}

/// Which node names which, without bindings or rounds.
pub(crate) struct NameGraph<'a> {
    graph: DiGraph<&'a str, ()>,
    index: BTreeMap<&'a str, NodeIndex>,
}

impl<'a> NameGraph<'a> {
    pub(crate) fn of(templates: &'a [Template]) -> Self {
        let mut graph = DiGraph::new();
        let index: BTreeMap<&str, NodeIndex> = templates
            .iter()
            .map(|t| (t.table.name.as_str(), graph.add_node(t.table.name.as_str())))
            .collect();
        for template in templates {
            let to = index[template.table.name.as_str()];
            for name in template.variants.iter().flat_map(|v| &v.ports).flat_map(|p| &p.refs) {
                if let Some(from) = index.get(split_round(name).0) {
                    graph.update_edge(*from, to, ());
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
        let after = self.reach(*from, petgraph::Direction::Outgoing);
        let before = self.reach(*to, petgraph::Direction::Incoming);
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
        let mut queue = std::collections::VecDeque::from([start]);
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

fn check_cycles(templates: &[Template], diagnostics: &mut Diagnostics) {
    let by_name: BTreeMap<&str, &Template> = templates.iter().map(|t| (t.table.name.as_str(), t)).collect();
    for cycle in NameGraph::of(templates).cycles() {
        let whole = cycle.join(" -> ");
        let (first, rest) = (cycle[0], &cycle[1..cycle.len() - 1]);
        let mut problem = Problem::at(
            "workflow::cycle",
            &by_name[first].table.name_span,
            format!("nodes rest on themselves: {whole}"),
            format!("feeds `{}`", cycle[1]),
        );
        for (at, name) in rest.iter().enumerate() {
            problem = problem.also(&by_name[name].table.name_span, format!("feeds `{}`", cycle[at + 2]));
        }
        let help = "take one of these references away; to feed an output back, use rounds and becomes";
        diagnostics.push(problem.help(help));
    }
}
