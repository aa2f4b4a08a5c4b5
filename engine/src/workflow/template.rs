//! Nodes as written, each given to its kind once for every combination of the matrix variables that its own text uses.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::defaults;
use super::diagnose::{Diagnostics, Problem, suggest};
use super::expand::MAX_INSTANCES;
use super::names;
use super::params::{param_problem, unknown_path};
use super::parse::{Document, NodeTable};
use super::span::Span;
use super::terms::{self, Terms};
use super::tree::locate;
use super::variables::{Binding, Matrix, fill, used};
use crate::node::Port;
use crate::registry::{ErasedNode, Registry};

/// A node of the file.
pub(crate) struct Template {
    pub(crate) table: NodeTable,
    pub(crate) terms: Arc<Terms>,
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

/// The place of a parameter's value, else of the node's name.
pub(crate) fn span_of(table: &NodeTable, key: &str) -> Span {
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
    mut document: Document,
    registry: &Registry,
    mut diagnostics: Diagnostics,
) -> Result<Vec<Template>, Diagnostics> {
    defaults::apply(&document.defaults, &mut document.nodes, registry, &mut diagnostics);
    let rounds_of = |node: &NodeTable| (node.name.clone(), node.rounds.as_ref().map_or(0, |r| r.count));
    let mut rounds: Vec<(String, u32)> = document.nodes.iter().map(rounds_of).collect();
    rounds.extend(document.broken.into_iter().map(|name| (name, 0)));
    let matrix = &document.matrix;
    let read = |table: NodeTable| {
        let mut found = Diagnostics::default();
        (template(table, matrix, registry, &mut found), found)
    };
    let read: Vec<(Template, Diagnostics)> = document.nodes.into_par_iter().with_min_len(64).map(read).collect();
    let mut templates = Vec::with_capacity(read.len());
    for (template, found) in read {
        templates.push(template);
        diagnostics.extend(found.problems);
    }
    names::check(&templates, &rounds, &mut diagnostics);
    for template in &templates {
        check_files(template, &mut diagnostics);
    }
    diagnostics.ok(templates)
}

pub(crate) fn unknown_kind(kind: &str, span: &Span, kinds: &[&str]) -> Problem {
    Problem::at(
        "workflow::unknown_kind",
        span,
        format!("unknown node kind `{kind}`"),
        "no such kind",
    )
    .help(suggest(kind, "kinds", kinds.iter().copied()))
}

fn template(mut table: NodeTable, matrix: &Matrix, registry: &Registry, diagnostics: &mut Diagnostics) -> Template {
    let terms = Arc::new(terms::take(&mut table, diagnostics));
    let mut variants = Vec::new();
    match used(&table.params, matrix) {
        Err(problems) => problems.into_iter().for_each(|p| diagnostics.push(p)),
        Ok(_) if !registry.knows(&table.kind) => {
            diagnostics.push(unknown_kind(&table.kind, &table.kind_span, &registry.kinds()));
        }
        Ok(variables) if matrix.count(&with_condition(&table, variables.clone())) > MAX_INSTANCES => {
            let message = format!(
                "the matrix makes more than {MAX_INSTANCES} instances of `{}`",
                table.name
            );
            let problem = Problem::at("workflow::too_many", &table.name_span, message, "this node");
            diagnostics.push(problem.help("use fewer values or variables"));
        }
        Ok(variables) => {
            for binding in matrix.combinations(&with_condition(&table, variables)) {
                let holds = table
                    .when
                    .as_ref()
                    .map_or(Ok(true), |when| when.holds(matrix, &binding));
                match holds {
                    Ok(true) => variants.extend(variant(&table, binding, matrix, registry, diagnostics)),
                    Ok(false) => {}
                    Err(problem) => diagnostics.push(problem),
                }
            }
        }
    }
    Template { table, terms, variants }
}

/// The variables that a node's text uses, with those that its condition names.
fn with_condition(table: &NodeTable, mut variables: Vec<usize>) -> Vec<usize> {
    variables.extend(table.when.iter().flat_map(|when| &when.variables));
    variables.sort_unstable();
    variables.dedup();
    variables
}

/// Gives the parameters to the kind. serde stops at the first unknown key: it is told, taken out, and the rest tried again.
fn variant(
    table: &NodeTable,
    binding: Binding,
    matrix: &Matrix,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Variant> {
    let mut unknown: Vec<String> = Vec::new();
    loop {
        let mut params = fill(&table.params, matrix, &binding);
        for path in &unknown {
            remove(&mut params, path)?;
        }
        match registry.parse(&table.kind, params)? {
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
                unknown.push(unknown_path(&error)?);
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

fn check_files(template: &Template, diagnostics: &mut Diagnostics) {
    for variant in &template.variants {
        for file in &variant.files {
            let path = template.table.dir.join(file);
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
                    "it was looked for at {}: paths are relative to the file that they are written in",
                    path.display()
                )),
            );
        }
    }
}
