//! How budgets and figures are written.

use super::CompareNode;
use crate::evaluate::arms::Cell;

/// `labels 40`, `labels 40, budget 200000`, or `all`.
pub(super) fn cell_name(node: &CompareNode, cell: &Cell) -> String {
    let cost = node.cost.as_deref().map(|name| (name, cell.cost.as_str()));
    let named = [Some((node.budget.as_str(), cell.budget.as_str())), cost];
    let words: Vec<String> = named
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if words.is_empty() {
        "all".to_owned()
    } else {
        words.join(", ")
    }
}

/// Behind what is said of a cell: ` at labels 40`; nothing where there is only one.
pub(super) fn at_cell(node: &CompareNode, cell: &Cell) -> String {
    match *cell == Cell::default() {
        true => String::new(),
        false => format!(" at {}", cell_name(node, cell)),
    }
}

/// A share in percent.
pub(super) fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

/// A difference of shares in points, with its sign.
pub(super) fn signed(value: f64) -> String {
    // What is rounded to nothing has no sign of its own.
    let points = (1000.0 * value).round() / 10.0;
    format!("{:+.1}", points + 0.0)
}
