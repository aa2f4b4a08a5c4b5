//! Where a node's encoder comes from: another node, or a file of weights under torchvision's or timm's names.

use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, InputFacts, Inputs, NodeError, NodeFile, NodeRef, OpenedFile, ParamError, Port,
};
use flow_engine::plain_file;
use flow_learn::backbones::{BackboneSettings, Encoder, VitShape};
use flow_learn::data::NetworkInput;
use flow_learn::layers::{MapShape, Tensors, TransformerShape};
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Copies a safetensors file's weights into the network; a classification head (`fc`, `head`) in the file is left out.
fn load_weights(to: &mut EncoderArtifact, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        let help = "in Python: `safetensors.torch.save_file(torch.load(\"weights.pth\"), \"weights.safetensors\")`";
        return Err(failure(format!("`{name}` is a PyTorch pickle, expected a safetensors file")).with_help(help));
    }
    let mut found = StateDict::from_bytes(bytes).map_err(|e| failure(format!("`{name}`: {e}")))?;
    found
        .tensors
        .retain(|tensor, _| !["fc.", "head."].iter().any(|head| tensor.starts_with(head)));
    let expected = StateDict::of(&mut to.encoder, "");
    // Files of before PyTorch 0.4.1 lack these counters; nothing that is computed depends on them.
    for (tensor, fresh) in &expected.tensors {
        if tensor.ends_with("num_batches_tracked") && !found.tensors.contains_key(tensor) {
            found.tensors.insert(tensor.clone(), fresh.clone());
        }
    }
    let mut entries = Vec::new();
    to.encoder.entries("", &mut entries);
    let order: Vec<String> = entries.into_iter().map(|e| e.name).collect();
    let differences = differences(&order, &expected, &found);
    if differences.is_empty() {
        return found
            .load(&mut to.encoder, "")
            .map_err(|e| failure(format!("`{name}`: {e}")));
    }
    let more = differences.len().saturating_sub(SHOWN);
    let mut message = format!(
        "`{name}` does not hold weights of {}:",
        describe(&to.backbone, &mut to.encoder)
    );
    for difference in differences.iter().take(SHOWN) {
        message.push_str(&format!("\n  {difference}"));
    }
    if more > 0 {
        message.push_str(&format!("\n  and {more} more"));
    }
    Err(failure(message).with_help(help(&expected, &found)))
}

/// Differences that a message shows.
const SHOWN: usize = 4;

fn describe(backbone: &BackboneSettings, encoder: &mut Encoder) -> String {
    if let Some(vit) = encoder.transformer() {
        let VitShape { patch, transformer, .. } = *vit.shape();
        let TransformerShape { dim, depth, .. } = transformer;
        let MapShape { h, w, c } = encoder.input;
        return format!(
            "{} of patch {patch}, dim {dim} and depth {depth} for images of {h}x{w} and {c} channel(s)",
            backbone.name
        );
    }
    let stem = serde_json::to_value(backbone.stem).unwrap_or_default();
    let stem = stem.as_str().unwrap_or_default();
    let widths = match backbone.widths.is_empty() {
        true => String::new(),
        false => format!(" of widths {:?}", backbone.widths),
    };
    format!(
        "{}{widths} with stem \"{stem}\" for images of {} channel(s)",
        backbone.name, encoder.input.c
    )
}

/// What is missing, of another shape or left over, in words; in the network's order, `order`.
fn differences(order: &[String], expected: &StateDict, found: &StateDict) -> Vec<String> {
    let missing = order.iter().filter_map(|name| {
        let shape = &expected.tensors.get(name)?.shape;
        match found.tensors.get(name) {
            Some(other) if other.shape == *shape => None,
            Some(other) => Some(format!("`{name}` is {:?}, expected {shape:?}", other.shape)),
            None => Some(format!("`{name}` is missing, expected {shape:?}")),
        }
    });
    let surplus = found
        .tensors
        .iter()
        .filter(|(name, _)| !expected.tensors.contains_key(*name))
        .map(|(name, tensor)| format!("`{name}` {:?} is not one of its tensors", tensor.shape));
    missing.chain(surplus).collect()
}

/// What to do, from how the first layers differ.
fn help(expected: &StateDict, found: &StateDict) -> String {
    const PATCHES: &str = "patch_embed.proj.weight";
    const POSITIONS: &str = "pos_embed";
    let shape = |state: &StateDict, name: &str| state.tensors.get(name).map(|t| t.shape.clone());
    match (shape(expected, PATCHES).as_deref(), shape(found, PATCHES).as_deref()) {
        (Some([_, ours, ..]), Some([_, theirs, ..])) if ours != theirs => return other_channels(*ours, *theirs),
        (Some([.., ours]), Some([.., theirs])) if ours != theirs => {
            return format!("write `patch = {theirs}` in `backbone`");
        }
        (Some([ours, ..]), Some([theirs, ..])) if ours != theirs => {
            return format!("write `dim = {theirs}` in `backbone`");
        }
        _ => {}
    }
    match (
        shape(expected, POSITIONS).as_deref(),
        shape(found, POSITIONS).as_deref(),
    ) {
        (Some([_, ours, _]), Some([_, theirs, _])) if ours != theirs => {
            return format!(
                "the file's network takes images of another size: it has {theirs} positions, this data set's images {ours}"
            );
        }
        _ => {}
    }
    let first = |state: &StateDict| shape(state, "conv1.weight");
    match (first(expected).as_deref(), first(found).as_deref()) {
        (Some([_, _, 3, _]), Some([_, _, 7, _])) => "write `stem = \"imagenet\"` in `backbone`".into(),
        (Some([_, _, 7, _]), Some([_, _, 3, _])) => "write `stem = \"small\"` in `backbone`".into(),
        (Some([_, ours, ..]), Some([_, theirs, ..])) if ours != theirs => other_channels(*ours, *theirs),
        _ => "give the `backbone` that the file was saved from; names are torchvision's or timm's, without a prefix"
            .into(),
    }
}

fn other_channels(ours: usize, theirs: usize) -> String {
    format!("the file's network takes images of {theirs} channel(s), this data set has {ours}")
}

#[cfg(test)]
mod tests {
    use flow_learn::backbones::Stem;

    use super::*;

    fn artifact(name: &str, stem: Stem, channels: usize, seed: u64) -> EncoderArtifact {
        let backbone = BackboneSettings {
            stem,
            ..BackboneSettings::named(name)
        };
        let image = MapShape {
            h: 32,
            w: 32,
            c: channels,
        };
        let encoder = backbone.build(image, &Stream::new(seed, "test")).expect("valid");
        EncoderArtifact {
            backbone,
            encoder,
            normalisation: Normalisation::default(),
        }
    }

    /// The words with which the weights of one network are refused by another.
    fn refusal(mut from: EncoderArtifact, mut to: EncoderArtifact) -> String {
        let bytes = StateDict::of(&mut from.encoder, "").to_bytes();
        match load_weights(&mut to, "w.safetensors", &bytes) {
            Err(NodeError::Failed { message, help }) => format!("{message} {}", help.unwrap_or_default()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_head_in_the_file_is_left_out_and_old_files_lack_counters() {
        let (mut from, mut to) = (
            artifact("resnet18", Stem::Imagenet, 3, 1),
            artifact("resnet18", Stem::Imagenet, 3, 2),
        );
        let mut file = StateDict::of(&mut from.encoder, "");
        file.tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        let bias = flow_learn::state::Tensor {
            shape: vec![1000],
            data: vec![0.5; 1000],
        };
        file.tensors.insert("fc.bias".into(), bias);
        load_weights(&mut to, "resnet18.safetensors", &file.to_bytes()).expect("the same network");
        assert_eq!(StateDict::of(&mut to.encoder, ""), StateDict::of(&mut from.encoder, ""));
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_is_expected_and_found() {
        let stem = refusal(
            artifact("resnet18", Stem::Imagenet, 3, 1),
            artifact("resnet18", Stem::Small, 3, 1),
        );
        assert!(
            stem.contains("`conv1.weight` is [64, 3, 7, 7], expected [64, 3, 3, 3]")
                && stem.contains("stem = \"imagenet\""),
            "{stem}"
        );
        let channels = refusal(
            artifact("resnet18", Stem::Small, 3, 1),
            artifact("resnet18", Stem::Small, 1, 1),
        );
        assert!(
            channels.contains("takes images of 3 channel(s), this data set has 1"),
            "{channels}"
        );
        let names = refusal(
            artifact("resnet34", Stem::Small, 3, 1),
            artifact("resnet18", Stem::Small, 3, 1),
        );
        assert!(
            names.contains("`layer1.2.bn1.bias` [64] is not one of its tensors") && names.contains("more"),
            "{names}"
        );
    }

    #[test]
    fn a_vit_that_does_not_fit_is_told_which_size_to_write() {
        let vit = |patch, dim, side, channels| {
            let backbone = BackboneSettings {
                patch: Some(patch),
                dim: Some(dim),
                depth: Some(1),
                ..BackboneSettings::named("vit")
            };
            let image = MapShape {
                h: side,
                w: side,
                c: channels,
            };
            let encoder = backbone.build(image, &Stream::new(1, "test")).expect("valid");
            EncoderArtifact {
                backbone,
                encoder,
                normalisation: Normalisation::default(),
            }
        };
        let ours = || vit(4, 16, 16, 3);
        assert!(refusal(vit(8, 16, 16, 3), ours()).contains("write `patch = 8`"));
        assert!(refusal(vit(4, 32, 16, 3), ours()).contains("write `dim = 32`"));
        assert!(refusal(vit(4, 16, 16, 1), ours()).contains("images of 1 channel(s), this data set has 3"));
        let larger = refusal(vit(4, 16, 32, 3), ours());
        assert!(
            larger.contains("vit of patch 4, dim 16 and depth 1 for images of 16x16")
                && larger.contains("it has 65 positions"),
            "{larger}"
        );
    }

    #[test]
    fn a_pickle_is_told_from_a_broken_file() {
        let mut to = artifact("conv3", Stem::Small, 3, 1);
        let message = |bytes: &[u8], to: &mut EncoderArtifact| match load_weights(to, "w.pth", bytes) {
            Err(error) => error.to_string(),
            Ok(()) => String::new(),
        };
        assert!(message(b"PK\x03\x04zip", &mut to).contains("a PyTorch pickle"));
        assert!(message(b"nothing", &mut to).contains("cannot read the tensors"));
    }
}
