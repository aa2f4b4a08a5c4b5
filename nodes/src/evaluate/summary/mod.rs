//! Many arms in one table: every figure that was found of each, over seeds, with the controls as rows of their own.

mod chart;
mod page;

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{Input, Inputs, NodeError, Output};
use serde::{Deserialize, Serialize};

use super::EvaluateNode;
use super::compare::{arm_of, text};
use crate::artifacts::{CLUSTERS, FINE_TUNED, FeatureScore, KNN, PROBE, RANDOM_INIT, RAW_PIXELS, Scores};

pub(super) use page::render;

const FILE: &str = "summary.json";

/// What is found of an arm, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Figure {
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

impl Figure {
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

    /// The figures in one score, as far as it is of a known protocol.
    fn of(score: &FeatureScore) -> Vec<(Self, f64)> {
        let known = [
            (PROBE, Self::Probe),
            (KNN, Self::Knn),
            (FINE_TUNED, Self::FineTune),
            (CLUSTERS, Self::Clusters),
        ];
        let mut figures: Vec<(Self, f64)> = known
            .iter()
            .filter(|(protocol, _)| score.protocol.starts_with(protocol))
            .map(|(_, figure)| (*figure, score.accuracy))
            .collect();
        if let Some(agreement) = score.agreement {
            figures.extend([(Self::Nmi, agreement.nmi), (Self::Ari, agreement.ari)]);
        }
        figures
    }

    /// Clusters are found without labels.
    fn has_budget(self) -> bool {
        matches!(self, Self::Probe | Self::Knn | Self::FineTune)
    }
}

/// A figure at a label budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) figure: Figure,
    /// The budget as written in the matrix; empty if there is none.
    pub(super) budget: String,
}

/// An arm, or a control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Whether the arms are held against it.
    pub(super) control: bool,
    /// For each column one value for each seed; none where the figure was not found.
    pub(super) cells: Vec<Vec<f64>>,
}

/// The whole table. No times in it: those are the report's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// The split that was judged on.
    pub(super) split: String,
    /// Images of it.
    pub(super) images: usize,
    /// By figure, then in the order of the matrix.
    pub(super) columns: Vec<Column>,
    /// In the order of the matrix.
    pub(super) rows: Vec<Row>,
}

impl Summary {
    /// From the artifact's file.
    pub(super) fn read(artifact: &Artifact) -> Result<Self, NodeError> {
        crate::artifacts::from_json(&artifact.read(FILE)?, "a summary")
    }
}

/// One value that was found.
struct Found {
    row: String,
    control: bool,
    column: Column,
    value: f64,
}

fn found(node: &EvaluateNode, input: &Input, scores: &Scores) -> Vec<Found> {
    let arm = arm_of(node, &input.node, &input.bindings);
    let budget = text(input.bindings.get(&node.budget));
    let of_score = |score: &FeatureScore| {
        let no_arm = [RANDOM_INIT, RAW_PIXELS].contains(&score.of.as_str());
        let row = if no_arm { score.of.clone() } else { arm.clone() };
        let control = no_arm || node.baseline.as_ref() == Some(&arm);
        let budget = budget.clone();
        Figure::of(score).into_iter().map(move |(figure, value)| Found {
            row: row.clone(),
            control,
            column: Column {
                figure,
                budget: if figure.has_budget() {
                    budget.clone()
                } else {
                    String::new()
                },
            },
            value,
        })
    };
    scores.scores.iter().flat_map(of_score).collect()
}

/// The summary as an artifact.
pub(super) fn judge(node: &EvaluateNode, inputs: &Inputs) -> Result<Output, NodeError> {
    let read = |input: &Input| Ok::<_, NodeError>((input.clone(), Scores::read(input)?));
    let all: Vec<(Input, Scores)> = inputs.all("summary").iter().map(read).collect::<Result<_, _>>()?;
    let judged_on = |scores: &Scores| {
        let images = scores.scores.first().map_or(0, |score| score.correct.len());
        (scores.split.clone(), images)
    };
    let (split, images) = all.first().map(|(_, scores)| judged_on(scores)).unwrap_or_default();
    if let Some((other, scores)) = all
        .iter()
        .find(|(_, scores)| judged_on(scores) != (split.clone(), images))
    {
        let (other_split, others) = judged_on(scores);
        let message = format!(
            "`{}` was judged on {others} {other_split} images, others on {images} {split} images",
            other.node
        );
        return Err(NodeError::failed(message).with_help("judge all of them on the same `data` and `split`"));
    }
    let all: Vec<Found> = all
        .iter()
        .flat_map(|(input, scores)| found(node, input, scores))
        .collect();
    let summary = Summary {
        split,
        images,
        columns: columns(&all),
        rows: rows(&all),
    };
    check_baseline(node, &summary)?;
    Ok(Output {
        files: vec![(FILE.into(), crate::artifacts::to_json(&summary))],
        metrics: metrics(&summary),
    })
}

fn columns(all: &[Found]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for found in all {
        if !columns.contains(&found.column) {
            columns.push(found.column.clone());
        }
    }
    // A stable sort: budgets stay in the order of the matrix.
    columns.sort_by_key(|column| column.figure);
    columns
}

fn rows(all: &[Found]) -> Vec<Row> {
    let columns = columns(all);
    let mut rows: Vec<Row> = Vec::new();
    for found in all {
        let at = rows.iter().position(|row| row.name == found.row).unwrap_or_else(|| {
            rows.push(Row {
                name: found.row.clone(),
                control: found.control,
                cells: vec![Vec::new(); columns.len()],
            });
            rows.len() - 1
        });
        if let Some(column) = columns.iter().position(|column| *column == found.column) {
            rows[at].cells[column].push(found.value);
        }
    }
    rows
}

fn check_baseline(node: &EvaluateNode, summary: &Summary) -> Result<(), NodeError> {
    match &node.baseline {
        Some(baseline) if !summary.rows.iter().any(|row| row.name == *baseline) => {
            let names: Vec<&str> = summary.rows.iter().map(|row| row.name.as_str()).collect();
            Err(
                NodeError::failed(format!("the baseline `{baseline}` is none of the rows"))
                    .with_help(format!("the rows are {}", names.join(", "))),
            )
        }
        _ => Ok(()),
    }
}

/// Means by figure, row and budget, for queries.
fn metrics(summary: &Summary) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for row in &summary.rows {
        for (column, values) in summary.columns.iter().zip(&row.cells) {
            if let Some((mean, _)) = mean_and_deviation(values) {
                let figure = column.figure.title().replace([' ', '-'], "_").to_lowercase();
                let name = format!("{figure}.{}.{}", row.name.replace(' ', "_"), column.budget);
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
