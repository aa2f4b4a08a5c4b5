//! Many arms in one table: every metric that was found of each, over seeds, with the controls as separate rows.

mod chart;
mod page;

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{
    ArtifactType, Context, Facts, Input, InputFacts, Inputs, Lineage, Node, NodeError, NodeRef, Output, ParamError,
    Port, Report,
};
use flow_engine::workflow::suggest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arms::{Axes, Names, Place};
use super::compare::{arm, budget, repeat};
use crate::artifacts::{FeatureScore, Protocol, SCORES, Scores, SplitName, Subject};
use crate::failure::{at_with, failure};

/// Scores of models and of frozen encoders in one table and one chart: a row for each arm, means over draws.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryNode {
    /// The scores; with `over`, all their instances. Arms that failed are shown as such if the run kept going.
    summary: Vec<NodeRef>,
    /// The matrix variable that tells arms apart.
    #[serde(default = "arm")]
    arm: String,
    /// The matrix variable of the label budget.
    #[serde(default = "budget")]
    budget: String,
    /// The matrix variable that repeats, or several.
    #[serde(default = "repeat")]
    repeat: Names,
    /// The arm that is shown as a control.
    baseline: Option<String>,
    /// How each arm is called in words.
    #[serde(default)]
    titles: BTreeMap<String, String>,
}

impl SummaryNode {
    fn axes(&self) -> Axes<'_> {
        Axes {
            arm: &self.arm,
            budget: &self.budget,
            cost: None,
            repeat: &self.repeat,
        }
    }

    /// How an arm is called.
    fn title<'a>(&'a self, arm: &'a str) -> &'a str {
        self.titles.get(arm).map_or(arm, String::as_str)
    }

    fn check_baseline<'a>(&self, arms: impl Iterator<Item = &'a str>) -> Result<(), ParamError> {
        let Some(baseline) = &self.baseline else { return Ok(()) };
        let mut arms: Vec<&str> = arms.collect();
        arms.sort_unstable();
        arms.dedup();
        if arms.contains(&baseline.as_str()) {
            return Ok(());
        }
        Err(at_with(
            "baseline",
            format!("`{baseline}` is not one of the arms"),
            suggest(baseline, "arms", arms),
        ))
    }
}

impl Node for SummaryNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 4;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["summary"];

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("summary", &self.summary, &[SCORES])
                .labelled()
                .gathers()
                .partial(),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let all = inputs.all("summary");
        self.axes()
            .check(all.iter().map(|input| (input.node.as_str(), &input.bindings)))?;
        let places = all.iter().map(|input| self.axes().place(&input.node, &input.bindings));
        let places: Vec<Place> = places.collect();
        self.check_baseline(places.iter().map(|place| place.arm.as_str()))?;
        Ok(Facts::unknown())
    }

    fn run(&self, inputs: &Inputs, _cx: &mut Context<'_>) -> Result<Output, NodeError> {
        judge(self, inputs)
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        page::render(self, &Summary::read(artifact)?, lineage).map(Some)
    }
}

const FILE: &str = "summary.json";

/// What is found of an arm, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Metric {
    /// Accuracy of a linear probe on frozen features.
    Probe,
    /// Accuracy of weighted nearest neighbours on frozen features.
    Knn,
    /// Accuracy of a fine-tuned classifier.
    FineTune,
    /// Accuracy of clusters of frozen features, each taken for one class.
    Clusters,
    /// Normalised mutual information of clusters and classes.
    Nmi,
    /// Adjusted Rand index of clusters and classes.
    Ari,
}

impl Metric {
    /// How it is called in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Probe => "linear probe",
            Self::Knn => "kNN",
            Self::FineTune => "fine-tune",
            Self::Clusters => "clusters",
            Self::Nmi => "NMI",
            Self::Ari => "ARI",
        }
    }

    /// The metrics in one score.
    fn of(score: &FeatureScore) -> Vec<(Self, f64)> {
        let metric = match score.protocol {
            Protocol::Probe { .. } => Self::Probe,
            Protocol::Knn { .. } => Self::Knn,
            Protocol::Svm { .. } | Protocol::FineTuned => Self::FineTune,
            Protocol::Clusters { .. } => Self::Clusters,
        };
        let mut metrics = vec![(metric, score.accuracy)];
        if let Some(agreement) = score.agreement {
            metrics.extend([(Self::Nmi, agreement.nmi), (Self::Ari, agreement.ari)]);
        }
        metrics
    }

    /// Clusters are found without labels.
    fn has_budget(self) -> bool {
        matches!(self, Self::Probe | Self::Knn | Self::FineTune)
    }
}

/// A metric at a label budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) metric: Metric,
    /// The budget as written in the matrix; empty if there is none.
    pub(super) budget: String,
}

/// An arm, or a control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Whether the arms are held against it.
    pub(super) control: bool,
    /// For each column one value for each draw; none where the metric was not found.
    pub(super) cells: Vec<Vec<f64>>,
}

/// The whole table. No times in it: those are the report's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// The split that was judged on.
    pub(super) split: SplitName,
    /// Images of it.
    pub(super) images: usize,
    /// By metric, then in the order of the matrix.
    pub(super) columns: Vec<Column>,
    /// In the order of the matrix.
    pub(super) rows: Vec<Row>,
}

impl Summary {
    /// From the artifact's file.
    pub(super) fn read(artifact: &Artifact) -> Result<Self, NodeError> {
        crate::artifacts::decoded(artifact, FILE, crate::artifacts::from_json)
    }
}

/// One value that was found.
struct Measurement {
    /// The arm, or the control, whatever arms are called.
    row: (Option<Subject>, String),
    control: bool,
    column: Column,
    draw: String,
    value: f64,
}

fn found(node: &SummaryNode, place: &Place, scores: &Scores) -> Vec<Measurement> {
    let of_score = |score: &FeatureScore| {
        let control = score.of.is_control();
        let row = if control {
            (Some(score.of), score.of.title().to_owned())
        } else {
            (None, place.arm.clone())
        };
        let control = control || node.baseline.as_ref() == Some(&place.arm);
        Metric::of(score).into_iter().map(move |(metric, value)| Measurement {
            row: row.clone(),
            control,
            column: Column {
                metric,
                budget: if metric.has_budget() {
                    place.cell.budget.clone()
                } else {
                    String::new()
                },
            },
            draw: place.draw.to_string(),
            value,
        })
    };
    scores.scores.iter().flat_map(of_score).collect()
}

/// The summary as an artifact.
fn judge(node: &SummaryNode, inputs: &Inputs) -> Result<Output, NodeError> {
    let read = |input: &Input| {
        let place = node.axes().place(&input.node, &input.bindings);
        Ok::<_, NodeError>((place, Scores::read(input)?))
    };
    let all: Vec<(Place, Scores)> = inputs.all("summary").iter().map(read).collect::<Result<_, _>>()?;
    let (_, first) = all.first().ok_or_else(|| failure("BUG: there are no scores"))?;
    let (split, images) = (first.split, first.examples());
    if let Some((other, _)) = all
        .iter()
        .find(|(_, scores)| scores.judged_on != first.judged_on || scores.split != split)
    {
        let message = format!("`{}` was not judged on the same images as the others", other.arm);
        return Err(failure(message).with_help("judge all of them on the same `data` and `split`"));
    }
    let all: Vec<Measurement> = all
        .iter()
        .flat_map(|(place, scores)| found(node, place, scores))
        .collect();
    let summary = Summary {
        split,
        images,
        columns: columns(&all),
        rows: rows(&all)?,
    };
    Ok(Output {
        files: vec![(FILE.into(), crate::artifacts::to_json(&summary))],
        metrics: metrics(&summary),
    })
}

fn columns(all: &[Measurement]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for found in all {
        if !columns.contains(&found.column) {
            columns.push(found.column.clone());
        }
    }
    // A stable sort: budgets stay in the order of the matrix.
    columns.sort_by_key(|column| column.metric);
    columns
}

/// A row for each arm and control, one value for each draw: a control that several nodes judged in the same way counts once.
///
/// # Errors
/// If one row has two different values of one draw: their mean would be meaningless.
fn rows(all: &[Measurement]) -> Result<Vec<Row>, NodeError> {
    let columns = columns(all);
    let mut names: Vec<(&(Option<Subject>, String), bool)> = Vec::new();
    let mut cells: Vec<Vec<BTreeMap<&str, f64>>> = Vec::new();
    for found in all {
        let at = names.iter().position(|(row, _)| **row == found.row).unwrap_or_else(|| {
            names.push((&found.row, found.control));
            cells.push(vec![BTreeMap::new(); columns.len()]);
            names.len() - 1
        });
        let Some(column) = columns.iter().position(|column| *column == found.column) else {
            continue;
        };
        let earlier = cells[at][column].insert(&found.draw, found.value);
        if earlier.is_some_and(|earlier| earlier.to_bits() != found.value.to_bits()) && found.column.metric.has_budget()
        {
            let message = format!(
                "`{}` has two different values of {} at {}",
                found.row.1,
                found.column.metric.title(),
                found.draw
            );
            return Err(failure(message)
                .with_help("judge each arm once, and controls in a separate node: `controls = false` in the others"));
        }
    }
    let mut rows = Vec::with_capacity(names.len());
    for (((_, name), control), cells) in names.into_iter().zip(cells) {
        let cells = cells.into_iter().map(|draws| draws.into_values().collect()).collect();
        rows.push(Row {
            name: name.clone(),
            control,
            cells,
        });
    }
    Ok(rows)
}

/// Means by metric, row and budget, for queries.
fn metrics(summary: &Summary) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for row in &summary.rows {
        for (column, values) in summary.columns.iter().zip(&row.cells) {
            if let Some((mean, _)) = mean_and_deviation(values) {
                let metric = column.metric.title().replace([' ', '-'], "_").to_lowercase();
                let name = format!("{metric}.{}.{}", row.name.replace(' ', "_"), column.budget);
                metrics.insert(name.trim_end_matches('.').to_owned(), mean);
            }
        }
    }
    metrics
}

/// Mean and standard deviation over seeds (0 of a single one); `None` of none.
pub(super) fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, (squares / (n - 1.0).max(1.0)).sqrt()))
}
