//! Arms against a baseline at each label budget, over draws: means, intervals, significant differences, and who is best.

mod account;
mod beside;
mod cells;
mod change;
mod evidence;
mod figures;
mod first;
mod judge;
mod metric;
mod pareto;
mod reads;
mod report;
mod saved;
mod tables;
mod terminal;
mod verdict;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use flow_cache::Artifact;
use flow_engine::node::{
    ArtifactType, Context, Facts, Input, InputFact, InputFacts, Inputs, Lineage, Node, NodeError, NodeRef, Output,
    ParamError, Port, Report, Spent,
};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use self::beside::Aside;
use self::cells::at_cell;
use self::judge::{Material, judge};
use self::metric::Compared;
use self::verdict::{FEWEST_DRAWS, Verdict};
use super::arms::{Axes, Names, Paired, pair};
use crate::artifacts::{SCORES, ScoreFacts, Scores, same_task};
use crate::failure::{at, at_with, refused};

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
    /// The matrix variable of the training budget, to compare arms at each of its values and to say which is best for how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    /// The matrix variable that repeats, or several: arms are paired by their values. The first says what is labelled, the others initialisations.
    #[serde(default = "repeat")]
    repeat: Names,
    /// The arm that the others are held against.
    baseline: String,
    /// Why the arms do not train on the same number of images, forward and backward, teachers and pre-training included: without it they must, to 2 %. The
    /// verdict says it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unequal: Option<String>,
    /// How each arm is called in words.
    #[serde(default)]
    titles: BTreeMap<String, String>,
    /// Scores of what arms must beat to have shown anything, such as `control = "svm"`: they stand in the table, and an arm that does not beat the best
    /// of them is named first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    controls: Vec<NodeRef>,
    /// Scores of models that are trained on all labels: what can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    upper_bound: Vec<NodeRef>,
    /// What arms are compared by: `accuracy`, `balanced_accuracy` or `macro_f1`; of tasks that tell where things are their own, `mean_iou` and `ap`, which need
    /// not be said.
    #[serde(default)]
    metric: Compared,
    /// Two arms whose figures differ by less are as good as each other; 0.01 is one point.
    #[serde(default = "margin")]
    margin: f64,
    /// Of workflows written before intervals were computed without resampling: it changes nothing, and a warning says so.
    #[serde(default, skip_serializing)]
    #[schemars(skip)]
    replicates: Option<IgnoredAny>,
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
fn margin() -> f64 {
    0.01
}

impl CompareNode {
    fn axes(&self) -> Axes<'_> {
        Axes {
            arm: &self.arm,
            budget: &self.budget,
            cost: self.cost.as_deref(),
            repeat: &self.repeat,
        }
    }

    /// How an arm is called.
    fn title<'a>(&'a self, arm: &'a str) -> &'a str {
        self.titles.get(arm).map_or(arm, String::as_str)
    }

    /// The baseline is one of the arms at every budget.
    fn check_arms<T>(&self, paired: &[Paired<T>]) -> Result<(), ParamError> {
        for Paired { cell, arms, .. } in paired {
            let names: Vec<&str> = arms.iter().map(|(arm, _)| arm.as_str()).collect();
            if !names.contains(&self.baseline.as_str()) {
                let message = format!("`{}` is not one of the arms{}", self.baseline, at_cell(self, cell));
                let help = flow_engine::workflow::suggest(&self.baseline, "arms", names);
                return Err(at_with("baseline", message, help));
            }
        }
        Ok(())
    }

    /// What can be checked of the scores beforehand: they are of classifiers, of the same classes, on as many images of the same split.
    fn check_scores(&self, inputs: &InputFacts) -> Result<(), ParamError> {
        let known = |port: &'static str| {
            let known = |input: &InputFact| Some((port, input.node.clone(), input.facts.get::<ScoreFacts>()?.clone()));
            inputs.all(port).iter().filter_map(known).collect::<Vec<_>>()
        };
        let known = ["compare", "controls", "upper_bound"].map(known).concat();
        let Some((_, _, first)) = known.first() else {
            return Ok(());
        };
        for (port, node, facts) in known.iter().map(|(port, node, facts)| (*port, node, facts)) {
            if !facts.of_classifier {
                let help =
                    "a finetune node with `head = \"probe\"` and `steps = 0` makes a classifier of a frozen encoder";
                let message = format!("`{node}` judges frozen features, expected scores of classifiers");
                return Err(at_with(port, message, help));
            }
            self.metric.check(facts.task)?;
            same_task(port, &first.data, &facts.data)?;
            if facts.split != first.split || facts.data.count(facts.split) != first.data.count(first.split) {
                let message = format!("`{node}` is not judged on the same images as the others");
                return Err(at_with(port, message, "judge all arms on the same `data` and `split`"));
            }
        }
        Ok(())
    }

    /// Controls and upper bounds have a score for every draw of every cell.
    fn check_beside<T>(&self, paired: &[Paired<T>], inputs: &InputFacts) -> Result<(), ParamError> {
        for port in ["controls", "upper_bound"] {
            let aside = |input: &InputFact| Aside {
                node: input.node.clone(),
                bindings: input.bindings.clone(),
                score: (),
            };
            let asides: Vec<Aside<()>> = inputs.all(port).iter().map(aside).collect();
            for Paired { cell, draws, .. } in paired {
                beside::of_cell(&self.axes(), port, &asides, cell, draws)?;
            }
        }
        Ok(())
    }
}

/// The scores of a port that are no arm's.
fn asides(inputs: &Inputs, port: &str) -> Result<Vec<Aside<Scores>>, NodeError> {
    let aside = |input: &Input| {
        Ok(Aside {
            node: input.node.clone(),
            bindings: input.bindings.clone(),
            score: Scores::read(input)?,
        })
    };
    inputs.all(port).iter().map(aside).collect()
}

impl Node for CompareNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 7;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["compare"];

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("compare", &self.compare, &[SCORES]).labelled().gathers(),
            Port::many("evidence", &self.evidence, &[SCORES]).labelled().gathers(),
            Port::many("controls", &self.controls, &[SCORES]).labelled().gathers(),
            Port::many("upper_bound", &self.upper_bound, &[SCORES])
                .labelled()
                .gathers(),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if !(self.margin > 0.0 && self.margin < 1.0) {
            let message = format!(
                "{} found, expected a share above 0 and below 1: 0.01 is one point",
                self.margin
            );
            return Err(at("margin", message));
        }
        if self.replicates.is_some() {
            static SAID: OnceLock<()> = OnceLock::new();
            SAID.get_or_init(|| {
                tracing::warn!(
                    "`replicates` changes nothing any more: intervals are computed without resampling. Remove it"
                );
            });
        }
        let all = inputs.all("compare");
        self.axes()
            .check(all.iter().map(|input| (input.node.as_str(), &input.bindings)))?;
        let places = all
            .iter()
            .map(|input| (self.axes().place(&input.node, &input.bindings), ()));
        let paired = pair("compare", places.collect::<Vec<_>>())?;
        self.check_arms(&paired)?;
        self.check_scores(inputs)?;
        self.check_beside(&paired, inputs)?;
        Ok(Facts::unknown())
    }

    fn account(&self, spent: &Spent<'_>) -> Result<Option<String>, ParamError> {
        account::account(self, spent)
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut scores = Vec::new();
        for input in inputs.all("compare") {
            scores.push((self.axes().place(&input.node, &input.bindings), Scores::read(input)?));
        }
        let paired = pair("compare", scores).map_err(refused)?;
        self.check_arms(&paired).map_err(refused)?;
        if paired.iter().any(|cell| cell.draws.len() < FEWEST_DRAWS) {
            cx.host.note(&format!(
                "warning: fewer than {FEWEST_DRAWS} draws of each arm: no difference is called significant"
            ));
        }
        let material = Material {
            arms: &paired,
            controls: &asides(inputs, "controls")?,
            upper_bound: &asides(inputs, "upper_bound")?,
        };
        judge(self, &material)?.into_output()
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        let verdict = Verdict::read(artifact)?;
        let costs = lineage.costs();
        let reads = reads::words(&verdict, lineage, &costs)?;
        report::render(self, &verdict, &costs, reads.as_deref()).map(Some)
    }
}
