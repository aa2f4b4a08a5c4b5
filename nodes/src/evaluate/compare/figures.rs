//! The verdict as figures, for `flow report`.

use std::collections::BTreeMap;

use flow_engine::figure::{Figure, Interval, IntervalRow, Intervals, Line, Lines, Point, Table, Words};

use super::cells::cell_name;
use super::evidence::Evidence;
use super::tables::{arms, beside, interval, levels, recall_rows};
use super::verdict::{self, CellVerdict, Verdict};

/// The answer, the figure that carries it, gains, and tables.
pub(super) fn figures(
    verdict: &Verdict,
    evidence: &Evidence<'_>,
    first: &[String],
    sentences: &[(String, String)],
) -> Vec<Figure> {
    let first = first.iter().map(|said| (String::new(), said.clone()));
    let answer = Figure::Words(Words {
        title: "Answer".into(),
        sentences: first.chain(sentences.iter().cloned()).collect(),
    });
    let mut figures = vec![answer];
    figures.extend(over_labels(verdict, evidence));
    figures.push(scores(verdict, evidence));
    figures.extend(gains(verdict, evidence));
    figures.push(recall(verdict, evidence));
    figures
}

fn shown(figure: verdict::Figure) -> Interval {
    Interval {
        mean: 100.0 * figure.mean,
        low: 100.0 * figure.low,
        high: 100.0 * figure.high,
    }
}

/// What was reached in a cell, and by each run of it.
type Reached = (verdict::Figure, Vec<f64>);

/// One figure for each training budget; none where the label budget is no number.
fn over_labels(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<Figure> {
    let node = evidence.node;
    let mut by_cost: BTreeMap<&str, Vec<(f64, &CellVerdict)>> = BTreeMap::new();
    for cell in &verdict.cells {
        if let Some(labels) = cell.labels() {
            by_cost.entry(&cell.cell.cost).or_default().push((labels, cell));
        }
    }
    let figure = |(cost, mut cells): (&str, Vec<(f64, &CellVerdict)>)| {
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        let line = |name: &str, point: &dyn Fn(&CellVerdict) -> Option<Reached>| Line {
            name: node.title(name).to_owned(),
            points: cells
                .iter()
                .filter_map(|(x, cell)| {
                    let (figure, runs) = point(cell)?;
                    Some(Point {
                        x: *x,
                        value: shown(figure),
                        runs: runs.iter().map(|run| 100.0 * run).collect(),
                    })
                })
                .collect(),
        };
        let of_arm = |name: &&str| {
            line(name, &|cell: &CellVerdict| {
                let arm = cell.arm(name)?;
                Some((arm.figure, arm.by_run.clone()))
            })
        };
        let of_level = |(_, name): &(&str, &str)| {
            line(name, &|cell: &CellVerdict| {
                Some((cell.beside(name)?.figure, Vec::new()))
            })
        };
        let at = match &node.cost {
            Some(name) if !cost.is_empty() => format!(", {name} {cost}"),
            _ => String::new(),
        };
        Figure::Lines(Lines {
            title: format!("{} over {}{at}", capital(verdict.metric.title()), node.budget),
            x: node.budget.clone(),
            y: format!("{}, %", verdict.metric.title()),
            log_x: cells.iter().all(|(x, _)| *x > 0.0),
            lines: arms(verdict).iter().map(of_arm).collect(),
            levels: beside(verdict).iter().map(of_level).collect(),
        })
    };
    by_cost.into_iter().map(figure).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn scores(verdict: &Verdict, evidence: &Evidence<'_>) -> Figure {
    let node = evidence.node;
    let cells = || verdict.cells.iter();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in arms(verdict) {
        let figure = |cell: &CellVerdict| cell.arm(name).map_or_else(String::new, |arm| interval(&arm.figure));
        rows.push(
            [node.title(name).to_owned()]
                .into_iter()
                .chain(cells().map(figure))
                .collect(),
        );
    }
    for (kind, name) in beside(verdict) {
        let title = format!("{} ({kind})", node.title(name));
        rows.push([title].into_iter().chain(levels(verdict, name)).collect());
    }
    Figure::Table(Table {
        title: format!("{}, % with 95 % intervals", capital(verdict.metric.title())),
        head: ["arm".to_owned()]
            .into_iter()
            .chain(cells().map(|cell| cell_name(node, &cell.cell)))
            .collect(),
        rows,
    })
}

/// Gains over the baseline: a forest plot for each budget.
fn gains(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<Figure> {
    let node = evidence.node;
    let of_cell = |cell: &CellVerdict| {
        let rows: Vec<IntervalRow> = cell
            .arms
            .iter()
            .filter_map(|arm| {
                let against = arm.baseline?;
                Some(IntervalRow {
                    name: node.title(&arm.arm).to_owned(),
                    value: shown(against.difference),
                    note: format!("P(better) {:.2}", against.better),
                })
            })
            .collect();
        (!rows.is_empty()).then(|| {
            Figure::Intervals(Intervals {
                title: format!(
                    "Gain over {}, {}",
                    node.title(&verdict.baseline),
                    cell_name(node, &cell.cell)
                ),
                x: "points, with 95 % intervals".into(),
                rows,
            })
        })
    };
    verdict.cells.iter().filter_map(of_cell).collect()
}

fn recall(verdict: &Verdict, evidence: &Evidence<'_>) -> Figure {
    let head = ["arm".to_owned(), "budget".to_owned()];
    Figure::Table(Table {
        title: "Right of each class, %".into(),
        head: head.into_iter().chain(verdict.class_names.iter().cloned()).collect(),
        rows: recall_rows(verdict, evidence),
    })
}
