//! Weights as PyTorch takes them: what a node trained under torchvision's or timm's names, with the head where they have it.

use flow_cache::Artifact;
use flow_engine::node::NodeError;
use flow_learn::backbones::{BACKBONES, BackboneSettings, Encoder, Pool, Stem, VitShape};
use flow_learn::layers::{MapShape, TransformerShape};
use flow_learn::state::{StateDict, Tensor};

use crate::artifacts::{EncoderArtifact, ModelArtifact, Normalisation, TrainedNetwork};

/// torchvision's networks have a head for so many classes, which an encoder without one is given zeros for.
const TORCHVISION_CLASSES: usize = 1000;

/// A file for PyTorch, and how it is loaded.
pub struct TorchWeights {
    /// A safetensors file.
    pub bytes: Vec<u8>,
    /// Python that makes the network; `FILE` stands for the file's name.
    pub usage: String,
    /// What the reader should know, a line each.
    pub notes: Vec<String>,
}

/// The weights of an entry that holds an encoder or a classifier.
///
/// # Errors
/// If the entry holds neither, or cannot be read.
pub fn torch_weights(artifact: &Artifact) -> Result<TorchWeights, NodeError> {
    match TrainedNetwork::read(artifact)? {
        TrainedNetwork::Encoder(EncoderArtifact {
            backbone,
            mut encoder,
            normalisation,
        }) => Ok(weights(&backbone, &mut encoder, &normalisation, None)),
        TrainedNetwork::Model(ModelArtifact {
            backbone,
            mut classifier,
            normalisation,
            ..
        }) => {
            let head = StateDict::of(&mut classifier.head, "");
            Ok(weights(&backbone, &mut classifier.encoder, &normalisation, Some(head)))
        }
    }
}

fn weights(
    backbone: &BackboneSettings,
    encoder: &mut Encoder,
    normalisation: &Normalisation,
    head: Option<StateDict>,
) -> TorchWeights {
    let mut state = StateDict::of(encoder, "");
    let mut notes = vec![format!(
        "it takes images in [0, 1], normalised with mean {:?} and deviation {:?}",
        normalisation.mean, normalisation.std
    )];
    let torchvision = backbone.name.starts_with("resnet");
    let headless = head.is_none();
    let classes = match head {
        Some(head) => {
            let cells = backbone.grid * backbone.grid;
            let name = if torchvision { "fc" } else { "head" };
            let classes = head.tensors.get("bias").map_or(0, |bias| bias.data.len());
            for (key, tensor) in head.tensors {
                state
                    .tensors
                    .insert(format!("{name}.{key}"), channel_first(tensor, cells));
            }
            Some(classes)
        }
        None if torchvision => {
            notes.push(format!(
                "the entry is an encoder: the head `fc` is zeros for {TORCHVISION_CLASSES} classes, as torchvision expects one"
            ));
            let zeros = |shape: Vec<usize>| Tensor {
                data: vec![0.0; shape.iter().product()],
                shape,
            };
            let dim = encoder.dim;
            state
                .tensors
                .insert("fc.weight".into(), zeros(vec![TORCHVISION_CLASSES, dim]));
            state.tensors.insert("fc.bias".into(), zeros(vec![TORCHVISION_CLASSES]));
            Some(TORCHVISION_CLASSES)
        }
        None => None,
    };
    let usage = match (torchvision, classes, encoder.transformer()) {
        (true, Some(classes), _) => torchvision_usage(backbone, encoder, classes, headless, &mut notes),
        (false, classes, Some(vit)) => timm_usage(*vit.shape(), encoder.input, classes),
        _ => {
            notes.push(format!(
                "`{}` is not a torchvision network: it has its own names",
                backbone.name
            ));
            "import safetensors.torch\nstate = safetensors.torch.load_file(\"FILE\")\n".to_owned()
        }
    };
    TorchWeights {
        bytes: state.to_bytes(),
        usage,
        notes,
    }
}

/// Python for a ResNet, with the lines that its stem, images and grid need.
fn torchvision_usage(
    backbone: &BackboneSettings,
    encoder: &Encoder,
    classes: usize,
    headless: bool,
    notes: &mut Vec<String>,
) -> String {
    let name = &backbone.name;
    let own = BACKBONES.iter().find(|b| b.name == name).map_or(&[][..], |b| b.widths);
    if !backbone.widths.is_empty() && backbone.widths != own {
        notes.push(format!(
            "its widths are {:?}: torchvision's {name} has {own:?} and cannot take it",
            backbone.widths
        ));
    }
    let (channels, width) = (encoder.input.c, backbone.widths.first().or(own.first()).unwrap_or(&64));
    let mut python = String::from("import torch, torchvision, safetensors.torch\n");
    python += &format!("net = torchvision.models.{name}(num_classes={classes})\n");
    match backbone.stem {
        Stem::Small => {
            python += &format!("net.conv1 = torch.nn.Conv2d({channels}, {width}, 3, 1, 1, bias=False)\n");
            python += "net.maxpool = torch.nn.Identity()\n";
        }
        Stem::Imagenet if channels != 3 => {
            python += &format!("net.conv1 = torch.nn.Conv2d({channels}, {width}, 7, 2, 3, bias=False)\n");
        }
        Stem::Imagenet => {}
    }
    if backbone.grid > 1 {
        python += &format!("net.avgpool = torch.nn.AdaptiveAvgPool2d({})\n", backbone.grid);
        python += &format!("net.fc = torch.nn.Linear({}, {classes})\n", encoder.dim);
    }
    python += "net.load_state_dict(safetensors.torch.load_file(\"FILE\"))\n";
    if headless {
        python += "net.fc = torch.nn.Identity()  # features\n";
    }
    python
}

/// Python for a vision transformer; without a head it gives features, as the encoder does.
fn timm_usage(shape: VitShape, image: MapShape, classes: Option<usize>) -> String {
    let VitShape {
        patch,
        transformer,
        mlp_ratio,
        pool,
        grid,
    } = shape;
    let TransformerShape { dim, depth, heads, .. } = transformer;
    let MapShape { h, w, c } = image;
    let (pool, its_classes) = match pool {
        Pool::Token => ("", classes),
        Pool::Mean if grid == 1 => (", global_pool=\"avg\", fc_norm=False", classes),
        // timm has no such head: it gives the tokens, and the cells are averaged below.
        Pool::Mean => (", global_pool=\"\", fc_norm=False", None),
    };
    let mut python = String::from("import timm, safetensors.torch\n");
    python += &format!(
        "net = timm.models.vision_transformer.VisionTransformer(img_size=({h}, {w}), patch_size={patch}, in_chans={c}, num_classes={}, \
         embed_dim={dim}, depth={depth}, num_heads={heads}, mlp_ratio={mlp_ratio}{pool})\n",
        its_classes.unwrap_or(0)
    );
    if grid > 1 {
        let (down, across) = (h / patch, w / patch);
        python.insert_str(0, "import torch\n");
        python += "class Cells(torch.nn.Module):\n    def forward(self, tokens):\n";
        python += &format!("        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, ({down}, {across}))\n");
        python += &format!("        return torch.nn.functional.adaptive_avg_pool2d(maps, {grid}).flatten(1)\n");
        if let Some(classes) = classes {
            python += &format!("net.head = torch.nn.Linear({}, {classes})\n", grid * grid * dim);
        }
    }
    python += "net.load_state_dict(safetensors.torch.load_file(\"FILE\"))\n";
    if grid > 1 {
        python += "net.head = torch.nn.Sequential(Cells(), net.head)\n";
    }
    python
}

/// A head on the cells of a pooling grid: features are `[cell][channel]` here and `[channel][cell]` there.
fn channel_first(tensor: Tensor, cells: usize) -> Tensor {
    let [_, dim] = tensor.shape[..] else { return tensor };
    let channels = dim / cells;
    let row = |row: &[f32]| -> Vec<f32> {
        let place = |i: usize| row[(i % cells) * channels + i / cells];
        (0..dim).map(place).collect()
    };
    Tensor {
        data: tensor.data.chunks_exact(dim).flat_map(row).collect(),
        shape: tensor.shape,
    }
}

#[cfg(test)]
mod tests {
    use flow_learn::layers::Linear;
    use flow_learn::rng::Stream;

    use super::*;

    fn resnet(stem: Stem, grid: usize, channels: usize) -> (BackboneSettings, Encoder) {
        let backbone = BackboneSettings {
            grid,
            stem,
            ..BackboneSettings::named("resnet18")
        };
        let image = MapShape {
            h: 64,
            w: 64,
            c: channels,
        };
        let encoder = backbone.build(image, &Stream::new(1, "test")).expect("valid");
        (backbone, encoder)
    }

    /// Names, types and shapes of a safetensors file's tensors, a line each, sorted.
    fn listing(bytes: &[u8]) -> Vec<String> {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let tensors = header.as_object().expect("an object").iter();
        let mut lines: Vec<String> = tensors
            .filter(|(name, _)| *name != "__metadata__")
            .map(|(name, of)| format!("{name} {} {}", of["dtype"].as_str().unwrap_or(""), of["shape"]))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn an_exported_resnet18_is_torchvisions_state_dict_by_name_type_and_shape() {
        let (backbone, mut encoder) = resnet(Stem::Imagenet, 1, 3);
        let exported = weights(&backbone, &mut encoder, &Normalisation::default(), None);
        let expected: Vec<&str> = include_str!("../../tests/golden/torchvision_resnet18.txt")
            .lines()
            .collect();
        assert_eq!(listing(&exported.bytes), expected);
        assert!(
            exported.notes.iter().any(|n| n.contains("zeros")),
            "{:?}",
            exported.notes
        );
    }

    #[test]
    fn the_head_follows_torchs_order_of_channels_and_cells() {
        let (backbone, mut encoder) = resnet(Stem::Small, 2, 1);
        // Feature (cell 1, channel 5) here is feature (channel 5, cell 1) there.
        let mut weight = vec![0.0; encoder.dim * 2];
        weight[(512 + 5) * 2 + 1] = 1.0;
        let mut head = Linear::from_weights(weight, vec![0.0; 2]);
        let exported = weights(
            &backbone,
            &mut encoder,
            &Normalisation::default(),
            Some(StateDict::of(&mut head, "")),
        );
        let state = StateDict::from_bytes(&exported.bytes).expect("own bytes");
        let fc = &state.tensors["fc.weight"];
        let place = fc.data.iter().position(|v| *v == 1.0);
        assert_eq!((place, &fc.shape[..]), (Some(2048 + 5 * 4 + 1), &[2, 2048][..]));
        for line in ["Conv2d(1, 64, 3, 1, 1", "AdaptiveAvgPool2d(2)", "Linear(2048, 2)"] {
            assert!(exported.usage.contains(line), "{}", exported.usage);
        }
    }

    #[test]
    fn an_exported_vit_is_timms_state_dict_by_name_type_and_shape() {
        let backbone = BackboneSettings {
            patch: Some(8),
            dim: Some(24),
            depth: Some(2),
            heads: Some(3),
            ..BackboneSettings::named("vit")
        };
        let image = MapShape { h: 16, w: 32, c: 3 };
        let mut encoder = backbone.build(image, &Stream::new(1, "test")).expect("valid");
        let mut head = Linear::from_weights(vec![0.0; 24 * 5], vec![0.0; 5]);
        let exported = weights(
            &backbone,
            &mut encoder,
            &Normalisation::default(),
            Some(StateDict::of(&mut head, "")),
        );
        let expected: Vec<&str> = include_str!("../../tests/golden/timm_vit.txt").lines().collect();
        assert_eq!(listing(&exported.bytes), expected);
        assert_eq!(
            exported.usage,
            "import timm, safetensors.torch\n\
             net = timm.models.vision_transformer.VisionTransformer(img_size=(16, 32), patch_size=8, in_chans=3, num_classes=5, \
             embed_dim=24, depth=2, num_heads=3, mlp_ratio=4)\n\
             net.load_state_dict(safetensors.torch.load_file(\"FILE\"))\n"
        );
    }

    #[test]
    fn a_vit_with_a_grid_comes_with_the_python_that_averages_its_cells() {
        let backbone = BackboneSettings {
            pool: Some(Pool::Mean),
            grid: 2,
            dim: Some(8),
            depth: Some(1),
            ..BackboneSettings::named("vit")
        };
        let image = MapShape { h: 16, w: 12, c: 1 };
        let mut encoder = backbone.build(image, &Stream::new(1, "test")).expect("valid");
        // Weight i of a row belongs to cell i / 8, channel i % 8.
        let by_cell: Vec<f32> = (0..4 * 8).map(|i| i as f32).collect();
        let mut head = Linear::from_weights(by_cell, vec![0.0]);
        let exported = weights(
            &backbone,
            &mut encoder,
            &Normalisation::default(),
            Some(StateDict::of(&mut head, "")),
        );
        assert_eq!(
            exported.usage,
            "import torch\n\
             import timm, safetensors.torch\n\
             net = timm.models.vision_transformer.VisionTransformer(img_size=(16, 12), patch_size=4, in_chans=1, num_classes=0, \
             embed_dim=8, depth=1, num_heads=4, mlp_ratio=4, global_pool=\"\", fc_norm=False)\n\
             class Cells(torch.nn.Module):\n\
             \x20   def forward(self, tokens):\n\
             \x20       maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 3))\n\
             \x20       return torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)\n\
             net.head = torch.nn.Linear(32, 1)\n\
             net.load_state_dict(safetensors.torch.load_file(\"FILE\"))\n\
             net.head = torch.nn.Sequential(Cells(), net.head)\n"
        );
        let state = StateDict::from_bytes(&exported.bytes).expect("safetensors");
        assert_eq!(state.tensors["head.weight"].data[..5], [0.0, 8.0, 16.0, 24.0, 1.0]);
    }
}
