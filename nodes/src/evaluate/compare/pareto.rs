//! Which arm is best for how much training, where arms are compared at several training budgets.

use super::cells::percent;
use super::evidence::Evidence;
use super::tables::arms;
use super::verdict::{ArmVerdict, CellVerdict, Verdict};
use crate::evaluate::table::table;

/// The cells of one label budget, from the smallest training budget up, and these budgets.
struct Row<'a> {
    labels: &'a str,
    cells: Vec<(f64, &'a CellVerdict)>,
}

fn rows(verdict: &Verdict) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for cell in &verdict.cells {
        let Ok(cost) = cell.cell.cost.parse::<f64>() else {
            continue;
        };
        match rows.iter_mut().find(|row| row.labels == cell.cell.budget) {
            Some(row) => row.cells.push((cost, cell)),
            None => rows.push(Row {
                labels: &cell.cell.budget,
                cells: vec![(cost, cell)],
            }),
        }
    }
    for row in &mut rows {
        row.cells.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    rows.retain(|row| row.cells.len() > 1);
    rows
}

pub(super) fn best(cell: &CellVerdict) -> Option<&ArmVerdict> {
    cell.arms.iter().max_by(|a, b| a.figure.mean.total_cmp(&b.figure.mean))
}

/// For each label budget which arm is best below and above which training budget; empty where there is one training budget only.
pub(super) fn sentences(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<String> {
    rows(verdict)
        .iter()
        .map(|row| sentence(row, verdict, evidence))
        .collect()
}

fn sentence(row: &Row<'_>, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    // Neighbouring budgets with the same best arm are one part: the arm, its first and last budget, and whether it is detectably best at all of them.
    let mut parts: Vec<(&str, f64, f64, bool)> = Vec::new();
    for (cost, cell) in &row.cells {
        let Some(arm) = best(cell) else { continue };
        let sure = is_detectable(cell, arm);
        match parts.last_mut() {
            Some((name, _, last, all)) if *name == arm.arm => (*last, *all) = (*cost, *all && sure),
            _ => parts.push((&arm.arm, *cost, *cost, sure)),
        }
    }
    let count = parts.len();
    let words = parts.iter().enumerate().map(|(i, (name, first, last, sure))| {
        let name = evidence.node.title(name);
        let doubt = if *sure { "" } else { " (not detectably)" };
        match i {
            _ if count == 1 => format!(
                "{name}{doubt} at every training budget from {first:.0} to {last:.0} {}",
                verdict.noun
            ),
            0 => format!("up to {last:.0} {} {name}{doubt}", verdict.noun),
            _ if i + 1 == count => format!("from {first:.0} on {name}{doubt}"),
            _ if first == last => format!("at {first:.0} {name}{doubt}"),
            _ => format!("from {first:.0} to {last:.0} {name}{doubt}"),
        }
    });
    let at = if row.labels.is_empty() {
        String::new()
    } else {
        format!("At {} {}, ", evidence.node.budget, row.labels)
    };
    format!("{at}best is {}.", words.collect::<Vec<_>>().join(", "))
}

/// Between which training budgets the best arm becomes another; none where it stays, or where there is one training budget only.
pub(super) fn turns(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<String> {
    let name = |cell: &CellVerdict| best(cell).map_or_else(String::new, |arm| evidence.node.title(&arm.arm).to_owned());
    let mut turns = Vec::new();
    for row in rows(verdict) {
        for pair in row.cells.windows(2) {
            let ((less, before), (more, after)) = ((pair[0].0, name(pair[0].1)), (pair[1].0, name(pair[1].1)));
            if before != after {
                let at = if row.labels.is_empty() {
                    String::new()
                } else {
                    format!("{} {}: ", evidence.node.budget, row.labels)
                };
                turns.push(format!("{at}{before} at {less:.0}, {after} at {more:.0}"));
            }
        }
    }
    (!turns.is_empty()).then(|| {
        format!(
            "Another training budget, in {} forward and backward: the highest arm is {}; in between it may be either.",
            verdict.noun,
            turns.join("; ")
        )
    })
}

/// Whether the best arm is detectably better than the baseline, or, if it is the baseline, than all others.
fn is_detectable(cell: &CellVerdict, best: &ArmVerdict) -> bool {
    match best.baseline {
        Some(against) => against.significant,
        None => cell
            .arms
            .iter()
            .filter_map(|arm| arm.baseline)
            .all(|against| against.significant),
    }
}

/// Figures over training budgets; `*` marks what nothing beats for as much training or less. Empty where there is one training budget only.
pub(super) fn pareto_table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let grid = rows(verdict);
    let Some(widest) = grid.iter().max_by_key(|row| row.cells.len()) else {
        return String::new();
    };
    let mut head = vec![
        format!("{} for so many training {}, %", verdict.metric.title(), verdict.noun),
        evidence.node.budget.clone(),
    ];
    head.extend(widest.cells.iter().map(|(cost, _)| format!("{cost:.0}")));
    let mut lines = Vec::new();
    for row in &grid {
        for name in arms(verdict) {
            let figure = |cell: &CellVerdict| cell.arm(name).map(|arm| arm.figure.mean);
            let mut line = vec![evidence.node.title(name).to_owned(), row.labels.to_owned()];
            for (cost, _) in &widest.cells {
                let cell = row.cells.iter().find(|(own, _)| own == cost);
                let found = cell.and_then(|(_, cell)| figure(cell));
                line.push(found.map_or_else(String::new, |mean| {
                    let reached = row
                        .cells
                        .iter()
                        .filter(|(own, _)| own <= cost)
                        .flat_map(|(_, cell)| &cell.arms);
                    let is_best = reached.into_iter().all(|arm| arm.figure.mean <= mean);
                    format!("{}{}", percent(mean), if is_best { " *" } else { "" })
                }));
            }
            lines.push(line);
        }
    }
    table(&head, &lines)
}
