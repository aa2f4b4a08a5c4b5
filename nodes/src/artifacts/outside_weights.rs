//! Weights from outside: safetensors under torchvision's or timm's names, for images of any size.
//!
//! torchvision's vision transformer has names of its own, which become timm's here. The positions of a vision transformer for images of another size
//! are interpolated (as timm does it). Everything else must have the names and shapes of the network's tensors; what does not is named.

use flow_engine::node::NodeError;
use flow_learn::backbones::{BackboneSettings, Encoder, VitShape, resampled_positions};
use flow_learn::layers::{MapShape, Tensors, TransformerShape};
use flow_learn::state::{StateDict, Tensor};

use super::EncoderArtifact;
use crate::failure::failure;

/// A vision transformer's learnt positions: the class token's, then the patches' row by row.
const POSITIONS: &str = "pos_embed";

/// Copies a safetensors file's weights into the network; a classification head (`fc`, `head`, `heads`) in the file is left out.
pub(super) fn load_weights(to: &mut EncoderArtifact, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        let help = "in Python: `safetensors.torch.save_file(torch.load(\"weights.pth\"), \"weights.safetensors\")`";
        return Err(failure(format!("`{name}` is a PyTorch pickle, expected a safetensors file")).with_help(help));
    }
    let mut found = StateDict::from_bytes(bytes).map_err(|e| failure(format!("`{name}`: {e}")))?;
    found
        .tensors
        .retain(|tensor, _| !["fc.", "head.", "heads."].iter().any(|head| tensor.starts_with(head)));
    found.tensors = found.tensors.into_iter().map(under_timms_name).collect();
    let expected = StateDict::of(&mut to.encoder, "");
    if let Some(positions) = found.tensors.get_mut(POSITIONS) {
        fit_positions(positions, &to.encoder);
    }
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

/// A tensor under the name that timm has for it, if it is one of torchvision's vision transformer.
fn under_timms_name((name, tensor): (String, Tensor)) -> (String, Tensor) {
    const WHOLE: &[(&str, &str)] = &[
        ("class_token", "cls_token"),
        ("conv_proj.weight", "patch_embed.proj.weight"),
        ("conv_proj.bias", "patch_embed.proj.bias"),
        ("encoder.pos_embedding", POSITIONS),
        ("encoder.ln.weight", "norm.weight"),
        ("encoder.ln.bias", "norm.bias"),
    ];
    const OF_A_BLOCK: &[(&str, &str)] = &[
        ("ln_1.", "norm1."),
        ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj.", "attn.proj."),
        ("ln_2.", "norm2."),
        ("mlp.0.", "mlp.fc1."),
        ("mlp.3.", "mlp.fc2."),
        // Of before torchvision 0.12.
        ("mlp.linear_1.", "mlp.fc1."),
        ("mlp.linear_2.", "mlp.fc2."),
    ];
    let of_block = || {
        let (block, part) = name.strip_prefix("encoder.layers.encoder_layer_")?.split_once('.')?;
        OF_A_BLOCK.iter().find_map(|(theirs, ours)| {
            let rest = part.strip_prefix(theirs)?;
            Some(format!("blocks.{block}.{ours}{rest}"))
        })
    };
    let whole = || {
        WHOLE
            .iter()
            .find(|(theirs, _)| *theirs == name)
            .map(|(_, ours)| (*ours).to_owned())
    };
    (whole().or_else(of_block).unwrap_or(name), tensor)
}

/// Positions of another number of patches become those of the network's images, if they are of a square of patches.
fn fit_positions(positions: &mut Tensor, encoder: &Encoder) {
    let (&[1, tokens, dim], Some(to)) = (&positions.shape[..], encoder.patch_grid()) else {
        return;
    };
    let side = tokens.saturating_sub(1).isqrt();
    if tokens == 1 + to.0 * to.1 || side == 0 || tokens != 1 + side * side {
        return;
    }
    let (class, patches) = positions.data.split_at(dim);
    positions.data = [class, &resampled_positions(patches, dim, (side, side), to)].concat();
    positions.shape = vec![1, 1 + to.0 * to.1, dim];
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
                "positions for images of another size are interpolated where they are a class token's and those of a square of patches; {theirs} are not, \
                 this data set's images have {ours}"
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
    use flow_learn::layers::{FeatureMap, Layer, Pass};
    use flow_learn::rng::Stream;

    use super::*;
    use crate::artifacts::Normalisation;

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
        let mut uneven = vit(4, 16, 16, 3);
        uneven.encoder = uneven
            .backbone
            .build(MapShape { h: 16, w: 8, c: 3 }, &Stream::new(1, "test"))
            .expect("valid");
        let uneven = refusal(uneven, ours());
        assert!(
            uneven.contains("vit of patch 4, dim 16 and depth 1 for images of 16x16")
                && uneven.contains("9 are not, this data set's images have 17"),
            "{uneven}"
        );
    }

    fn expected(name: &str) -> Tensor {
        let bytes = include_bytes!("../../tests/weights/expected.safetensors");
        let state = StateDict::from_bytes(bytes).expect("a fixture");
        state.tensors.get(name).expect("in the fixture").clone()
    }

    /// Features of the fixture's images of `side` pixels by the weights of a file, and those that Python had.
    #[track_caller]
    fn gives_the_features_of(file: &[u8], library: &str, side: usize) {
        let backbone = BackboneSettings {
            patch: Some(4),
            dim: Some(16),
            depth: Some(2),
            heads: Some(2),
            ..BackboneSettings::named("vit")
        };
        let shape = MapShape { h: side, w: side, c: 3 };
        let encoder = backbone.build(shape, &Stream::new(1, "test")).expect("valid");
        let mut to = EncoderArtifact {
            backbone,
            encoder,
            normalisation: Normalisation::default(),
        };
        load_weights(&mut to, "vit.safetensors", file).expect("the same network");
        let planes = expected(&format!("images_{side}")).data;
        let area = side * side;
        let pixel = |i: usize| planes[i / (3 * area) * 3 * area + i % 3 * area + i / 3 % area];
        let images: Vec<f32> = (0..planes.len()).map(pixel).collect();
        let mut pass = Pass::inference(&to.encoder.buffers());
        let features = to.encoder.forward(FeatureMap::new(2, shape, images), &mut pass);
        let theirs = expected(&format!("{library}_{side}"));
        for (ours, theirs) in features.data.iter().zip(&theirs.data) {
            assert!((ours - theirs).abs() < 1e-5, "{library} at {side}: {ours} {theirs}");
        }
    }

    #[test]
    fn weights_of_timms_vit_give_its_features_at_any_size_of_images() {
        for side in [16, 24, 12] {
            gives_the_features_of(include_bytes!("../../tests/weights/timm_vit.safetensors"), "timm", side);
        }
    }

    #[test]
    fn weights_of_torchvisions_vit_give_its_features() {
        let file = include_bytes!("../../tests/weights/torchvision_vit.safetensors");
        gives_the_features_of(file, "torchvision", 16);
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
