//! `kind = "pseudo-label"`: a teacher labels images, and the confident guesses are kept.
//!
//! The teacher sees the images as they are (Xie et al. 2020, 1911.04252: an un-noised teacher, a noised student). True labels
//! of the images are used for statistics only: how many of the guesses kept were right.

use std::collections::{BTreeMap, HashSet};

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Resources,
};
use flow_learn::augment::Recipe;
use flow_learn::data::{Sample, Samples};
use flow_learn::pseudo::{Balance, Selection, select};
use flow_learn::train::predict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ExampleSet, MODEL, ModelArtifact, NetworkFacts, SplitName, Targets, compatible,
};
use crate::failure::{at, failure, refused};

/// Labels images with a trained classifier, and keeps those that it is sure of.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PseudoLabelNode {
    /// The classifier that guesses.
    teacher: NodeRef,
    /// The images that it labels: all training images, whatever labels they have.
    data: NodeRef,
    /// A data set with images to leave out, as a rule the labelled ones: those of its examples that are, pixel for pixel, among the images of
    /// `data`. Without it they may be guessed like any other.
    except: Option<NodeRef>,
    /// Probability of the likeliest class from which on a guess is kept.
    #[serde(default = "threshold")]
    threshold: f32,
    /// Whether the student learns the teacher's distribution (`true`) or only its likeliest class.
    #[serde(default)]
    soft: bool,
    /// `none` keeps all confident guesses; `equal` keeps the most confident of each class, as many as of the rarest class
    /// that has any (at least `at_least`), so that the student does not see the teacher's favourites only.
    #[serde(default)]
    balance: Balance,
}

fn threshold() -> f32 {
    0.9
}

impl Node for PseudoLabelNode {
    const KIND: &'static str = "pseudo-label";
    const VERSION: u32 = 3;
    const OUTPUT: ArtifactType = DATASET;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("teacher", &self.teacher, &[MODEL]),
            Port::one("data", &self.data, &[DATASET]),
            Port::maybe("except", &self.except, &[DATASET]),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if !(0.0..1.0).contains(&self.threshold) {
            let message = format!(
                "{} found, expected a probability: at least 0 and below 1",
                self.threshold
            );
            return Err(at("threshold", message));
        }
        let Some(data) = inputs.get::<DatasetFacts>("data") else {
            return Ok(Facts::unknown());
        };
        if let Some(teacher) = inputs.get::<NetworkFacts>("teacher") {
            compatible("teacher", teacher, data)?;
        }
        if let Some(except) = inputs.get::<DatasetFacts>("except")
            && except.input != data.input
        {
            return Err(at(
                "except",
                "its images are of another kind or shape than those of `data`",
            ));
        }
        Ok(Facts::of(DatasetFacts {
            targets: Targets::Guesses,
            ..data.clone()
        }))
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
        let mut data = Dataset::read(inputs.one("data"), &[SplitName::Train])?;
        let mut teacher = ModelArtifact::read(inputs.one("teacher"))?;
        compatible("teacher", &teacher.facts(), &data.facts()?).map_err(refused)?;
        let augmenter = teacher
            .normalisation
            .augmenter(&Recipe::default(), teacher.classifier.encoder.takes())?;
        let train = data.train()?;
        let pool = match inputs.maybe("except") {
            Some(except) => without(train, &Dataset::read(except, &[SplitName::Train])?)?,
            None => (0..train.n() as u32).collect(),
        };
        let probabilities = predict(&mut teacher.classifier, train, &pool, &augmenter);
        let classes = data.classes();
        let Selection { kept, targets } = select(&probabilities, classes, self.threshold, self.balance, self.soft);
        let indices: Vec<u32> = kept.iter().map(|i| pool[*i as usize]).collect();
        let examples = ExampleSet {
            guessed: true,
            indices,
            targets,
        };

        let guesses = examples.classes();
        // Only where there are labels it is known how many guesses are right.
        let truths = examples.indices.iter().map(|i| train.labels()[*i as usize]);
        let judged = guesses
            .iter()
            .zip(truths)
            .filter_map(|(g, t)| Some((*g, usize::from(t?))));
        let (judged, right) = judged.fold((0, 0), |(n, right), (g, t)| (n + 1, right + usize::from(g == t)));
        let count = examples.indices.len();
        let mut metrics = BTreeMap::from([
            ("pool".to_owned(), pool.len() as f64),
            ("kept".to_owned(), count as f64),
            ("kept_share".to_owned(), count as f64 / pool.len().max(1) as f64),
        ]);
        if judged > 0 {
            metrics.insert("precision".into(), right as f64 / f64::from(judged));
        }
        for (class, name) in data.class_names.iter().enumerate() {
            let of_class = guesses.iter().filter(|g| **g == class).count();
            metrics.insert(format!("kept_by_class.{class}"), of_class as f64);
            if of_class == 0 {
                cx.host.note(&format!("no guess of class `{name}` was kept"));
            }
        }
        cx.host.note(&format!(
            "kept {count} of {} guesses; of {judged} the label is known, and {right} of these are right",
            pool.len()
        ));
        data.examples = Some(examples);
        let output = data.into_output();
        Ok(Output {
            files: output.files,
            metrics,
        })
    }
}

/// The places of the images that are not, pixel for pixel, examples of the other data set: places in one set mean nothing in another.
///
/// # Errors
/// If none of the other's examples is among the images: then it is a part of something else.
fn without(images: &Samples, other: &Dataset) -> Result<Vec<u32>, NodeError> {
    let (theirs, examples) = (other.train()?, other.example_set()?);
    let left_out: HashSet<Sample<'_>> = examples.indices.iter().map(|i| theirs.get(*i as usize)).collect();
    let kept: Vec<u32> = (0..images.n() as u32)
        .filter(|i| !left_out.contains(&images.get(*i as usize)))
        .collect();
    if kept.len() == images.n() && !left_out.is_empty() {
        let message = "none of the examples of `except` is among the images of `data`";
        return Err(failure(message).with_help("`except` must be a part of the data set that the teacher labels"));
    }
    Ok(kept)
}
