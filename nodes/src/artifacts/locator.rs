//! A network that tells where things are as an artifact: an encoder and, next to it, its head.

use flow_engine::node::{Input, NodeError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::tasks::{Locator, named};

use super::model::HEAD;
use super::{EncoderArtifact, HeadInfo, NetworkFacts, Normalisation};
use crate::failure::failure;

/// Such a network with what it takes to build it again.
pub struct LocatorArtifact {
    /// The backbone as declared.
    pub backbone: BackboneSettings,
    /// With weights.
    pub network: Locator,
    /// What it was trained with, and is to be used with.
    pub normalisation: Normalisation,
    /// What its classes are, and its task.
    pub head: HeadInfo,
}

impl LocatorArtifact {
    /// Its identity, as far as consumers check it.
    pub fn facts(&self) -> NetworkFacts {
        NetworkFacts {
            input: self.network.encoder.takes(),
            class_names: Some(self.head.class_names.clone()),
            backbone: Some(self.backbone.clone()),
            task: Some(self.network.task.name()),
        }
    }

    /// The files.
    pub fn into_files(self) -> Vec<(String, Vec<u8>)> {
        let Locator { encoder, mut head, .. } = self.network;
        let encoder = EncoderArtifact {
            backbone: self.backbone,
            encoder,
            normalisation: self.normalisation,
        };
        self.head.files(encoder, StateDict::of(head.as_mut(), ""))
    }

    /// From files; `None` if they are of an encoder alone, or of a classifier.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_if_one(input: &Input) -> Result<Option<Self>, NodeError> {
        let has_head = input.artifact.names().any(|name| name == HEAD);
        let is_one = has_head && HeadInfo::read(input, |head, _| Ok(head.task.is_some()))?;
        is_one.then(|| Self::read(input)).transpose()
    }

    /// From files.
    ///
    /// # Errors
    /// If they are of a classifier or of a task that is not known, damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        let EncoderArtifact {
            backbone,
            encoder,
            normalisation,
        } = EncoderArtifact::read(input)?;
        HeadInfo::read(input, |head, state| {
            let name = head.task.as_deref().unwrap_or("classify");
            let task = named(name).ok_or_else(|| {
                failure(format!(
                    "this network does not tell where things are: its task is `{name}`"
                ))
                .with_help("take a network of the task that this node has")
            })?;
            let classes = head.class_names.len();
            let mut network = Locator::new(encoder, task, classes, &Stream::new(0, "overwritten")).map_err(failure)?;
            state.load(network.head.as_mut(), "").map_err(failure)?;
            Ok(Self {
                backbone,
                network,
                normalisation,
                head,
            })
        })
    }
}
