//! The figures behind the words.

use std::collections::BTreeMap;

use super::cells::{cell_name, percent};
use super::evidence::Evidence;
use super::verdict::{Against, ArmVerdict, Beside, CellVerdict, MeanInterval, Verdict};
use crate::evaluate::table::table;

pub(super) fn interval(figure: &MeanInterval) -> String {
    format!(
        "{} [{}, {}]",
        percent(figure.mean),
        percent(figure.low),
        percent(figure.high)
    )
}

/// `+` and `-`: significantly better or worse; `=`: as good, to within the margin.
pub(super) fn mark(against: Option<&Against>) -> &'static str {
    match against {
        Some(against) if against.significant && against.difference.mean > 0.0 => " +",
        Some(against) if against.significant => " -",
        Some(against) if against.equivalent => " =",
        _ => "",
    }
}

/// The names of what stands in all cells, in the order of their first.
fn names<'a, T>(
    verdict: &'a Verdict,
    of: impl Fn(&'a CellVerdict) -> &'a [T],
    name: impl Fn(&'a T) -> &'a str,
) -> Vec<&'a str>
where
    T: 'a,
{
    let mut names = Vec::new();
    for found in verdict.cells.iter().flat_map(of).map(name) {
        if !names.contains(&found) {
            names.push(found);
        }
    }
    names
}

pub(super) fn arms(verdict: &Verdict) -> Vec<&str> {
    names(verdict, |cell| cell.arms.as_slice(), |arm| arm.arm.as_str())
}

/// What stands beside the arms, in the order of the tables: what it is, and its name.
pub(super) fn beside(verdict: &Verdict) -> Vec<(&'static str, &str)> {
    let of = |kind, all: fn(&CellVerdict) -> &[Beside]| {
        let names = names(verdict, all, |beside| beside.name.as_str());
        names.into_iter().map(move |name| (kind, name))
    };
    let controls = of("control", |cell| cell.controls.as_slice());
    controls
        .chain(of("all labels", |cell| cell.upper_bound.as_slice()))
        .collect()
}

/// What one of [`beside`] reaches in each cell.
pub(super) fn levels<'a>(verdict: &'a Verdict, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let shown = |beside: &Beside| interval(&beside.figure);
    let cells = verdict.cells.iter();
    cells.map(move |cell| cell.beside(name).map_or_else(String::new, shown))
}

/// Mean, interval, training time and images of every arm at every budget, then controls and the upper bound.
pub(super) fn main_table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let node = evidence.node;
    let mut head = vec![format!("{}, %", verdict.metric.title())];
    head.extend(verdict.cells.iter().map(|cell| cell_name(node, &cell.cell)));
    head.extend(["training time, s".to_owned(), format!("training {}", verdict.noun)]);
    let of_arm = |name: &&str| {
        let mut row = vec![node.title(name).to_owned()];
        let mut costs = Vec::new();
        for cell in &verdict.cells {
            let found = cell.arm(name);
            let figure = |arm: &ArmVerdict| format!("{}{}", interval(&arm.figure), mark(arm.baseline.as_ref()));
            row.push(found.map_or_else(String::new, figure));
            costs.extend(found.map(|_| evidence.cost(&cell.cell, name)));
        }
        row.push(range(costs.iter().map(|cost| cost.seconds)));
        let images: Option<Vec<f64>> = costs.iter().map(|cost| cost.images).collect();
        row.push(images.map_or_else(|| "unknown".to_owned(), |images| range(images.into_iter())));
        row
    };
    let mut rows: Vec<Vec<String>> = arms(verdict).iter().map(of_arm).collect();
    for (kind, name) in beside(verdict) {
        let mut row = vec![format!("({kind}) {}", node.title(name))];
        row.extend(levels(verdict, name));
        row.extend([String::new(), String::new()]);
        rows.push(row);
    }
    table(&head, &rows)
}

/// `300`, or `300 to 400`.
fn range(values: impl Iterator<Item = f64>) -> String {
    let (least, most) = values.fold((f64::INFINITY, 0.0f64), |(l, m), v| (l.min(v), m.max(v)));
    if format!("{least:.0}") == format!("{most:.0}") {
        format!("{most:.0}")
    } else {
        format!("{least:.0} to {most:.0}")
    }
}

/// The share of each class that is classified right.
pub(super) fn recall_table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let mut head = vec![verdict.metric.of_class(), String::new()];
    head.extend(verdict.class_names.iter().cloned());
    table(&head, &recall_rows(verdict, evidence))
}

/// Arm, cell, and the share of each class that is classified right.
pub(super) fn recall_rows(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<Vec<String>> {
    let node = evidence.node;
    let mut rows = Vec::new();
    for cell in &verdict.cells {
        for arm in &cell.arms {
            let mut row = vec![node.title(&arm.arm).to_owned(), cell_name(node, &cell.cell)];
            row.extend(arm.recall.iter().map(|share| percent(*share)));
            rows.push(row);
        }
    }
    rows
}

/// Frozen features at every budget; empty without evidence.
pub(super) fn frozen_table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let columns: Vec<BTreeMap<String, (f64, f64, f64)>> =
        verdict.cells.iter().map(|cell| evidence.frozen(&cell.cell)).collect();
    let Some(first) = columns.first().filter(|column| !column.is_empty()) else {
        return String::new();
    };
    let mut head = vec!["frozen features, %".to_owned()];
    head.extend(verdict.cells.iter().map(|cell| cell_name(evidence.node, &cell.cell)));
    let cell = |(mean, least, most): &(f64, f64, f64)| {
        format!("{} ({} to {})", percent(*mean), percent(*least), percent(*most))
    };
    let of_figure = |name: &String| {
        let mut row = vec![name.replace('.', " of ").replace('_', " ")];
        row.extend(
            columns
                .iter()
                .map(|column| column.get(name).map_or_else(String::new, cell)),
        );
        row
    };
    table(&head, &first.keys().map(of_figure).collect::<Vec<_>>())
}

/// Share and precision of the pseudo-labels of every arm and round; empty if there are none.
pub(super) fn guesses_table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let mut head = vec!["pseudo-labels: kept, right, %".to_owned()];
    head.extend(verdict.cells.iter().map(|cell| cell_name(evidence.node, &cell.cell)));
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (column, cell) in verdict.cells.iter().enumerate() {
        for arm in &cell.arms {
            for guesses in evidence.guesses(&cell.cell, &arm.arm) {
                let name = format!("{} ({})", evidence.node.title(&arm.arm), guesses.node);
                let row = rows.entry(name).or_default();
                row.resize(column, String::new());
                let right = guesses.precision.map_or("none".to_owned(), percent);
                row.push(format!("{}, {right}", percent(guesses.kept_share)));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let whole = |(name, mut cells): (String, Vec<String>)| {
        cells.resize(head.len() - 1, String::new());
        [vec![name], cells].concat()
    };
    table(&head, &rows.into_iter().map(whole).collect::<Vec<_>>())
}
