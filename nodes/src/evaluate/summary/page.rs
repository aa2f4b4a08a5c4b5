//! The summary for people: a table of what was found and what it cost, and the same as a chart.

use std::collections::BTreeMap;

use flow_engine::node::{InputCost, Lineage, NodeError, Report};
use serde::Serialize;
use serde_json::json;

use super::SummaryNode;
use super::chart::{Chart, Line, Panel};
use super::{Column, Metric, Row, Summary, mean_and_deviation};
use crate::evaluate::arms::text;
use crate::evaluate::table::table;

/// What the trainings of one arm that are charged took: one value for each input that depends on it, so that means are means over seeds.
#[derive(Clone, Debug, Default, Serialize)]
struct Cost {
    /// Seconds by the wall clock.
    seconds: Vec<f64>,
    /// The most bytes that a training's process held.
    peak_bytes: Vec<f64>,
    /// Images that went forward and backward through the encoder.
    images: Vec<f64>,
}

/// An arm with nothing to show for some of its inputs, because they failed.
type Missing = BTreeMap<String, Vec<String>>;

/// Which trainings are charged: those that the arms differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charged {
    /// Where there is any: what it takes to judge an encoder is not its own.
    Pretraining,
    /// Where nothing is pre-trained.
    All,
}

impl Charged {
    /// By the kinds of all nodes that were needed.
    fn of<'a>(mut kinds: impl Iterator<Item = &'a str>) -> Self {
        match kinds.any(|kind| kind == "pretrain") {
            true => Self::Pretraining,
            false => Self::All,
        }
    }

    fn counts(self, kind: &str) -> bool {
        kind == "pretrain" || self == Self::All && kind == "finetune"
    }

    fn title(self) -> &'static str {
        match self {
            Self::Pretraining => "pre-training",
            Self::All => "training",
        }
    }
}

fn costs(node: &SummaryNode, charged: Charged, lineage: &[InputCost]) -> BTreeMap<String, Cost> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for input in lineage {
        let trainings: Vec<_> = input.records.iter().filter(|r| charged.counts(&r.kind)).collect();
        if trainings.is_empty() {
            continue;
        }
        let cost = costs
            .entry(node.axes().arm_of(&input.node, &input.bindings))
            .or_default();
        cost.seconds.push(trainings.iter().map(|r| r.cost.wall_s).sum());
        let images = trainings.iter().filter_map(|r| r.metrics.get("images_trained"));
        cost.images.push(images.sum());
        let peaks = trainings.iter().filter_map(|r| r.cost.peak_rss_bytes);
        cost.peak_bytes.extend(peaks.max().map(|bytes| bytes as f64));
    }
    costs
}

fn missing(node: &SummaryNode, lineage: &Lineage<'_>) -> Missing {
    let mut missing = Missing::new();
    for input in lineage.missing() {
        let arm = node.axes().arm_of(&input.node, &input.bindings);
        let others = input.bindings.iter().filter(|(name, _)| **name != node.arm);
        let others: Vec<String> = others
            .map(|(name, value)| format!("{name} {}", text(Some(value))))
            .collect();
        let what = format!("{} {}", input.node, others.join(", "));
        missing.entry(arm).or_default().push(what.trim_end().to_owned());
    }
    missing
}

/// The rows as they are shown: the best first by the first column, those that failed after them, then the controls.
fn in_order(summary: &Summary, missing: &Missing) -> Vec<Row> {
    let mean = |row: &Row| {
        let first = row.cells.first().and_then(|values| mean_and_deviation(values));
        first.map_or(f64::NEG_INFINITY, |(mean, _)| mean)
    };
    let mut rows = summary.rows.clone();
    let lost = missing
        .keys()
        .filter(|arm| !summary.rows.iter().any(|row| row.name == **arm));
    rows.extend(lost.map(|arm| Row {
        name: arm.clone(),
        control: false,
        cells: vec![Vec::new(); summary.columns.len()],
    }));
    rows.sort_by(|a, b| a.control.cmp(&b.control).then(mean(b).total_cmp(&mean(a))));
    rows
}

fn percent(values: &[f64]) -> String {
    match mean_and_deviation(values) {
        Some((mean, _)) if values.len() == 1 => format!("{:.1}", 100.0 * mean),
        Some((mean, deviation)) => format!("{:.1} ±{:.1}", 100.0 * mean, 100.0 * deviation),
        None => String::new(),
    }
}

fn head(column: &Column) -> String {
    format!("{} {}", column.metric.title(), column.budget)
        .trim_end()
        .to_owned()
}

fn heads(node: &SummaryNode, charged: Charged, summary: &Summary) -> Vec<String> {
    let mut heads = vec![node.arm.clone()];
    heads.extend(summary.columns.iter().map(head));
    heads.push(format!("{}, s", charged.title()));
    heads.extend(["memory, MiB", "images trained"].map(str::to_owned));
    heads
}

const MIB: f64 = 1024.0 * 1024.0;

fn rows_of_table(node: &SummaryNode, rows: &[Row], costs: &BTreeMap<String, Cost>) -> Vec<Vec<String>> {
    let whole = |values: &[f64], unit: f64| {
        mean_and_deviation(values).map_or_else(String::new, |(mean, _)| format!("{:.0}", mean / unit))
    };
    let line = |row: &Row| {
        let mut cells = vec![node.title(&row.name).to_owned()];
        cells.extend(row.cells.iter().map(|values| percent(values)));
        if row.cells.iter().all(Vec::is_empty)
            && let Some(first) = cells.get_mut(1)
        {
            "failed".clone_into(first);
        }
        let cost = costs.get(&row.name).cloned().unwrap_or_default();
        cells.extend([
            whole(&cost.seconds, 1.0),
            whole(&cost.peak_bytes, MIB),
            whole(&cost.images, 1.0),
        ]);
        cells
    };
    rows.iter().map(line).collect()
}

fn notes(node: &SummaryNode, charged: Charged, summary: &Summary, missing: &Missing) -> String {
    let seeds = summary.rows.iter().flat_map(|row| row.cells.iter().map(Vec::len)).max();
    let budgets = if summary.columns.iter().any(|column| !column.budget.is_empty()) {
        format!(" The number after a protocol is its {}.", node.budget)
    } else {
        String::new()
    };
    let clusters = match summary.columns.iter().any(|column| !column.metric.has_budget()) {
        true => " Clusters are k-means of frozen features, each taken for one class; NMI and ARI are theirs.",
        false => "",
    };
    let mut text = format!(
        "\n%, mean ± standard deviation over {} {}(s), on {} {} images; the best by the first column first, controls last.{budgets}{clusters} Time and \
         memory are {}'s, images those that went forward and backward in it.\n",
        seeds.unwrap_or(0),
        node.repeat,
        summary.images,
        summary.split,
        charged.title()
    );
    for (arm, what) in missing {
        text += &format!("\n{} failed: no result for {}.\n", node.title(arm), what.join("; "));
    }
    text
}

fn chart(
    node: &SummaryNode,
    charged: Charged,
    summary: &Summary,
    rows: &[Row],
    costs: &BTreeMap<String, Cost>,
) -> Chart {
    let (controls, arms): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.control);
    let in_percent = |values: &[f64]| mean_and_deviation(values).map(|(mean, spread)| (100.0 * mean, 100.0 * spread));
    let mut panels = Vec::new();
    for (i, column) in summary.columns.iter().enumerate() {
        if matches!(column.metric, Metric::Nmi | Metric::Ari) {
            continue;
        }
        let line = |(nr, row): (usize, &&Row)| {
            let (value, _) = in_percent(&row.cells[i])?;
            Some(Line { control: nr, value })
        };
        let budget = if column.budget.is_empty() {
            String::new()
        } else {
            format!(", {} {}", column.budget, node.budget)
        };
        panels.push(Panel {
            title: format!("{}{budget}", column.metric.title()),
            unit: "%",
            from_zero: false,
            points: arms.iter().map(|row| in_percent(&row.cells[i])).collect(),
            lines: controls.iter().enumerate().filter_map(line).collect(),
        });
    }
    let cost = |title: &str, unit: &'static str, of: &dyn Fn(&Cost) -> Vec<f64>| Panel {
        title: title.to_owned(),
        unit,
        from_zero: true,
        points: arms
            .iter()
            .map(|row| costs.get(&row.name).and_then(|cost| mean_and_deviation(&of(cost))))
            .collect(),
        lines: Vec::new(),
    };
    panels.push(cost(charged.title(), "s", &|cost| cost.seconds.clone()));
    panels.push(cost("memory", "MiB", &|cost| {
        cost.peak_bytes.iter().map(|bytes| bytes / MIB).collect()
    }));
    let titles = |rows: &[&Row]| rows.iter().map(|row| node.title(&row.name).to_owned()).collect();
    Chart {
        rows: titles(&arms),
        controls: titles(&controls),
        panels,
    }
}

/// The report, with the chart as a separate file.
pub(in crate::evaluate) fn render(
    node: &SummaryNode,
    summary: &Summary,
    lineage: &Lineage<'_>,
) -> Result<Report, NodeError> {
    let lineage_costs = lineage.costs();
    let records = lineage_costs.iter().flat_map(|input| &input.records);
    let charged = Charged::of(records.map(|record| record.kind.as_str()));
    let costs = costs(node, charged, &lineage_costs);
    let missing = missing(node, lineage);
    let rows = in_order(summary, &missing);
    let text = table(&heads(node, charged, summary), &rows_of_table(node, &rows, &costs))
        + &notes(node, charged, summary, &missing);
    let svg = chart(node, charged, summary, &rows, &costs).svg();
    Ok(Report {
        markdown: format!("# Summary\n\n{text}"),
        json: json!({ "version": 1, "summary": summary, "costs": costs, "failed": missing }),
        terminal: text,
        files: vec![("svg".to_owned(), svg.into_bytes())],
        headline: None,
        figures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_first_what_failed_is_said_and_controls_are_last() {
        let node: SummaryNode = serde_json::from_value(json!({
            "summary": ["frozen"], "arm": "method", "titles": { "simclr": "SimCLR" },
        }))
        .expect("valid");
        let column = |metric, budget: &str| Column {
            metric,
            budget: budget.into(),
        };
        let row = |name: &str, control, cells: [&[f64]; 3]| Row {
            name: name.into(),
            control,
            cells: cells.map(<[f64]>::to_vec).to_vec(),
        };
        let summary = Summary {
            split: crate::artifacts::SplitName::Test,
            images: 2000,
            columns: vec![
                column(Metric::Probe, "100"),
                column(Metric::FineTune, "100"),
                column(Metric::Nmi, ""),
            ],
            rows: vec![
                row("rotation", false, [&[0.61, 0.63], &[0.7, 0.72], &[0.31, 0.33]]),
                row("raw pixels", true, [&[0.9, 0.9], &[], &[0.2, 0.2]]),
                row("simclr", false, [&[0.71, 0.73], &[0.74], &[0.41, 0.45]]),
                row("scratch", true, [&[], &[0.68, 0.7], &[]]),
            ],
        };
        let simclr = Cost {
            seconds: vec![20.0, 22.0],
            peak_bytes: vec![MIB * 150.0],
            images: vec![40_000.0, 40_000.0],
        };
        let costs = BTreeMap::from([("simclr".to_owned(), simclr)]);
        let missing = Missing::from([
            (
                "byol".to_owned(),
                vec!["frozen seed 0".to_owned(), "frozen seed 1".to_owned()],
            ),
            ("simclr".to_owned(), vec!["tuned labels 100, seed 1".to_owned()]),
        ]);
        let rows = in_order(&summary, &missing);
        let charged = Charged::Pretraining;
        let text = table(&heads(&node, charged, &summary), &rows_of_table(&node, &rows, &costs))
            + &notes(&node, charged, &summary, &missing);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn where_nothing_is_pretrained_arms_are_charged_for_what_they_learn_from_labels() {
        let charged = Charged::of(["dataset", "finetune", "evaluate"].into_iter());
        assert_eq!(charged, Charged::All);
        assert!(charged.counts("finetune") && !charged.counts("evaluate"));
        let charged = Charged::of(["dataset", "finetune", "pretrain"].into_iter());
        assert_eq!(charged, Charged::Pretraining);
        assert!(charged.counts("pretrain") && !charged.counts("finetune"));
    }
}
