//! A classifier with weights as an artifact: an encoder and, beside it, its head.

use flow_engine::node::{Input, NodeError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::train::Classifier;

use super::EncoderArtifact;
use crate::failure::failure;

const HEAD: &str = "head.safetensors";

/// A classifier with what it takes to build it again.
pub struct ModelArtifact {
    /// The backbone as declared.
    pub backbone: BackboneSettings,
    /// With weights.
    pub classifier: Classifier,
}

impl ModelArtifact {
    /// The files. The encoder is one of them, so a model can be used wherever an encoder can.
    pub fn into_files(self) -> Vec<(String, Vec<u8>)> {
        let Classifier {
            encoder,
            mut head,
            classes,
        } = self.classifier;
        let mut state = StateDict::of(&mut head, "");
        state.meta = classes.to_string();
        let head = (HEAD.to_owned(), state.to_bytes());
        vec![
            EncoderArtifact {
                backbone: self.backbone,
                encoder,
            }
            .to_file(),
            head,
        ]
    }

    /// From files.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        let EncoderArtifact { backbone, encoder } = EncoderArtifact::read(input)?;
        let state = StateDict::from_bytes(&input.read(HEAD)?).map_err(failure)?;
        let classes = state
            .meta
            .parse()
            .map_err(|_| NodeError::failed("a classifier in the cache does not say its classes"))?;
        let mut classifier = Classifier::new(encoder, classes, &Stream::new(0, "overwritten"));
        state.load(&mut classifier.head, "").map_err(failure)?;
        Ok(Self { backbone, classifier })
    }
}
