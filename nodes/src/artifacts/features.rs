//! Features of the examples of a data set as an artifact: what a frozen encoder that flow does not have says of each.

use std::collections::BTreeMap;

use flow_cache::{Artifact, Digest};
use flow_engine::node::{Input, NodeError};
use flow_learn::state::{StateDict, Tensor};
use serde::{Deserialize, Serialize};

use super::{Dataset, DatasetFacts, SplitName, decoded, from_json, to_json};
use crate::failure::failure;

const FILE: &str = "features.safetensors";

/// What features are of, known before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureFacts {
    /// The data that they are of.
    pub data: DatasetFacts,
}

/// What the numbers mean: the digest of each split, as [`Dataset::digest_of`] has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    splits: BTreeMap<SplitName, Digest>,
}

/// Features of the examples of some splits, with the digests of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeaturesArtifact {
    /// Numbers of each example.
    pub dim: usize,
    /// Of each split its digest and `[examples][dim]`.
    pub splits: BTreeMap<SplitName, (Digest, Vec<f32>)>,
}

impl FeaturesArtifact {
    /// Whether an artifact holds features.
    pub fn are_in(artifact: &Artifact) -> bool {
        artifact.names().any(|name| name == FILE)
    }

    /// The file's name and bytes.
    pub fn into_file(self) -> (String, Vec<u8>) {
        let splits = self.splits.iter().map(|(split, (digest, _))| (*split, *digest));
        let info = Info {
            splits: splits.collect(),
        };
        let tensor = |data: Vec<f32>| Tensor {
            shape: vec![data.len() / self.dim.max(1), self.dim],
            data,
        };
        let tensors = self.splits.into_iter();
        let state = StateDict {
            tensors: tensors
                .map(|(split, (_, data))| (split.to_string(), tensor(data)))
                .collect(),
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
            let mut features = Self::default();
            for (split, digest) in info.splits {
                let tensor = state.tensors.remove(&split.to_string());
                let Some((dim, Tensor { data, .. })) = tensor.and_then(|tensor| Some((*tensor.shape.get(1)?, tensor)))
                else {
                    return Err(failure(format!("it lacks the features of the {split} split")));
                };
                features.dim = dim;
                features.splits.insert(split, (digest, data));
            }
            Ok(features)
        })
    }

    /// The features of a split, `[examples][dim]`, if they are of the very examples that the data set at a port has.
    ///
    /// # Errors
    /// If there are none of this split, or they are of others.
    pub fn of(&self, split: SplitName, data: &Input) -> Result<&[f32], NodeError> {
        let Some((digest, features)) = self.splits.get(&split) else {
            let message = format!("there are no features of the {split} split");
            return Err(failure(message).with_help(format!("let the program write an array `{split}` as well")));
        };
        if *digest == Dataset::digest_of(data, split)? {
            return Ok(features);
        }
        let message = format!("the features are of other {split} examples than those of `data`");
        Err(failure(message).with_help("make them of the same data set: its labelled parts have the same examples"))
    }
}
