//! Arms against a baseline at each label budget, over seeds: means, intervals, detected differences, and who is best.

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{Input, Inputs, NodeError, Output};
use flow_learn::rng::Stream;
use flow_learn::stats::{Arm, Comparison, Interval, compare};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EvaluateNode;
use crate::artifacts::{Scores, images, is_images};

const FILE: &str = "verdict.json";

/// What was found at every budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// The arm that the others are held against.
    pub(super) baseline: String,
    /// The split that was judged on.
    pub(super) split: String,
    /// What it is made of: `images` or `texts`.
    #[serde(default = "images", skip_serializing_if = "is_images")]
    pub(super) noun: String,
    /// How many of them.
    pub(super) images: usize,
    /// Seeds of each arm.
    pub(super) seeds: usize,
    /// Draws of the bootstrap.
    pub(super) replicates: usize,
    /// One for each budget, in the order of the matrix.
    pub(super) budgets: Vec<BudgetVerdict>,
}

/// What was found at one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BudgetVerdict {
    /// The budget as written in the matrix; empty if there is none.
    pub(super) budget: String,
    /// The arms, in the order of the matrix.
    pub(super) arms: Vec<ArmVerdict>,
}

/// What one arm achieved at one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ArmVerdict {
    /// The arm's name.
    pub(super) arm: String,
    /// Accuracy: mean over seeds with its 95 % interval.
    pub(super) accuracy: [f64; 3],
    /// Accuracy of each seed.
    pub(super) by_seed: Vec<f64>,
    /// Macro F1, mean over seeds.
    pub(super) macro_f1: f64,
    /// Accuracy minus the baseline's, with its 95 % interval.
    pub(super) difference: [f64; 3],
    /// Share of bootstrap draws in which it beats the baseline.
    pub(super) better: f64,
    /// Holm-corrected p-value of the difference.
    pub(super) p: f64,
    /// Whether the difference counts as detected.
    pub(super) detected: bool,
}

impl Verdict {
    /// From the artifact's file.
    pub(super) fn read(artifact: &Artifact) -> Result<Self, NodeError> {
        crate::artifacts::from_json(&artifact.read(FILE)?, "a verdict")
    }
}

/// A matrix value as text.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The arm that an input belongs to: the value of the arm variable, or the node's name.
pub(super) fn arm_of(node: &EvaluateNode, name: &str, bindings: &BTreeMap<String, Value>) -> String {
    bindings
        .get(&node.arm)
        .map_or_else(|| name.to_owned(), |value| text(Some(value)))
}

/// Scores of every arm at every budget, in the order given.
type Table = Vec<(String, Vec<(String, Vec<Scores>)>)>;

fn group(node: &EvaluateNode, inputs: &[Input]) -> Result<Table, NodeError> {
    let mut table: Table = Vec::new();
    for input in inputs {
        let (budget, arm) = (
            text(input.bindings.get(&node.budget)),
            arm_of(node, &input.node, &input.bindings),
        );
        let place = table.iter().position(|(b, _)| *b == budget).unwrap_or_else(|| {
            table.push((budget, Vec::new()));
            table.len() - 1
        });
        let arms = &mut table[place].1;
        let place = arms.iter().position(|(a, _)| *a == arm).unwrap_or_else(|| {
            arms.push((arm, Vec::new()));
            arms.len() - 1
        });
        arms[place].1.push(Scores::read(input)?);
    }
    Ok(table)
}

/// The verdict as an artifact. No times in it: those are the report's.
pub(super) fn judge(node: &EvaluateNode, inputs: &Inputs) -> Result<Output, NodeError> {
    let baseline = node.baseline.clone().unwrap_or_default();
    let table = group(node, inputs.all("compare"))?;
    let mut budgets = Vec::new();
    let mut metrics = BTreeMap::new();
    let (mut count, mut seeds, mut split, mut noun) = (0, 0, String::new(), images());
    for (budget, arms) in &table {
        let place = arms.iter().position(|(arm, _)| *arm == baseline).ok_or_else(|| {
            let names = arms.iter().map(|(arm, _)| arm.as_str()).collect::<Vec<_>>().join(", ");
            NodeError::failed(format!("the baseline `{baseline}` is none of the arms"))
                .with_help(format!("the arms are {names}"))
        })?;
        let outcomes: Vec<Arm> = arms
            .iter()
            .map(|(_, runs)| Arm {
                seeds: runs.iter().filter_map(|r| Some(r.scores.first()?.outcomes())).collect(),
            })
            .collect();
        (seeds, count) = (
            outcomes[place].seeds.len(),
            outcomes[place].seeds.first().map_or(0, Vec::len),
        );
        if let Some(first) = arms[place].1.first() {
            (split, noun) = (first.split.clone(), first.noun.clone());
        }
        if count == 0
            || outcomes
                .iter()
                .any(|o| o.seeds.len() != seeds || o.seeds.iter().any(|s| s.len() != count))
        {
            return Err(
                NodeError::failed("the arms were not judged on the same images with the same seeds")
                    .with_help("score every arm with one evaluate node: `model = \"${arm}\"`"),
            );
        }
        let found = compare(&outcomes, place, node.replicates, &Stream::new(node.seed, "bootstrap"));
        let arms: Vec<ArmVerdict> = arms
            .iter()
            .enumerate()
            .map(|(i, (arm, runs))| arm_verdict(arm, runs, &found, i))
            .collect();
        for arm in &arms {
            metrics.insert(format!("accuracy.{}.{budget}", arm.arm), arm.accuracy[0]);
        }
        budgets.push(BudgetVerdict {
            budget: budget.clone(),
            arms,
        });
    }
    let verdict = Verdict {
        baseline,
        split,
        noun,
        images: count,
        seeds,
        replicates: node.replicates,
        budgets,
    };
    Ok(Output {
        files: vec![(FILE.into(), crate::artifacts::to_json(&verdict))],
        metrics,
    })
}

fn arm_verdict(arm: &str, runs: &[Scores], found: &Comparison, i: usize) -> ArmVerdict {
    let triple = |v: &Interval| [v.mean, v.low, v.high];
    let first = |f: &dyn Fn(&crate::artifacts::FeatureScore) -> f64| -> Vec<f64> {
        runs.iter().filter_map(|r| r.scores.first().map(f)).collect()
    };
    let f1 = first(&|s| s.macro_f1);
    ArmVerdict {
        arm: arm.to_owned(),
        accuracy: triple(&found.accuracy[i]),
        by_seed: first(&|s| s.accuracy),
        macro_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
        difference: triple(&found.difference[i]),
        better: found.better[i],
        p: found.p[i],
        detected: found.detected[i],
    }
}
