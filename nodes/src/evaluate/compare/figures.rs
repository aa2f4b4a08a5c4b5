//! The verdict as figures, for `flow report`.

use flow_engine::figure::{
    Curve, Figure, Interval, IntervalRow, Intervals, Judged, JudgedCell, Line, Lines, Panel, Panels, Point, Table,
    Words,
};
use flow_engine::node::InputCost;

use super::cells::cell_name;
use super::evidence::Evidence;
use super::tables::{arms, beside, interval, levels, recall_rows};
use super::verdict::{self, CellVerdict, Verdict};
use super::{change, first, saved, terminal};

/// The answer, the figure that carries it, gains, and tables.
pub(super) fn figures(
    verdict: &Verdict,
    evidence: &Evidence<'_>,
    said_first: &[String],
    sentences: &[(String, String)],
) -> Vec<Figure> {
    let short = first::short(verdict, evidence)
        .into_iter()
        .map(|said| (String::new(), said));
    let answers = verdict
        .cells
        .iter()
        .map(|cell| terminal::sentence(verdict, evidence, cell));
    let answers = answers.map(|said| match said.split_once(": ") {
        Some((cell, said)) => (cell.to_owned(), said.to_owned()),
        None => (String::new(), said),
    });
    let mut figures = vec![Figure::Words(Words {
        title: "Answer".into(),
        sentences: answers.chain(short).collect(),
    })];
    figures.extend(over_labels(verdict, evidence));
    figures.push(scores(verdict, evidence));
    figures.extend(gains(verdict, evidence));
    figures.extend(saved::labels_saved(verdict, evidence));
    figures.extend(saved::probe_and_fine_tuning(verdict, evidence));
    let said_first = said_first.iter().map(|said| (String::new(), said.clone()));
    figures.push(Figure::Words(Words {
        title: "The answer in full".into(),
        sentences: said_first.chain(sentences.iter().cloned()).collect(),
    }));
    figures.extend(change::figures(verdict, evidence));
    figures.extend(over_time(verdict, evidence));
    figures.push(recall(verdict, evidence));
    figures.push(judged(verdict, evidence));
    figures
}

/// What is reached over the training time of all networks that an arm needs, a panel for each budget, with the arms that no other is both better
/// and quicker than.
fn over_time(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<Figure> {
    let node = evidence.node;
    let panel = |cell: &CellVerdict| {
        let of_arm = |arm: &verdict::ArmVerdict| {
            let point = (evidence.cost(&cell.cell, &arm.arm).seconds, 100.0 * arm.figure.mean);
            (node.title(&arm.arm).to_owned(), point)
        };
        let arms: Vec<(String, (f64, f64))> = cell.arms.iter().map(of_arm).collect();
        let mut front: Vec<(f64, f64)> = arms.iter().map(|(_, point)| *point).collect();
        front.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut best = f64::NEG_INFINITY;
        front.retain(|(_, reached)| {
            let better = *reached > best;
            best = best.max(*reached);
            better
        });
        let curve = |(name, point): (String, (f64, f64))| Curve {
            like: name.clone(),
            name,
            points: vec![point],
        };
        let front = Curve {
            name: PARETO.into(),
            like: String::new(),
            points: front,
        };
        Panel {
            title: cell_name(node, &cell.cell),
            x: "training time, s".into(),
            y: format!("{}, %", verdict.metric.title()),
            log_x: arms.iter().all(|(_, (seconds, _))| *seconds > 0.0),
            marks: true,
            curves: std::iter::once(front).chain(arms.into_iter().map(curve)).collect(),
            ..Panel::default()
        }
    };
    let panels: Vec<Panel> = verdict.cells.iter().map(panel).collect();
    let timed = panels
        .iter()
        .flat_map(|panel| &panel.curves)
        .flat_map(|curve| &curve.points);
    timed.map(|point| point.0).any(|seconds| seconds > 0.0).then(|| {
        Figure::Panels(Panels {
            title: format!("{} over training time", capital(verdict.metric.title())),
            note: "Wall-clock time of all networks that an arm needs, teachers and pre-training included, when they were trained: it depends on \
                   the machine and on what else ran. Dashed: no other arm is both better and quicker."
                .into(),
            panels,
        })
    })
}

/// The line of those that are best for their cost.
const PARETO: &str = "Pareto front";

/// Where the scores of each arm lie.
fn judged(verdict: &Verdict, evidence: &Evidence<'_>) -> Figure {
    let axes = evidence.node.axes();
    // The scores of an arm have their own record among all that they depend on.
    let own = |input: &InputCost| {
        input
            .records
            .iter()
            .find(|record| record.kind == "evaluate")
            .map(|record| record.key)
    };
    let of_cell = |cell: &CellVerdict| {
        let of_arm = |arm: &verdict::ArmVerdict| {
            let compared = evidence.lineage.iter().filter(|input| input.port == "compare");
            let scores = compared.filter_map(|input| {
                let place = axes.place(&input.node, &input.bindings);
                (place.cell == cell.cell && place.arm == arm.arm)
                    .then(|| Some((place.draw.to_string(), own(input)?)))?
            });
            (evidence.node.title(&arm.arm).to_owned(), scores.collect())
        };
        JudgedCell {
            name: cell_name(evidence.node, &cell.cell),
            arms: cell.arms.iter().map(of_arm).collect(),
        }
    };
    Figure::Judged(Judged {
        cells: verdict.cells.iter().map(of_cell).collect(),
    })
}

fn shown(figure: verdict::MeanInterval) -> Interval {
    Interval {
        mean: 100.0 * figure.mean,
        low: 100.0 * figure.low,
        high: 100.0 * figure.high,
    }
}

/// What was reached in a cell, and by each run of it.
type Reached = (verdict::MeanInterval, Vec<f64>);

/// One figure for each training budget; none where the label budget is no number.
fn over_labels(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<Figure> {
    let node = evidence.node;
    let figure = |(cost, cells): (&str, Vec<(f64, &CellVerdict)>)| {
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
            note: "Lines: means; bands: 95 % intervals; faint dots: single runs; dashed: held against.".into(),
            x: node.budget.clone(),
            y: format!("{}, %", verdict.metric.title()),
            log_x: cells.iter().all(|(x, _)| *x > 0.0),
            lines: arms(verdict).iter().map(of_arm).collect(),
            levels: beside(verdict).iter().map(of_level).collect(),
        })
    };
    verdict.by_labels().into_iter().map(figure).collect()
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
