//! A classifier's metrics on a split.

use std::collections::BTreeMap;

use flow_engine::node::{
    ArtifactType, Context, Facts, Input, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port,
    Resources, Spent,
};
use flow_learn::augment::Recipe;
use flow_learn::metrics::{argmaxes, ece};
use flow_learn::tasks::Task;
use flow_learn::train::predict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{score_facts, test};
use crate::artifacts::{
    DATASET, Dataset, FeatureScore, MODEL, ModelArtifact, NetworkFacts, PREDICTIONS, PredictionFacts, Predictions,
    Protocol, SCORES, ScoreFacts, Scores, SplitName, Subject, compatible, same_task,
};
use crate::device::{DeviceChoice, Precision};
use crate::failure::{at_with, device_failure, refused};
use crate::memory;
use crate::parts::by_parts;
use crate::tasks;

/// Bins of the calibration error.
const BINS: usize = 15;

/// Judges a classifier, a network that tells where things are, or the predictions of a program, on a split of a data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreNode {
    /// The network, or a `command` node with `makes = "predictions"`.
    model: NodeRef,
    /// What the network tells: the class of an image, or where things are.
    #[serde(default = "tasks::classify", skip_serializing_if = "tasks::is_classify")]
    #[schemars(extend("enum" = tasks::names()))]
    task: String,
    /// The data set that is judged on: of the network's classes in its order.
    data: NodeRef,
    /// The split that is judged on.
    #[serde(default = "test")]
    pub(super) split: SplitName,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    pub(super) device: DeviceChoice,
    /// What products are made of. On a GPU `tf32`, which is the default, `fp32`, which is slower and as on the CPU, or `bf16`, which is the coarsest; on the CPU `fp32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

impl ScoreNode {
    fn check_split(&self, predicted: SplitName) -> Result<(), ParamError> {
        if predicted == self.split {
            return Ok(());
        }
        let message = format!(
            "the predictions are of the {predicted} split, `split` is {}",
            self.split
        );
        Err(at_with("model", message, "write the same `split` in both nodes"))
    }

    /// What a classifier says of each example, `[examples][classes]`; and how many pseudo-labels it was given, if any.
    fn predicted(
        &self,
        model: &Input,
        data: &Dataset,
        cx: &mut Context<'_>,
    ) -> Result<(Vec<f32>, Option<usize>), NodeError> {
        let mut model = ModelArtifact::read(model)?;
        compatible("model", &model.facts(), &data.facts()?).map_err(refused)?;
        model.classifier.encoder.device = self.device.open(cx)?;
        let images = data.split(self.split)?;
        let augmenter = model
            .normalisation
            .augmenter(&Recipe::default(), model.classifier.encoder.takes())?;
        let all: Vec<u32> = (0..images.n() as u32).collect();
        let probabilities = by_parts(cx, &all, |part| {
            predict(&mut model.classifier, images, part, &augmenter).map_err(|e| device_failure(&e))
        })?;
        Ok((probabilities, model.head.pseudo_labels))
    }

    /// What a program said of each example, if that was of these very examples and classes.
    fn predictions(&self, model: &Input, input: &Input, data: &Dataset) -> Result<Vec<f32>, NodeError> {
        let predictions = Predictions::read(model)?;
        self.check_split(predictions.split).map_err(refused)?;
        if predictions.predicted_on != Dataset::digest_of(input, self.split)? {
            let message = format!(
                "the predictions are of other {} examples than those of `data`",
                self.split
            );
            let help = "give the program the data set that is judged on: labelled parts of one data set have the same";
            return Err(NodeError::failed(message).with_help(help));
        }
        if predictions.class_names != data.class_names {
            let message = "the predictions are of other classes than `data`, or in another order";
            return Err(NodeError::failed(message).with_help("give the program the data set that is judged on"));
        }
        Ok(predictions.probabilities)
    }
}

impl Node for ScoreNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 5;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["model"];

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("model", &self.model, &[MODEL, PREDICTIONS]),
            Port::one("data", &self.data, &[DATASET]),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let Some(facts) = score_facts(inputs, self.split, true)? else {
            return Ok(Facts::unknown());
        };
        let task = tasks::find(&self.task)?;
        if let Some(task) = task {
            tasks::annotated("data", &facts.data, task)?;
        }
        if let Some(network) = inputs.get::<NetworkFacts>("model") {
            tasks::same("model", network, task)?;
            compatible("model", network, &facts.data)?;
        }
        if let Some(predictions) = inputs.get::<PredictionFacts>("model") {
            same_task("model", &facts.data, &predictions.data)?;
            self.check_split(predictions.split)?;
        }
        Ok(Facts::of(ScoreFacts {
            task: task.map(Task::name),
            ..facts
        }))
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
        if let Some(task) = tasks::find(&self.task).map_err(refused)? {
            return self.locate(task, inputs, cx);
        }
        let input = inputs.one("data");
        let data = Dataset::read(input, &[SplitName::Train, self.split])?;
        let model = inputs.one("model");
        let (probabilities, pseudo_labels) = match Predictions::are_in(&model.artifact) {
            true => (self.predictions(model, input, &data)?, None),
            false => self.predicted(model, &data, cx)?,
        };
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
            pseudo_labels,
            truth: Scores::classes(&truth),
            scores: vec![score],
            located: None,
        };
        Ok(Output {
            files: vec![scores.to_file()],
            metrics,
        })
    }
}
