//! A backbone with weights as an artifact: safetensors, with the backbone's declaration and what it takes in the metadata.

use flow_engine::node::{Input, NodeError};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::layers::MapShape;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use serde::{Deserialize, Serialize};

use super::{NetworkFacts, Normalisation, decoded, from_json, to_json};
use crate::failure::failure;

const FILE: &str = "encoder.safetensors";

/// What the weights are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EncoderInfo {
    /// The backbone as declared.
    pub backbone: BackboneSettings,
    /// Height, width and channels of the images.
    pub image: [usize; 3],
    /// What it takes; images where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub modality: Modality,
    /// What it was trained with.
    pub normalisation: Normalisation,
}

fn is_default(modality: &Modality) -> bool {
    *modality == Modality::default()
}

/// An encoder with what it takes to build it again.
pub struct EncoderArtifact {
    /// The backbone as declared.
    pub backbone: BackboneSettings,
    /// With weights.
    pub encoder: Encoder,
    /// What it was trained with, and is to be used with.
    pub normalisation: Normalisation,
}

impl EncoderArtifact {
    /// Its identity, as far as consumers check it.
    pub fn facts(&self) -> NetworkFacts {
        NetworkFacts {
            input: self.encoder.takes(),
            class_names: None,
            backbone: Some(self.backbone.clone()),
            task: None,
        }
    }

    /// The file's name and bytes.
    pub fn to_file(&mut self) -> (String, Vec<u8>) {
        let mut state = StateDict::of(&mut self.encoder, "");
        let NetworkInput { shape, modality } = self.encoder.takes();
        let info = EncoderInfo {
            backbone: self.backbone.clone(),
            image: [shape.h, shape.w, shape.c],
            modality,
            normalisation: self.normalisation.clone(),
        };
        state.meta = String::from_utf8_lossy(&to_json(&info)).into_owned();
        (FILE.into(), state.to_bytes())
    }

    /// From files.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, FILE, Self::decode)
    }

    fn decode(bytes: &[u8]) -> Result<Self, NodeError> {
        let state = StateDict::from_bytes(bytes).map_err(failure)?;
        let info: EncoderInfo = from_json(state.meta.as_bytes())?;
        let [h, w, c] = info.image;
        let input = NetworkInput {
            shape: MapShape { h, w, c },
            modality: info.modality,
        };
        // The fresh weights are overwritten: their seed does not matter.
        let mut encoder = info
            .backbone
            .build(input, &Stream::new(0, "overwritten"))
            .map_err(failure)?;
        state.load(&mut encoder, "").map_err(failure)?;
        Ok(Self {
            backbone: info.backbone,
            encoder,
            normalisation: info.normalisation,
        })
    }
}
