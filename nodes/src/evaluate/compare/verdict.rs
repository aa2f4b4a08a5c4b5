//! The verdict as an artifact. No times in it: those are the report's.

use std::collections::BTreeMap;

use flow_cache::{Artifact, Digest};
use flow_engine::node::{NodeError, Output};
use serde::{Deserialize, Serialize};

use super::metric::Compared;
use crate::artifacts::{SplitName, decoded, from_json, to_json};
use crate::evaluate::arms::Cell;

const FILE: &str = "verdict.json";

/// From so many draws on, the spread over draws can be estimated, and a difference can be significant.
pub(super) const FEWEST_DRAWS: usize = 3;

/// With so few labels, what is labelled decides more than what is done with it: fewer draws than [`DRAWS_OF_FEW`] are said so first.
pub(super) const FEW_LABELS: f64 = 100.0;
pub(super) const DRAWS_OF_FEW: usize = 5;

/// What was found in every cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// The arm that the others are held against.
    pub(super) baseline: String,
    /// What arms are compared by.
    pub(super) metric: Compared,
    /// Two arms closer than this are as good as each other.
    pub(super) margin: f64,
    /// The split that was judged on.
    pub(super) split: SplitName,
    /// What it is made of: `images` or `texts`.
    pub(super) noun: String,
    /// How many of them.
    pub(super) images: usize,
    /// Digest of these examples and their labels.
    pub(super) judged_on: Digest,
    /// Names of the classes.
    pub(super) class_names: Vec<String>,
    /// What is reached without looking at an image; none of figures of places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) guessing: Option<f64>,
    /// One for each label budget (and training budget), in the order of the matrix.
    pub(super) cells: Vec<CellVerdict>,
}

/// What was found at one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CellVerdict {
    /// The budgets as written in the matrix.
    #[serde(flatten)]
    pub(super) cell: Cell,
    /// Draws of what is labelled, or, where that does not vary, initialisations.
    pub(super) draws: usize,
    /// Runs of each arm.
    pub(super) runs: usize,
    /// The arms, in the order of the matrix.
    pub(super) arms: Vec<ArmVerdict>,
    /// What arms are held against beside the baseline, in the order written.
    pub(super) controls: Vec<Beside>,
    /// What is reached with all labels.
    pub(super) upper_bound: Vec<Beside>,
}

/// A mean with the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MeanInterval {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What one arm achieved at one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ArmVerdict {
    /// The arm's name.
    pub(super) arm: String,
    /// What arms are compared by.
    pub(super) figure: MeanInterval,
    /// The same of each run, in the order of draws and seeds.
    pub(super) by_run: Vec<f64>,
    /// Of classifiers accuracy and macro F1, mean over runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) macro_f1: Option<f64>,
    /// The share of each class's images that is classified right, or a task's figure of each class, mean over runs.
    pub(super) recall: Vec<f64>,
    /// Against the baseline; none for itself.
    pub(super) baseline: Option<Against>,
    /// Against the best control, if there are any.
    pub(super) control: Option<Against>,
    /// The labels with which the baseline would be as good.
    pub(super) labels_needed: Option<LabelsNeeded>,
    /// Runs in which it was given pseudo-labels, but there was none: self-training did not happen.
    pub(super) without_pseudo_labels: usize,
}

/// One arm against another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Against {
    /// What it has more.
    pub(super) difference: MeanInterval,
    /// The chance that it is better.
    pub(super) better: f64,
    /// Of no difference, corrected (Holm) for all arms and budgets.
    pub(super) p: f64,
    /// Whether the difference is significant; never with fewer than [`FEWEST_DRAWS`] draws.
    pub(super) significant: bool,
    /// Of a difference of the margin or more, corrected (Holm) for all arms and budgets.
    pub(super) p_not_equivalent: f64,
    /// Whether the difference is surely below the margin; never with fewer than [`FEWEST_DRAWS`] draws.
    pub(super) equivalent: bool,
}

/// What an arm stands beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Beside {
    /// The node's name.
    pub(super) name: String,
    /// What arms are compared by.
    pub(super) figure: MeanInterval,
}

/// A number of labels, as far as the grid tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LabelsNeeded {
    pub(super) labels: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Whether the grid ends before.
    pub(super) beyond: Beyond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Beyond {
    /// It lies within the grid.
    No,
    /// It is fewer than the grid begins with.
    Below,
    /// It is more than the grid ends with.
    Above,
}

impl CellVerdict {
    /// The control with the best figure.
    pub(super) fn best_control(&self) -> Option<&Beside> {
        self.controls
            .iter()
            .max_by(|a, b| a.figure.mean.total_cmp(&b.figure.mean))
    }

    /// What a control or an upper bound reaches here.
    pub(super) fn beside(&self, name: &str) -> Option<&Beside> {
        let mut all = self.controls.iter().chain(&self.upper_bound);
        all.find(|beside| beside.name == name)
    }

    /// What an arm reaches here.
    pub(super) fn arm(&self, name: &str) -> Option<&ArmVerdict> {
        self.arms.iter().find(|arm| arm.arm == name)
    }

    /// The number of labels, if the budget is one.
    pub(super) fn labels(&self) -> Option<f64> {
        self.cell.budget.parse().ok()
    }
}

impl Verdict {
    /// The cells of each training budget by their number of labels, rising; none where the label budget is no number.
    pub(super) fn by_labels(&self) -> BTreeMap<&str, Vec<(f64, &CellVerdict)>> {
        let mut by_cost: BTreeMap<&str, Vec<(f64, &CellVerdict)>> = BTreeMap::new();
        for cell in &self.cells {
            if let Some(labels) = cell.labels() {
                by_cost.entry(&cell.cell.cost).or_default().push((labels, cell));
            }
        }
        let sort = |cells: &mut Vec<(f64, &CellVerdict)>| cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        by_cost.values_mut().for_each(sort);
        by_cost
    }

    /// As files.
    pub(super) fn into_output(self) -> Result<Output, NodeError> {
        let metric = self.metric.title().replace(' ', "_").to_lowercase();
        let mut metrics = BTreeMap::new();
        for CellVerdict { cell, arms, .. } in &self.cells {
            let at = [&cell.budget, &cell.cost].map(String::as_str).join(".");
            let at = at.trim_matches('.');
            for arm in arms {
                metrics.insert(format!("{metric}.{}.{at}", arm.arm), arm.figure.mean);
            }
        }
        Ok(Output {
            files: vec![(FILE.into(), to_json(&self))],
            metrics,
        })
    }

    /// From the artifact's file.
    pub(super) fn read(artifact: &Artifact) -> Result<Self, NodeError> {
        decoded(artifact, FILE, from_json)
    }
}
