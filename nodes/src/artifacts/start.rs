//! Where a node's encoder comes from: another node, or a file of weights ([`super::outside_weights`]).

use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, InputFacts, Inputs, NodeError, NodeFile, NodeRef, OpenedFile, ParamError, Port,
};
use flow_engine::plain_file;
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::NetworkInput;
use flow_learn::rng::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outside_weights::load_weights;
use super::{DatasetFacts, EncoderArtifact, NetworkFacts, Normalisation, compatible};
use crate::failure::{at_with, failure, refused};

/// `"NODE"`, or `{ file = "resnet18.safetensors" }` with the node's own `backbone` saying which network the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a node's name, or `{ file = \"weights.safetensors\" }`"
)]
pub enum EncoderStart {
    /// What another node trained.
    Node(NodeRef),
    /// Weights from elsewhere.
    File(WeightsFile),
}

/// A safetensors file, relative to the workflow file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightsFile {
    /// Its content is part of the key, the path is not.
    file: DeclaredFile,
}

impl EncoderStart {
    /// The port `name`, if a node is meant.
    pub fn port(start: &Option<Self>, name: &'static str, accepts: &'static [ArtifactType]) -> Port {
        let node = match start {
            Some(Self::Node(node)) => Some(node.clone()),
            _ => None,
        };
        Port::maybe(name, &node, accepts)
    }

    /// The file that the parameter `name` gives, if one is meant.
    pub fn files(start: &Option<Self>, name: &str) -> Vec<NodeFile> {
        match start {
            Some(Self::File(weights)) => vec![NodeFile::new(format!("{name}.file"), &weights.file)],
            _ => Vec::new(),
        }
    }

    /// A file does not say which network it holds, so the node must; a node does, so another `backbone` would be ignored.
    ///
    /// # Errors
    /// At `backbone`, or at `key` where it is missing.
    pub fn check_backbone(&self, key: &str, backbone: Option<&BackboneSettings>) -> Result<(), ParamError> {
        match (self, backbone) {
            (Self::Node(_), Some(_)) => Err(at_with(
                "backbone",
                format!("`{key}` brings its own backbone"),
                "leave out `backbone`",
            )),
            (Self::File(_), None) => Err(at_with(
                key,
                "a file of weights does not say which network it is of",
                "write it next to `file`, e.g. `backbone = { name = \"resnet18\", stem = \"imagenet\" }`",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the encoder at port `name`, if it is known, takes what the data set has.
    ///
    /// # Errors
    /// At `name`.
    pub fn check_input(name: &str, inputs: &InputFacts, data: &DatasetFacts) -> Result<(), ParamError> {
        match inputs.get::<NetworkFacts>(name) {
            // A classifier's encoder goes with any classes.
            Some(network) => compatible(
                name,
                &NetworkFacts {
                    class_names: None,
                    ..network.clone()
                },
                data,
            ),
            None => Ok(()),
        }
    }

    /// The encoder for such a data set: the node's at port `name`, or the backbone with the file's weights, which does not say how images
    /// are normalised: like the data.
    ///
    /// # Errors
    /// If it is for others, or the file does not hold weights of this backbone.
    pub fn open(
        &self,
        name: &'static str,
        backbone: Option<&BackboneSettings>,
        (data, normalisation): (&DatasetFacts, &Normalisation),
        inputs: &Inputs,
        cx: &Context<'_>,
    ) -> Result<EncoderArtifact, NodeError> {
        match (self, backbone, cx.files) {
            (Self::File(_), Some(backbone), [OpenedFile { path, .. }, ..]) => {
                EncoderArtifact::of_file(path, backbone, data.input, normalisation)
            }
            (Self::File(_), ..) => Err(failure(format!("BUG: `{name}` has a file, but no backbone or path"))),
            (Self::Node(_), ..) => {
                let artifact = EncoderArtifact::read(inputs.one(name))?;
                compatible(name, &artifact.facts(), data).map_err(refused)?;
                Ok(artifact)
            }
        }
    }
}

impl EncoderArtifact {
    /// A backbone for such examples with the weights of a safetensors file, which does not say how images are normalised.
    ///
    /// # Errors
    /// If the file does not hold weights of this backbone.
    pub fn of_file(
        path: &Path,
        backbone: &BackboneSettings,
        input: NetworkInput,
        normalisation: &Normalisation,
    ) -> Result<Self, NodeError> {
        let encoder = backbone.build(input, &Stream::new(0, "overwritten")).map_err(failure)?;
        let mut artifact = Self {
            backbone: backbone.clone(),
            encoder,
            normalisation: normalisation.clone(),
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let bytes = plain_file::read(path).map_err(|e| failure(format!("cannot read {}: {e}", path.display())))?;
        load_weights(&mut artifact, &name, &bytes)?;
        Ok(artifact)
    }
}
