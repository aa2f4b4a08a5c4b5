//! `kind = "evaluate"`: judges a model, judges a frozen encoder against its controls, or compares arms and gives a verdict.

mod compare;
mod frozen;
mod model;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use flow_cache::Artifact;
use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Lineage, Node, NodeError, NodeRef, Output, ParamError, Port,
    Report, Resources,
};
use flow_learn::backbones::BackboneSettings;
use serde::{Deserialize, Serialize};

use crate::artifacts::{DATASET, DatasetFacts, ENCODER, EncoderStart, MODEL, SCORES, SplitName};
use crate::failure::{at, at_with};

/// One of three forms: `model`, `encoder` or `compare`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateNode {
    /// A classifier to judge on `data`.
    model: Option<NodeRef>,
    /// An encoder to judge frozen: weighted kNN and linear probe on the labelled part in `data`, beside the same on raw
    /// pixels (or a bag of words) and on the encoder with random weights.
    encoder: Option<EncoderStart>,
    /// The network of an encoder from a file, `encoder = { file = "resnet18.safetensors" }`.
    backbone: Option<BackboneSettings>,
    /// The data set that is judged on (and, for an encoder, whose examples are the labels).
    data: Option<NodeRef>,
    /// The split that is judged on.
    #[serde(default = "test")]
    split: SplitName,
    /// Neighbours of the kNN, at most as many as there are examples of a class.
    #[serde(default = "neighbours")]
    neighbours: usize,
    /// Temperature of the kNN's weights.
    #[serde(default = "temperature")]
    temperature: f32,
    /// Scores to compare; with `over`, all their instances.
    #[serde(default)]
    compare: Vec<NodeRef>,
    /// Scores of frozen encoders, to show beside the verdict.
    #[serde(default)]
    evidence: Vec<NodeRef>,
    /// The matrix variable that tells arms apart.
    #[serde(default = "arm")]
    arm: String,
    /// The matrix variable of the label budget.
    #[serde(default = "budget")]
    budget: String,
    /// The matrix variable that repeats.
    #[serde(default = "repeat")]
    repeat: String,
    /// The arm that the others are held against.
    baseline: Option<String>,
    /// How each arm is called in words.
    #[serde(default)]
    titles: BTreeMap<String, String>,
    /// Draws of the bootstrap.
    #[serde(default = "replicates")]
    replicates: usize,
    /// Decides the bootstrap's draws and the random control's weights.
    #[serde(default)]
    seed: u64,
}

fn test() -> SplitName {
    SplitName::Test
}
fn neighbours() -> usize {
    20
}
fn temperature() -> f32 {
    0.1
}
fn arm() -> String {
    "arm".into()
}
fn budget() -> String {
    "labels".into()
}
fn repeat() -> String {
    "seed".into()
}
fn replicates() -> usize {
    2000
}

/// Which of the three forms a node has.
enum Form {
    Model,
    Frozen,
    Compare,
}

impl EvaluateNode {
    fn form(&self) -> Result<Form, ParamError> {
        match (&self.model, &self.encoder, self.compare.is_empty()) {
            (Some(_), None, true) => Ok(Form::Model),
            (None, Some(_), true) => Ok(Form::Frozen),
            (None, None, false) => Ok(Form::Compare),
            _ => Err(at_with(
                "",
                "an evaluate node takes exactly one of `model`, `encoder` and `compare`",
                "`model = \"NODE\"` judges a classifier, `encoder = \"NODE\"` frozen features, `compare = [\"NODE\"]` compares arms",
            )),
        }
    }

    /// How an arm is called.
    fn title<'a>(&'a self, arm: &'a str) -> &'a str {
        self.titles.get(arm).map_or(arm, String::as_str)
    }
}

impl Node for EvaluateNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = SCORES;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::maybe("model", &self.model, &[MODEL]),
            EncoderStart::port(&self.encoder, "encoder", &[ENCODER, MODEL]),
            Port::maybe("data", &self.data, &[DATASET]),
            Port::many("compare", &self.compare, &[SCORES]).labelled().gathers(),
            Port::many("evidence", &self.evidence, &[SCORES]).labelled().gathers(),
        ]
    }

    fn files(&self) -> Vec<PathBuf> {
        EncoderStart::files(&self.encoder)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if matches!(self.form()?, Form::Compare) {
            if self.data.is_some() {
                return Err(at_with("data", "`data` goes with `model` or `encoder`", "leave it out"));
            }
            if self.replicates < 100 {
                return Err(at(
                    "replicates",
                    format!("{} found, expected at least 100", self.replicates),
                ));
            }
            if self.baseline.is_none() {
                return Err(at_with(
                    "",
                    "a comparison needs a `baseline`",
                    "name one of the arms, e.g. `baseline = \"scratch\"`",
                ));
            }
            return Ok(Facts::new());
        }
        match (&self.encoder, &self.backbone) {
            (Some(start), backbone) => start.check_backbone("encoder", backbone.as_ref())?,
            (None, Some(_)) => {
                let message = "`backbone` goes with `encoder = { file = ... }`";
                return Err(at_with("backbone", message, "leave it out"));
            }
            (None, None) => {}
        }
        if self.data.is_none() {
            return Err(at_with("", "`data` is missing", "name the data set to judge on"));
        }
        if self.neighbours == 0 {
            return Err(at("neighbours", "0 found, expected at least 1"));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(at(
                "temperature",
                format!("{} found, expected a number above 0", self.temperature),
            ));
        }
        let Some(data) = inputs.get("data").and_then(|d| d.first()).and_then(DatasetFacts::of) else {
            return Ok(Facts::new());
        };
        if data.count(self.split) == Some(0) {
            let help = "`validation = N` in the dataset node puts some of the training images aside";
            let message = format!("the data set has no {} {}", self.split, data.modality.noun());
            return Err(at_with("split", message, help));
        }
        for port in ["model", "encoder"] {
            if let Some(network) = inputs.get(port).and_then(|i| i.first()) {
                EncoderStart::check_input(port, network, &data)?;
            }
        }
        Ok(Facts::new())
    }

    fn resources(&self) -> Resources {
        Resources {
            max_threads: usize::MAX,
            ..Resources::default()
        }
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        match self.form().map_err(|e| NodeError::failed(e.message))? {
            Form::Model => model::judge(self, inputs),
            Form::Frozen => frozen::judge(self, inputs, cx),
            Form::Compare => compare::judge(self, inputs),
        }
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        match self.form() {
            Ok(Form::Compare) => report::render(self, &compare::Verdict::read(artifact)?, &lineage.costs()).map(Some),
            _ => Ok(None),
        }
    }
}
