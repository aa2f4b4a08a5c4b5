//! `kind = "evaluate"`: judges a model, judges a frozen encoder against its controls, compares arms and gives a verdict, or sums up
//! many arms in one table.

mod compare;
mod frozen;
mod model;
mod report;
mod summary;
mod table;

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

/// One of four forms: `model`, `encoder` (or `backbone` alone, for its controls), `compare` or `summary`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateNode {
    /// A classifier to judge on `data`.
    model: Option<NodeRef>,
    /// An encoder to judge frozen: weighted kNN and linear probe on the labelled part in `data`, beside the same on raw
    /// pixels (or a bag of words) and on the encoder with random weights.
    encoder: Option<EncoderStart>,
    /// The network of an encoder from a file, `encoder = { file = "resnet18.safetensors" }`. Without an encoder, only its controls are
    /// judged.
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
    /// Whether an encoder's controls are judged beside it. Where many encoders share a network, its controls are judged once, by
    /// a node with the `backbone` alone.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    controls: bool,
    /// Training images whose frozen features are grouped into as many clusters as there are classes, without looking at labels:
    /// cluster accuracy, NMI and ARI of the images judged on. 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    cluster_images: usize,
    /// Scores of models and of frozen encoders, to be shown in one table and one chart: a row for each arm, means over `repeat`. With
    /// `over`, all their instances. Arms that failed are shown as such if the run kept going.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    summary: Vec<NodeRef>,
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
    /// The arm that the others are held against; in a summary a control.
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

fn yes() -> bool {
    true
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &usize) -> bool {
    *value == 0
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

/// Which of the four forms a node has.
enum Form {
    Model,
    Frozen,
    Compare,
    Summary,
}

impl EvaluateNode {
    fn form(&self) -> Result<Form, ParamError> {
        let gathers = (self.compare.is_empty(), self.summary.is_empty());
        match (&self.model, &self.encoder, gathers) {
            (Some(_), None, (true, true)) => Ok(Form::Model),
            (None, Some(_), (true, true)) => Ok(Form::Frozen),
            (None, None, (true, true)) if self.backbone.is_some() => Ok(Form::Frozen),
            (None, None, (false, true)) => Ok(Form::Compare),
            (None, None, (true, false)) => Ok(Form::Summary),
            _ => Err(at_with(
                "",
                "an evaluate node takes exactly one of `model`, `encoder`, `compare` and `summary`",
                "`model = \"NODE\"` judges a classifier, `encoder = \"NODE\"` frozen features, `compare = [\"NODE\"]` compares arms, \
                 `summary = [\"NODE\"]` makes a table of them",
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
    const VERSION: u32 = 2;
    const OUTPUT: ArtifactType = SCORES;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::maybe("model", &self.model, &[MODEL]),
            EncoderStart::port(&self.encoder, "encoder", &[ENCODER, MODEL]),
            Port::maybe("data", &self.data, &[DATASET]),
            Port::many("compare", &self.compare, &[SCORES]).labelled().gathers(),
            Port::many("evidence", &self.evidence, &[SCORES]).labelled().gathers(),
            Port::many("summary", &self.summary, &[SCORES])
                .labelled()
                .gathers()
                .partial(),
        ]
    }

    fn files(&self) -> Vec<PathBuf> {
        EncoderStart::files(&self.encoder)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let form = self.form()?;
        if matches!(form, Form::Compare | Form::Summary) {
            if self.data.is_some() {
                return Err(at_with("data", "`data` goes with `model` or `encoder`", "leave it out"));
            }
            if matches!(form, Form::Summary) {
                return Ok(Facts::new());
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
            (None, Some(_)) if self.model.is_some() => {
                let message = "`backbone` goes with `encoder = { file = ... }`";
                return Err(at_with("backbone", message, "leave it out"));
            }
            (None, Some(_)) if !self.controls => {
                let message = "without an encoder there is nothing to judge but controls";
                return Err(at_with("controls", message, "leave it out, or name an `encoder`"));
            }
            (None, _) => {}
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
            Form::Summary => summary::judge(self, inputs),
        }
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        match self.form() {
            Ok(Form::Compare) => report::render(self, &compare::Verdict::read(artifact)?, &lineage.costs()).map(Some),
            Ok(Form::Summary) => summary::render(self, &summary::Summary::read(artifact)?, lineage).map(Some),
            _ => Ok(None),
        }
    }
}
