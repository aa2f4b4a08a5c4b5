//! The verdict as an artifact. No times in it: those are the report's.

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{NodeError, Output};
use flow_learn::rng::Stream;
use flow_learn::stats::{Arm, Comparison, Interval, compare};
use serde::{Deserialize, Serialize};

use super::CompareNode;
use crate::artifacts::{FeatureScore, Protocol, Scores, SplitName, decoded, from_json, to_json};
use crate::evaluate::arms::Paired;
use crate::failure::failure;

const FILE: &str = "verdict.json";

/// From so many draws on, the spread over draws can be estimated, and a difference can be significant.
pub(super) const FEWEST_DRAWS: usize = 3;

/// What was found at every budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// The arm that the others are held against.
    pub(super) baseline: String,
    /// The split that was judged on.
    pub(super) split: SplitName,
    /// What it is made of: `images` or `texts`.
    pub(super) noun: String,
    /// How many of them.
    pub(super) images: usize,
    /// The fewest draws of the arms at a budget, and the most.
    pub(super) draws: (usize, usize),
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
    /// Accuracy: mean over draws with its 95 % interval.
    pub(super) accuracy: [f64; 3],
    /// Accuracy of each draw.
    pub(super) by_draw: Vec<f64>,
    /// Macro F1, mean over draws.
    pub(super) macro_f1: f64,
    /// Accuracy minus the baseline's, with its 95 % interval.
    pub(super) difference: [f64; 3],
    /// Share of bootstrap draws in which it beats the baseline.
    pub(super) better: f64,
    /// Holm-corrected p-value of the difference.
    pub(super) p: f64,
    /// Whether the difference is significant; never with fewer than [`FEWEST_DRAWS`] draws.
    pub(super) significant: bool,
    /// Draws in which it was given pseudo-labels, but there was none: self-training did not happen.
    pub(super) without_pseudo_labels: usize,
}

impl Verdict {
    /// From paired scores.
    ///
    /// # Errors
    /// If they are not of classifiers, on the same images and classes.
    pub(super) fn of(node: &CompareNode, paired: &Paired<Scores>) -> Result<Self, NodeError> {
        let all = || {
            paired
                .budgets
                .iter()
                .flat_map(|(_, arms)| arms)
                .flat_map(|(_, draws)| draws)
        };
        let first = all().next().ok_or_else(|| failure("there are no scores to compare"))?;
        for scores in all() {
            let same = scores.judged_on == first.judged_on && scores.class_names == first.class_names;
            if !same || scores.split != first.split {
                let message = "the arms were not judged on the same images and classes";
                return Err(failure(message).with_help("score every arm with one evaluate node: `model = \"${arm}\"`"));
            }
        }
        let mut budgets = Vec::new();
        for (budget, arms) in &paired.budgets {
            budgets.push(BudgetVerdict {
                budget: budget.clone(),
                arms: budget_verdict(node, arms)?,
            });
        }
        Ok(Self {
            baseline: node.baseline.clone(),
            split: first.split,
            noun: first.noun.clone(),
            images: first.examples(),
            draws: paired.draws,
            replicates: node.replicates,
            budgets,
        })
    }

    /// As files.
    pub(super) fn into_output(self) -> Result<Output, NodeError> {
        let mut metrics = BTreeMap::new();
        for BudgetVerdict { budget, arms } in &self.budgets {
            metrics.extend(
                arms.iter()
                    .map(|arm| (format!("accuracy.{}.{budget}", arm.arm), arm.accuracy[0])),
            );
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

/// The score of a classifier: what frozen features or controls achieved is no arm's.
fn classifier(scores: &Scores) -> Result<&FeatureScore, NodeError> {
    match scores.scores.as_slice() {
        [score] if score.protocol == Protocol::FineTuned => Ok(score),
        _ => Err(
            failure("scores of frozen features found among the arms, expected those of classifiers")
                .with_help("name evaluate nodes with `model` in `compare`, those with `encoder` in `evidence`"),
        ),
    }
}

fn budget_verdict(node: &CompareNode, arms: &[(String, Vec<Scores>)]) -> Result<Vec<ArmVerdict>, NodeError> {
    let mut outcomes = Vec::new();
    for (_, draws) in arms {
        let seeds = draws.iter().map(|scores| Ok(classifier(scores)?.outcomes()));
        outcomes.push(Arm {
            seeds: seeds.collect::<Result<Vec<_>, NodeError>>()?,
        });
    }
    let baseline = arms
        .iter()
        .position(|(arm, _)| *arm == node.baseline)
        .unwrap_or_default();
    let found = compare(
        &outcomes,
        baseline,
        node.replicates,
        &Stream::new(node.seed, "bootstrap"),
    );
    arms.iter()
        .enumerate()
        .map(|(i, (arm, draws))| arm_verdict(arm, draws, &found, i))
        .collect()
}

fn arm_verdict(arm: &str, draws: &[Scores], found: &Comparison, i: usize) -> Result<ArmVerdict, NodeError> {
    let triple = |v: &Interval| [v.mean, v.low, v.high];
    let scores = draws.iter().map(classifier).collect::<Result<Vec<_>, _>>()?;
    Ok(ArmVerdict {
        arm: arm.to_owned(),
        accuracy: triple(&found.accuracy[i]),
        by_draw: scores.iter().map(|score| score.accuracy).collect(),
        macro_f1: scores.iter().map(|score| score.macro_f1).sum::<f64>() / scores.len() as f64,
        difference: triple(&found.difference[i]),
        better: found.better[i],
        p: found.p[i],
        significant: found.detected[i] && draws.len() >= FEWEST_DRAWS,
        without_pseudo_labels: draws.iter().filter(|scores| scores.pseudo_labels == Some(0)).count(),
    })
}
