//! A classifier with weights as an artifact: an encoder and, next to it, its head.

use flow_engine::node::{Input, NodeError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::train::Classifier;
use serde::{Deserialize, Serialize};

use super::{EncoderArtifact, NetworkFacts, Normalisation, decoded, from_json, to_json};
use crate::failure::failure;

pub(super) const HEAD: &str = "head.safetensors";

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
    /// What it tells of images, if not their class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl HeadInfo {
    /// The files of a network with a head of these weights. The encoder is one of them, so it can be used wherever an encoder can.
    pub(super) fn files(&self, mut encoder: EncoderArtifact, mut head: StateDict) -> Vec<(String, Vec<u8>)> {
        head.meta = String::from_utf8_lossy(&to_json(self)).into_owned();
        vec![encoder.to_file(), (HEAD.to_owned(), head.to_bytes())]
    }

    /// What `build` makes of a head's file.
    pub(super) fn read<T>(
        input: &Input,
        build: impl FnOnce(Self, StateDict) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        decoded(&input.artifact, HEAD, |bytes| {
            let state = StateDict::from_bytes(bytes).map_err(failure)?;
            build(from_json(state.meta.as_bytes())?, state)
        })
    }
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
            task: None,
        }
    }

    /// The files.
    pub fn into_files(self) -> Vec<(String, Vec<u8>)> {
        let Classifier { encoder, mut head, .. } = self.classifier;
        let encoder = EncoderArtifact {
            backbone: self.backbone,
            encoder,
            normalisation: self.normalisation,
        };
        self.head.files(encoder, StateDict::of(&mut head, ""))
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
        HeadInfo::read(input, |head, state| {
            if let Some(task) = &head.task {
                let message = format!("this network does not classify images: its task is `{task}`");
                return Err(NodeError::failed(message).with_help("take a network of `task = \"classify\"`"));
            }
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
