//! What stands beside the arms: controls, and what is reached with all labels. They need not vary by all that arms vary by.

use std::collections::BTreeMap;

use flow_engine::node::ParamError;
use serde_json::Value;

use crate::evaluate::arms::{Axes, Cell, Draw};
use crate::failure::at_with;

/// A score that is no arm's.
pub(super) struct Aside<T> {
    pub(super) node: String,
    pub(super) bindings: BTreeMap<String, Value>,
    pub(super) score: T,
}

/// For each node the scores that go with the draws of a cell, in their order: one that does not vary by a variable stands for all of its values.
///
/// # Errors
/// At `port`, if a node has no score, or several, for a draw.
pub(super) fn of_cell<'a, T>(
    axes: &Axes<'_>,
    port: &str,
    asides: &'a [Aside<T>],
    cell: &Cell,
    draws: &[Draw],
) -> Result<Vec<(&'a str, Vec<&'a T>)>, ParamError> {
    let mut names: Vec<&str> = Vec::new();
    for aside in asides {
        if !names.contains(&aside.node.as_str()) {
            names.push(&aside.node);
        }
    }
    let place = |draw: &Draw| match cell.budget.is_empty() {
        true => draw.to_string(),
        false => format!("{} {} ({draw})", axes.budget, cell.budget),
    };
    let mut found = Vec::new();
    for name in names {
        let mut scores = Vec::new();
        for draw in draws {
            let fits = |aside: &&Aside<T>| aside.node == name && axes.stands_for(&aside.bindings, cell, draw);
            let mut fitting = asides.iter().filter(fits);
            let Some(one) = fitting.next() else {
                let message = format!("`{name}` has no score for {}", place(draw));
                let help = format!(
                    "let it vary by nothing but `{}` and `{}`, as the arms do",
                    axes.budget, axes.repeat
                );
                return Err(at_with(port, message, help));
            };
            if fitting.next().is_some() {
                let message = format!("`{name}` has several scores for {}", place(draw));
                let help = "name each of what it varies by as a node of its own";
                return Err(at_with(port, message, help));
            }
            scores.push(&one.score);
        }
        found.push((name, scores));
    }
    Ok(found)
}
