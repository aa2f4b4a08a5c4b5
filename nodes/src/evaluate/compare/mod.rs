//! Arms against a baseline at each label budget, over draws: means, intervals, significant differences, and who is best.

mod report;
mod verdict;

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{
    ArtifactType, Context, Facts, InputFact, InputFacts, Inputs, Lineage, Node, NodeError, NodeRef, Output, ParamError,
    Port, Report,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::verdict::{FEWEST_DRAWS, Verdict};
use super::arms::{Axes, Names, Paired, pair};
use crate::artifacts::{SCORES, ScoreFacts, Scores, same_task};
use crate::failure::{at, at_with, refused};
use crate::memory;

/// Compares arms over label budgets and draws, and ends with a verdict.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareNode {
    /// Scores of classifiers to compare; with `over`, all their instances.
    compare: Vec<NodeRef>,
    /// Scores of frozen encoders, to show next to the verdict: a pre-training whose probe beats neither raw pixels nor random weights
    /// is given no credit.
    #[serde(default)]
    evidence: Vec<NodeRef>,
    /// The matrix variable that tells arms apart.
    #[serde(default = "arm")]
    arm: String,
    /// The matrix variable of the label budget.
    #[serde(default = "budget")]
    budget: String,
    /// The matrix variable that repeats, or several: arms are paired by their values.
    #[serde(default = "repeat")]
    repeat: Names,
    /// The arm that the others are held against.
    baseline: String,
    /// How each arm is called in words.
    #[serde(default)]
    titles: BTreeMap<String, String>,
    /// Draws of the bootstrap.
    #[serde(default = "replicates")]
    replicates: usize,
    /// Decides the bootstrap's draws.
    #[serde(default)]
    seed: u64,
}

pub(super) fn arm() -> String {
    "arm".into()
}
pub(super) fn budget() -> String {
    "labels".into()
}
pub(super) fn repeat() -> Names {
    Names::One("seed".into())
}
fn replicates() -> usize {
    2000
}

impl CompareNode {
    fn axes(&self) -> Axes<'_> {
        Axes {
            arm: &self.arm,
            budget: &self.budget,
            repeat: &self.repeat,
        }
    }

    /// How an arm is called.
    fn title<'a>(&'a self, arm: &'a str) -> &'a str {
        self.titles.get(arm).map_or(arm, String::as_str)
    }

    /// The baseline is one of the arms at every budget, and the bootstrap is fine enough to show a difference of one arm.
    fn check_arms<T>(&self, paired: &Paired<T>) -> Result<(), ParamError> {
        for (budget, arms) in &paired.budgets {
            let names: Vec<&str> = arms.iter().map(|(arm, _)| arm.as_str()).collect();
            if !names.contains(&self.baseline.as_str()) {
                let at = if budget.is_empty() {
                    String::new()
                } else {
                    format!(" at {} {budget}", self.budget)
                };
                let help = flow_engine::workflow::suggest(&self.baseline, "arms", names);
                return Err(at_with(
                    "baseline",
                    format!("`{}` is not one of the arms{at}", self.baseline),
                    help,
                ));
            }
            let values = self.replicates as u128 * (arms.len() as u128 + 3);
            memory::fits("replicates", &format!("{} replicates", self.replicates), 8 * values)?;
            // The smallest p-value, 2 / (replicates + 1), is multiplied by the number of other arms (Holm).
            let fewest = 40 * (arms.len() - 1);
            if self.replicates < fewest.max(100) {
                let message = format!(
                    "{} found, expected at least {}: with {} arms no difference could be significant",
                    self.replicates,
                    fewest.max(100),
                    arms.len()
                );
                return Err(at("replicates", message));
            }
        }
        Ok(())
    }

    /// What can be checked of the arms' scores beforehand: they are of classifiers, of the same classes, on as many images of the same split.
    fn check_scores(scores: &[InputFact]) -> Result<(), ParamError> {
        let known = |input: &InputFact| {
            input
                .facts
                .get::<ScoreFacts>()
                .cloned()
                .map(|facts| (input.node.clone(), facts))
        };
        let known: Vec<(String, ScoreFacts)> = scores.iter().filter_map(known).collect();
        let Some((_, first)) = known.first() else { return Ok(()) };
        for (node, facts) in &known {
            if !facts.of_classifier {
                let help =
                    "a finetune node with `head = \"probe\"` and `steps = 0` makes a classifier of a frozen encoder";
                return Err(at_with(
                    "compare",
                    format!("`{node}` judges frozen features, expected scores of classifiers"),
                    help,
                ));
            }
            same_task("compare", &first.data, &facts.data)?;
            if facts.split != first.split || facts.data.count(facts.split) != first.data.count(first.split) {
                let message = format!("`{node}` is not judged on the same images as the others");
                return Err(at_with(
                    "compare",
                    message,
                    "judge all arms on the same `data` and `split`",
                ));
            }
        }
        Ok(())
    }
}

impl Node for CompareNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 3;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["compare"];

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("compare", &self.compare, &[SCORES]).labelled().gathers(),
            Port::many("evidence", &self.evidence, &[SCORES]).labelled().gathers(),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let scores = inputs.all("compare");
        let places = scores
            .iter()
            .map(|input| Ok((self.axes().place(&input.node, &input.bindings)?, ())));
        let paired = pair("compare", places.collect::<Result<Vec<_>, ParamError>>()?)?;
        self.check_arms(&paired)?;
        Self::check_scores(scores)?;
        Ok(Facts::unknown())
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut scores = Vec::new();
        for input in inputs.all("compare") {
            let place = self.axes().place(&input.node, &input.bindings).map_err(refused)?;
            scores.push((place, Scores::read(input)?));
        }
        let paired = pair("compare", scores).map_err(refused)?;
        self.check_arms(&paired).map_err(refused)?;
        if paired.draws.0 < FEWEST_DRAWS {
            cx.host.note(&format!(
                "warning: fewer than {FEWEST_DRAWS} draws of each arm: no difference is called significant"
            ));
        }
        Verdict::of(self, &paired)?.into_output()
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        report::render(self, &Verdict::read(artifact)?, &lineage.costs()).map(Some)
    }
}
