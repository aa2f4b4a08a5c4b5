//! A classifier's metrics on a split.

use std::collections::BTreeMap;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Resources,
    Spent,
};
use flow_learn::augment::Recipe;
use flow_learn::metrics::{argmaxes, ece};
use flow_learn::train::predict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{score_facts, test};
use crate::artifacts::{
    DATASET, Dataset, FeatureScore, MODEL, ModelArtifact, NetworkFacts, Protocol, SCORES, Scores, SplitName, Subject,
    compatible,
};
use crate::device::{DeviceChoice, Precision};
use crate::failure::{device_failure, refused};
use crate::memory;

/// Bins of the calibration error.
const BINS: usize = 15;

/// Judges a classifier on a split of a data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreNode {
    /// The classifier.
    model: NodeRef,
    /// The data set that is judged on: of the classifier's classes in its order.
    data: NodeRef,
    /// The split that is judged on.
    #[serde(default = "test")]
    split: SplitName,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    device: DeviceChoice,
    /// On a GPU, what products are made of: `tf32`, which is the default, or `fp32`, which is slower and as on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

impl Node for ScoreNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 4;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["model"];

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("model", &self.model, &[MODEL]),
            Port::one("data", &self.data, &[DATASET]),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let Some(facts) = score_facts(inputs, self.split, true)? else {
            return Ok(Facts::unknown());
        };
        if let Some(network) = inputs.get::<NetworkFacts>("model") {
            compatible("model", network, &facts.data)?;
        }
        Ok(Facts::of(facts))
    }

    fn settled(&self, _: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let device = self.device.settled(self.precision)?;
        Ok(device.map(|device| Self {
            device,
            precision: None,
            ..self.clone()
        }))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        self.device.resources(memory::gpu_bytes_of(inputs, "model"))
    }

    fn isolated(&self) -> bool {
        true
    }

    /// Predicts every image of the split once, as it is, normalised as the classifier was trained.
    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let input = inputs.one("data");
        let data = Dataset::read(input, &[SplitName::Train, self.split])?;
        let mut model = ModelArtifact::read(inputs.one("model"))?;
        compatible("model", &model.facts(), &data.facts()?).map_err(refused)?;
        model.classifier.encoder.device = self.device.open(cx)?;
        let images = data.split(self.split)?;
        let augmenter = model
            .normalisation
            .augmenter(&Recipe::default(), model.classifier.encoder.takes())?;
        let all: Vec<u32> = (0..images.n() as u32).collect();
        let probabilities = predict(&mut model.classifier, images, &all, &augmenter).map_err(|e| device_failure(&e))?;
        let classes = data.classes();
        let predicted: Vec<usize> = argmaxes(&probabilities, classes).collect();
        let truth = data.truth(self.split)?;
        let score = FeatureScore::new(Subject::Model, Protocol::FineTuned, classes, &truth, &predicted);
        let metrics = BTreeMap::from([
            ("accuracy".to_owned(), score.accuracy),
            ("macro_f1".to_owned(), score.macro_f1),
            ("ece".to_owned(), ece(&truth, &probabilities, classes, BINS)),
        ]);
        let scores = Scores {
            split: self.split,
            judged_on: Dataset::digest_of(input, self.split)?,
            noun: data.modality().noun().to_owned(),
            class_names: data.class_names.clone(),
            pseudo_labels: model.head.pseudo_labels,
            truth: Scores::classes(&truth),
            scores: vec![score],
        };
        Ok(Output {
            files: vec![scores.to_file()],
            metrics,
        })
    }
}
