//! A trained network as an artifact: an encoder, or a classifier, which has an encoder in it.

use std::collections::BTreeMap;

use flow_cache::Artifact;
use flow_engine::node::{Input, NodeError};

use super::model::HEAD;
use super::{EncoderArtifact, ModelArtifact};
use crate::failure::failure;

/// What an entry of the cache holds that can be exported, or used on new images.
pub enum TrainedNetwork {
    /// Features only.
    Encoder(EncoderArtifact),
    /// Features and a head.
    Model(ModelArtifact),
}

impl TrainedNetwork {
    /// From an entry's files.
    ///
    /// # Errors
    /// If it holds no network, or one that cannot be read.
    pub fn read(artifact: &Artifact) -> Result<Self, NodeError> {
        let has = |name: &str| artifact.names().any(|n| n == name);
        if !has("encoder.safetensors") {
            let found = artifact.names().collect::<Vec<_>>().join(", ");
            return Err(failure(format!("the entry holds no weights, but {found}"))
                .with_help("choose an entry of kind pretrain or finetune: `flow cache query \"kind = pretrain\"`"));
        }
        let input = Input {
            node: String::new(),
            bindings: BTreeMap::new(),
            artifact: artifact.clone(),
        };
        if has(HEAD) {
            ModelArtifact::read(&input).map(Self::Model)
        } else {
            EncoderArtifact::read(&input).map(Self::Encoder)
        }
    }
}
