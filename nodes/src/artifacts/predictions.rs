//! Class probabilities of the examples of a split as an artifact: what a program of one's own says, to be judged like a classifier.

use flow_cache::{Artifact, Digest};
use flow_engine::node::{Input, NodeError};
use flow_learn::state::{StateDict, Tensor};
use serde::{Deserialize, Serialize};

use super::{DatasetFacts, SplitName, decoded, from_json, to_json};
use crate::failure::failure;

const FILE: &str = "predictions.safetensors";
const PROBABILITIES: &str = "probabilities";

/// What predictions are of, known before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionFacts {
    /// The data that they are on.
    pub data: DatasetFacts,
    /// The split that they are on.
    pub split: SplitName,
}

/// What the numbers mean.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    split: SplitName,
    predicted_on: Digest,
    class_names: Vec<String>,
}

/// A probability for each example of a split and each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The split.
    pub split: SplitName,
    /// Digest of its examples and their labels, as [`super::Dataset::digest_of`] has it.
    pub predicted_on: Digest,
    /// Names of the classes in order.
    pub class_names: Vec<String>,
    /// `[examples][classes]`, in the order of the split.
    pub probabilities: Vec<f32>,
}

impl Predictions {
    /// Whether an artifact holds predictions.
    pub fn are_in(artifact: &Artifact) -> bool {
        artifact.names().any(|name| name == FILE)
    }

    /// The file's name and bytes.
    pub fn into_file(self) -> (String, Vec<u8>) {
        let classes = self.class_names.len();
        let info = Info {
            split: self.split,
            predicted_on: self.predicted_on,
            class_names: self.class_names,
        };
        let tensor = Tensor {
            shape: vec![self.probabilities.len() / classes.max(1), classes],
            data: self.probabilities,
        };
        let state = StateDict {
            tensors: [(PROBABILITIES.to_owned(), tensor)].into(),
            meta: String::from_utf8_lossy(&to_json(&info)).into_owned(),
        };
        (FILE.to_owned(), state.to_bytes())
    }

    /// From files.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, FILE, |bytes| {
            let mut state = StateDict::from_bytes(bytes).map_err(failure)?;
            let info: Info = from_json(state.meta.as_bytes())?;
            let tensor = state.tensors.remove(PROBABILITIES);
            let tensor = tensor.filter(|tensor| matches!(tensor.shape[..], [_, c] if c == info.class_names.len()));
            let tensor = tensor.ok_or_else(|| failure("it lacks a probability for each example and class"))?;
            Ok(Self {
                split: info.split,
                predicted_on: info.predicted_on,
                class_names: info.class_names,
                probabilities: tensor.data,
            })
        })
    }
}
