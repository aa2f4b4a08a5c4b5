//! Nodes as written, each given to its kind once for every combination of the matrix variables that its own text uses.

use std::sync::Arc;

use super::diagnose::{Diagnostics, Problem};
use super::node_table::NodeTable;
use super::params::{param_problem, unknown_kind, unknown_path};
use super::policy::{self, ExecutionPolicy};
use super::span::Span;
use super::variables::{Binding, MAX_INSTANCES, Matrix, fill, used};
use crate::node::{NodeFile, Port};
use crate::registry::{ErasedNode, Registry};

/// A node of the file.
pub(crate) struct Template {
    pub(crate) table: NodeTable,
    pub(crate) policy: Arc<ExecutionPolicy>,
    /// One for each combination of the variables that its text uses; exactly one if it uses none.
    pub(crate) variants: Vec<Variant>,
}

/// A node with its parameters read by its kind.
pub(crate) struct Variant {
    pub(crate) binding: Binding,
    pub(crate) node: Arc<dyn ErasedNode>,
    pub(crate) ports: Vec<Port>,
    /// Relative to the workflow file, as the kind gives them.
    pub(crate) files: Vec<NodeFile>,
}

impl Template {
    /// The place of a parameter by dotted path (its value), else of the node's name.
    pub(crate) fn span_of(&self, key: &str) -> Span {
        self.table.span_of(key)
    }

    /// The place of the `index`th name written in a port's parameter.
    pub(crate) fn span_of_ref(&self, port: &str, index: usize) -> Span {
        self.table.span_of(&format!("{port}[{index}]"))
    }
}

/// Gives a node's table to its kind, as often as its text and its condition ask for. What is wrong with it goes to `diagnostics`.
pub(crate) fn read(
    mut table: NodeTable,
    matrix: &Matrix,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Template {
    let policy = Arc::new(policy::take(&mut table, diagnostics));
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
    Template {
        table,
        policy,
        variants,
    }
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
                let (ports, files) = (node.ports(), node.files(&table.dir));
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
