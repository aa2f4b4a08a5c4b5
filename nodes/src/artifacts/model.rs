//! A classifier with weights as an artifact: an encoder and, next to it, its head.

use flow_engine::node::{Input, NodeError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::train::Classifier;
use serde::{Deserialize, Serialize};

use super::{EncoderArtifact, NetworkFacts, Normalisation, decoded, from_json, to_json};
use crate::failure::failure;

const HEAD: &str = "head.safetensors";

/// What the outputs of a head mean, and what it learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadInfo {
    /// Names of the classes in the order of the outputs.
    pub class_names: Vec<String>,
    /// Labelled examples that it learnt from.
    pub labels: usize,
    /// Pseudo-labelled ones, if it was given such.
    pub pseudo_labels: Option<usize>,
}

/// A classifier with what it takes to build it again.
pub struct ModelArtifact {
    /// The backbone as declared.
    pub backbone: BackboneSettings,
    /// With weights.
    pub classifier: Classifier,
    /// What it was trained with, and is to be used with.
    pub normalisation: Normalisation,
    /// What its outputs mean.
    pub head: HeadInfo,
}

impl ModelArtifact {
    /// Its identity, as far as consumers check it.
    pub fn facts(&self) -> NetworkFacts {
        NetworkFacts {
            input: self.classifier.encoder.takes(),
            class_names: Some(self.head.class_names.clone()),
            backbone: Some(self.backbone.clone()),
        }
    }

    /// The files. The encoder is one of them, so a model can be used wherever an encoder can.
    pub fn into_files(self) -> Vec<(String, Vec<u8>)> {
        let Classifier { encoder, mut head, .. } = self.classifier;
        let mut state = StateDict::of(&mut head, "");
        state.meta = String::from_utf8_lossy(&to_json(&self.head)).into_owned();
        let head = (HEAD.to_owned(), state.to_bytes());
        let mut encoder = EncoderArtifact {
            backbone: self.backbone,
            encoder,
            normalisation: self.normalisation,
        };
        vec![encoder.to_file(), head]
    }

    /// From files.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        let EncoderArtifact {
            backbone,
            encoder,
            normalisation,
        } = EncoderArtifact::read(input)?;
        decoded(&input.artifact, HEAD, |bytes| {
            let state = StateDict::from_bytes(bytes).map_err(failure)?;
            let head: HeadInfo = from_json(state.meta.as_bytes())?;
            let mut classifier = Classifier::new(encoder, head.class_names.len(), &Stream::new(0, "overwritten"));
            state.load(&mut classifier.head, "").map_err(failure)?;
            Ok(Self {
                backbone,
                classifier,
                normalisation,
                head,
            })
        })
    }
}
