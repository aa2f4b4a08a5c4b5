//! What the records of the run say besides the scores: what arms cost, what they learnt from, and what frozen encoders are worth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow_cache::name::without_bindings;
use flow_cache::{ActionKey, ArtifactSummary};
use flow_engine::node::InputCost;
use serde::Serialize;

use super::CompareNode;
use crate::artifacts::Subject;
use crate::evaluate::arms::Cell;
use crate::finetune::TRAIN_ACCURACY;
use crate::pretrain::BY_GUESSING;

/// Node kinds whose time is training time.
const TRAINING: [&str; 3] = ["pretrain", "finetune", "pseudo-label"];

/// Programs train if what they leave is an encoder, or what is judged as it is.
const COMMAND: &str = "command";
const TRAINED: [&str; 3] = ["encoder.safetensors", "features.safetensors", "predictions.safetensors"];

/// Whether what a node did is training.
fn trains(record: &ArtifactSummary) -> bool {
    let left = || TRAINED.iter().any(|name| record.outputs.contains_key(*name));
    TRAINING.contains(&record.kind.as_str()) || (record.kind == COMMAND && left())
}

/// The pre-trainings that an input depends on.
pub(super) fn pretrained(input: &InputCost) -> BTreeSet<ActionKey> {
    let records = input.records.iter();
    let pretrains = |r: &&Arc<ArtifactSummary>| r.kind == "pretrain" || (r.kind == COMMAND && trains(r));
    records.filter(pretrains).map(|r| r.key).collect()
}

/// Below so many times the share of right answers of guessing, a pretext task was not learnt.
const AT_CHANCE: f64 = 1.2;

/// What the names of a frozen encoder's figures begin with.
const FROZEN: [&str; 5] = ["ari.", "cluster_accuracy.", "knn.", "nmi.", "probe."];

/// What one arm took at one budget, mean over draws, shared nodes charged in full.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct ArmCost {
    /// Seconds in which threads of training nodes ran, by the wall clock.
    pub(super) seconds: f64,
    /// Images that went forward and backward through a network, views counted; none where a program does not say.
    pub(super) images: Option<f64>,
    /// Those that it was allowed: more, where training was stopped early.
    pub(super) allowed: Option<f64>,
}

/// What the pseudo-labels of one round were like, mean over draws.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Guesses {
    pub(super) node: String,
    pub(super) kept_share: f64,
    /// Of those that were kept; none where nothing was.
    pub(super) precision: Option<f64>,
}

/// Adds up values by key and gives their means.
#[derive(Default)]
struct Means(BTreeMap<String, (f64, f64)>);

impl Means {
    fn add(&mut self, key: &str, value: f64) {
        let (sum, count) = self.0.entry(key.to_owned()).or_default();
        *sum += value;
        *count += 1.0;
    }

    fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).map(|(sum, count)| sum / count)
    }
}

/// Everything that the report says besides the verdict itself.
pub(super) struct Evidence<'a> {
    pub(super) node: &'a CompareNode,
    pub(super) lineage: &'a [InputCost],
}

impl Evidence<'_> {
    fn of<'a>(&'a self, port: &'a str, cell: &'a Cell, arm: Option<&'a str>) -> impl Iterator<Item = &'a InputCost> {
        self.lineage.iter().filter(move |input| {
            let axes = self.node.axes();
            let same_arm = arm.is_none_or(|arm| axes.arm_of(&input.node, &input.bindings) == arm);
            let found = axes.cell_of(&input.bindings);
            // A frozen encoder need not vary by all that arms vary by.
            let same_cell = found.budget == cell.budget && (found.cost == cell.cost || found.cost.is_empty());
            input.port == port && same_cell && same_arm
        })
    }

    /// The scores of an arm.
    pub(super) fn of_arm<'a>(&'a self, cell: &'a Cell, arm: &'a str) -> impl Iterator<Item = &'a InputCost> {
        self.of("compare", cell, Some(arm))
    }

    /// The scores of a frozen encoder.
    pub(super) fn of_encoder<'a>(&'a self, cell: &'a Cell, encoder: &'a str) -> impl Iterator<Item = &'a InputCost> {
        self.of("evidence", cell, Some(encoder))
    }

    /// The names of the frozen encoders that were judged at a budget: the arms that they are of, or the nodes that judged them.
    pub(super) fn encoders(&self, cell: &Cell) -> BTreeSet<String> {
        let axes = self.node.axes();
        let inputs = self.of("evidence", cell, None);
        inputs.map(|input| axes.arm_of(&input.node, &input.bindings)).collect()
    }

    pub(super) fn cost(&self, cell: &Cell, arm: &str) -> ArmCost {
        let mut means = Means::default();
        for input in self.of("compare", cell, Some(arm)) {
            let training = || input.records.iter().filter(|r| trains(r));
            means.add("seconds", training().map(|r| r.cost.wall_s).sum());
            let trained = |r: &Arc<ArtifactSummary>| match r.metrics.get("images_trained") {
                // Nodes of flow's own say it, where it is not none.
                None if r.kind != COMMAND => Some(0.0),
                said => said.copied(),
            };
            let allowed = |r: &Arc<ArtifactSummary>| r.metrics.get("images_allowed").copied().or_else(|| trained(r));
            means.add(
                "images",
                training().map(trained).sum::<Option<f64>>().unwrap_or(f64::NAN),
            );
            means.add(
                "allowed",
                training().map(allowed).sum::<Option<f64>>().unwrap_or(f64::NAN),
            );
        }
        let known = |figure: &str| Some(means.get(figure).unwrap_or(0.0)).filter(|images| images.is_finite());
        ArmCost {
            seconds: means.get("seconds").unwrap_or(0.0),
            images: known("images"),
            allowed: known("allowed"),
        }
    }

    /// The pre-trainings whose pretext task was not learnt: the node, the share of right answers at the end and that of guessing, means over all
    /// networks.
    pub(super) fn pretexts_at_chance(&self) -> Vec<(String, f64, f64)> {
        let (mut accuracy, mut guessing) = (Means::default(), Means::default());
        let records: BTreeMap<ActionKey, &Arc<ArtifactSummary>> = self
            .lineage
            .iter()
            .flat_map(|input| &input.records)
            .map(|record| (record.key, record))
            .collect();
        for record in records.values() {
            if let [Some(reached), Some(by_guessing)] = ["accuracy", BY_GUESSING].map(|name| record.metrics.get(name)) {
                let name = without_bindings(&record.node);
                accuracy.add(name, *reached);
                guessing.add(name, *by_guessing);
            }
        }
        let names = accuracy.0.keys();
        let found = names.filter_map(|name| Some((name.clone(), accuracy.get(name)?, guessing.get(name)?)));
        found
            .filter(|(_, reached, by_guessing)| *reached < AT_CHANCE * by_guessing)
            .collect()
    }

    /// The share of its own labelled images that an arm's network gets right when training has ended, mean over draws; none where that is not known.
    pub(super) fn learnt(&self, cell: &Cell, arm: &str) -> Option<f64> {
        let mut means = Means::default();
        for input in self.of_arm(cell, arm) {
            let learnt = input.records.iter().filter_map(|r| r.metrics.get(TRAIN_ACCURACY));
            learnt.for_each(|share| means.add(TRAIN_ACCURACY, *share));
        }
        means.get(TRAIN_ACCURACY)
    }

    pub(super) fn guesses(&self, cell: &Cell, arm: &str) -> Vec<Guesses> {
        let (mut share, mut precision) = (Means::default(), Means::default());
        for input in self.of("compare", cell, Some(arm)) {
            for record in input.records.iter().filter(|r| r.kind == "pseudo-label") {
                let name = without_bindings(&record.node);
                share.add(name, record.metrics.get("kept_share").copied().unwrap_or(0.0));
                if let Some(value) = record.metrics.get("precision") {
                    precision.add(name, *value);
                }
            }
        }
        let one = |node: &String| Guesses {
            node: node.clone(),
            kept_share: share.get(node).unwrap_or(0.0),
            precision: precision.get(node),
        };
        share.0.keys().map(one).collect()
    }

    /// Whether an arm depends on a pre-training whose linear probe, with these labels, does not beat both controls.
    pub(super) fn uncredited(&self, cell: &Cell, arm: &str) -> bool {
        let used: BTreeSet<ActionKey> = self.of("compare", cell, Some(arm)).flat_map(pretrained).collect();
        let of_arm = |input: &&InputCost| !pretrained(input).is_disjoint(&used);
        let mut means = Means::default();
        for input in self.of("evidence", cell, None).filter(of_arm) {
            for record in input.records.iter().filter(|r| r.kind == "evaluate") {
                record.metrics.iter().for_each(|(name, value)| means.add(name, *value));
            }
        }
        let probe = |subject: Subject| means.get(&format!("probe.{}", subject.key()));
        let controls = [Subject::RandomInit, Subject::RawPixels, Subject::BagOfWords];
        probe(Subject::Encoder)
            .is_some_and(|encoder| controls.into_iter().filter_map(probe).any(|control| encoder <= control))
    }

    /// Frozen features at a budget: the figure's name, its mean over draws, and its range.
    pub(super) fn frozen(&self, cell: &Cell) -> BTreeMap<String, (f64, f64, f64)> {
        figures_of(self.of("evidence", cell, None))
    }
}

/// Figures of frozen features by name: mean over draws, and range.
pub(super) fn figures_of<'a>(inputs: impl Iterator<Item = &'a InputCost>) -> BTreeMap<String, (f64, f64, f64)> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for input in inputs {
        // The input's own record is the one that has these figures.
        let own = input
            .records
            .iter()
            .filter(|r| r.kind == "evaluate")
            .flat_map(|r| &r.metrics);
        let shown = |name: &str| FROZEN.iter().any(|figure| name.starts_with(figure));
        for (name, value) in own.filter(|(name, _)| shown(name)) {
            values.entry(name.clone()).or_default().push(*value);
        }
    }
    let summary = |v: Vec<f64>| {
        let least = v.iter().copied().fold(f64::INFINITY, f64::min);
        let most = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (v.iter().sum::<f64>() / v.len() as f64, least, most)
    };
    values.into_iter().map(|(name, v)| (name, summary(v))).collect()
}
