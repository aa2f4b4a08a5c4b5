//! Figures on test or validation images as an artifact, with each image's outcome, so that arms can be compared in pairs.

use flow_engine::node::{Input, NodeError};
use serde::{Deserialize, Serialize};

use super::{from_json, to_json};

/// The file's name.
pub const SCORES_FILE: &str = "scores.json";

/// What one model, or one kind of features, achieved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureScore {
    /// What was judged: `model`, or the features' name (`simclr`, `raw pixels`, `random init`).
    pub of: String,
    /// How: `fine-tuned classifier`, `linear probe`, `weighted kNN`, each with its settings.
    pub protocol: String,
    /// Share of images classified right.
    pub accuracy: f64,
    /// Unweighted mean of the classes' F1.
    pub macro_f1: f64,
    /// `confusion[truth][predicted]`, in images.
    pub confusion: Vec<Vec<u64>>,
    /// Whether each image was classified right, in the order of the split: `1` or `0`.
    pub correct: String,
}

impl FeatureScore {
    /// From predictions.
    pub fn new(of: &str, protocol: String, classes: usize, truth: &[usize], predicted: &[usize]) -> Self {
        let confusion = flow_learn::metrics::confusion(truth, predicted, classes);
        Self {
            of: of.to_owned(),
            protocol,
            accuracy: flow_learn::metrics::accuracy(truth, predicted),
            macro_f1: flow_learn::metrics::macro_f1(truth, predicted, classes),
            confusion: confusion.chunks(classes).map(<[u64]>::to_vec).collect(),
            correct: truth
                .iter()
                .zip(predicted)
                .map(|(t, p)| if t == p { '1' } else { '0' })
                .collect(),
        }
    }

    /// The outcomes as truth values.
    pub fn outcomes(&self) -> Vec<bool> {
        self.correct.bytes().map(|b| b == b'1').collect()
    }
}

/// Where nothing is said.
pub(crate) fn images() -> String {
    "images".to_owned()
}

pub(crate) fn is_images(noun: &str) -> bool {
    noun == "images"
}

/// All that one evaluate node found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The split that was judged on.
    pub split: String,
    /// What it is made of: `images` or `texts`.
    #[serde(default = "images", skip_serializing_if = "is_images")]
    pub noun: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// The figures.
    pub scores: Vec<FeatureScore>,
}

impl Scores {
    /// The file's name and bytes.
    pub fn to_file(&self) -> (String, Vec<u8>) {
        (SCORES_FILE.into(), to_json(self))
    }

    /// From files.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        from_json(&input.read(SCORES_FILE)?, "scores")
    }
}
