//! A classifier's metrics on a split.

use std::collections::BTreeMap;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Resources,
};
use flow_learn::augment::Recipe;
use flow_learn::metrics::{argmaxes, ece};
use flow_learn::tasks::Task;
use flow_learn::train::predict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{all_threads, score_facts, test};
use crate::artifacts::{
    DATASET, Dataset, FeatureScore, MODEL, ModelArtifact, NetworkFacts, Protocol, SCORES, ScoreFacts, Scores,
    SplitName, Subject, compatible,
};
use crate::failure::refused;
use crate::tasks;

/// Bins of the calibration error.
const BINS: usize = 15;

/// Judges a classifier, or a network that tells where things are, on a split of a data set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreNode {
    /// The network.
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
        let task = tasks::find(&self.task)?;
        if let Some(task) = task {
            tasks::annotated("data", &facts.data, task)?;
        }
        if let Some(network) = inputs.get::<NetworkFacts>("model") {
            tasks::same("model", network, task)?;
            compatible("model", network, &facts.data)?;
        }
        Ok(Facts::of(ScoreFacts {
            task: task.map(Task::name),
            ..facts
        }))
    }

    fn resources(&self) -> Resources {
        all_threads()
    }

    fn isolated(&self) -> bool {
        true
    }

    /// Predicts every image of the split once, as it is, normalised as the classifier was trained.
    fn run(&self, inputs: &Inputs, _cx: &mut Context<'_>) -> Result<Output, NodeError> {
        if let Some(task) = tasks::find(&self.task).map_err(refused)? {
            return self.locate(task, inputs);
        }
        let input = inputs.one("data");
        let data = Dataset::read(input, &[SplitName::Train, self.split])?;
        let mut model = ModelArtifact::read(inputs.one("model"))?;
        compatible("model", &model.facts(), &data.facts()?).map_err(refused)?;
        let images = data.split(self.split)?;
        let augmenter = model
            .normalisation
            .augmenter(&Recipe::default(), model.classifier.encoder.takes())?;
        let all: Vec<u32> = (0..images.n() as u32).collect();
        let probabilities = predict(&mut model.classifier, images, &all, &augmenter);
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
            located: None,
        };
        Ok(Output {
            files: vec![scores.to_file()],
            metrics,
        })
    }
}
