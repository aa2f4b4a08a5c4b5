use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use flow_learn::backbones::{BACKBONES, BackboneSettings, Pool, Stem};
use flow_learn::data::Modality;
use flow_learn::layers::{FeatureMap, Linear, Mode, Pass};
use flow_learn::rng::Stream;

use super::*;

const IMAGE: MapShape = MapShape { h: 16, w: 16, c: 3 };

fn normalisation() -> Normalisation {
    Normalisation {
        mean: vec![0.5, 0.4, 0.3],
        std: vec![0.2, 0.3, 0.4],
    }
}

fn decoded(name: &str, preprocessing: bool) -> (proto::Model, BTreeSet<String>) {
    let backbone = BackboneSettings::named(name);
    let mut encoder = backbone.build(IMAGE, &Stream::new(1, "test")).expect("valid");
    let state = StateDict::of(&mut encoder, "").tensors.into_keys();
    let names = state.filter(|name| !name.ends_with("num_batches_tracked")).collect();
    let exported = model(&mut encoder, None, &normalisation(), preprocessing).expect("a network of images");
    (
        proto::Model::decode(&exported.bytes[..]).expect("its own format"),
        names,
    )
}

#[test]
fn every_backbone_of_images_is_exported_with_all_its_tensors() {
    for backbone in BACKBONES.iter().filter(|backbone| backbone.takes(Modality::Images)) {
        let (model, names) = decoded(backbone.name, false);
        let graph = model.graph.expect("a graph");
        let tensors: BTreeSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
        // Its blocks that change the width have a norm whose output nothing takes, as semilearn's.
        let idle = |name: &&String| backbone.name == "wrn-28-2" && name.contains(".layer.0.bn1.");
        let missing: Vec<&String> = names.difference(&tensors).filter(|name| !idle(name)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", backbone.name);
    }
}

#[test]
fn every_value_is_computed_before_it_is_used_and_tensors_have_their_size() {
    for name in ["conv3", "resnet50", "vit"] {
        let graph = decoded(name, true).0.graph.expect("a graph");
        let mut known: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        known.insert(IMAGES);
        for node in &graph.node {
            let unknown: Vec<&String> = node
                .input
                .iter()
                .filter(|input| !known.contains(input.as_str()))
                .collect();
            assert!(unknown.is_empty(), "{name}: {} takes {unknown:?}", node.name);
            known.extend(node.output.iter().map(String::as_str));
        }
        assert!(known.contains(FEATURES), "{name}");
        for tensor in &graph.initializer {
            let each = if tensor.data_type == proto::FLOAT { 4 } else { 8 };
            let values: i64 = tensor.dims.iter().product();
            assert_eq!(tensor.raw_data.len() as i64, values * each, "{name}: {}", tensor.name);
        }
    }
}

#[test]
fn the_metadata_says_what_goes_in() {
    let (model, _) = decoded("conv3", false);
    let text = |key: &str| {
        let pair = model.metadata_props.iter().find(|pair| pair.key == key);
        pair.map(|pair| pair.value.clone()).unwrap_or_default()
    };
    assert_eq!(text("flow.input"), r#"{"channels":3,"height":16,"width":16}"#);
    assert!(text("flow.normalisation").contains("\"in_the_network\":false"));
    assert_eq!(text("flow.classes"), "null");
}

/// Python with onnxruntime and numpy: `FLOW_PYTHON`, or `python3`. None if it has them not.
fn python() -> Option<String> {
    let python = std::env::var("FLOW_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ended = Command::new(&python).args(["-c", "import onnxruntime, numpy"]).output();
    ended.is_ok_and(|ended| ended.status.success()).then_some(python)
}

/// Reads a model and images, writes the logits.
const RUN: &str = r#"
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = numpy.fromfile(sys.argv[2], dtype="<f4").reshape(-1, 3, 16, 16)
logits, = session.run(["logits"], {"images": images})
logits.astype("<f4").tofile(sys.argv[3])
"#;

#[test]
fn onnxruntime_gives_the_same_logits() {
    let Some(python) = python() else {
        eprintln!("skipped: there is no Python with onnxruntime and numpy; FLOW_PYTHON names one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let grid = |name: &str, grid: usize| BackboneSettings {
        grid,
        ..BackboneSettings::named(name)
    };
    let pooled = BackboneSettings {
        pool: Some(Pool::Mean),
        ..grid("vit", 3)
    };
    let imagenet = BackboneSettings {
        stem: Stem::Imagenet,
        ..BackboneSettings::named("resnet50")
    };
    let all = BACKBONES.iter().filter(|backbone| backbone.takes(Modality::Images));
    let all = all.map(|backbone| BackboneSettings::named(backbone.name));
    for backbone in all.chain([grid("conv3", 3), pooled, imagenet]) {
        let mut encoder = backbone.build(IMAGE, &Stream::new(3, "test")).expect("valid");
        let mut stream = Stream::new(4, "images");
        let images: Vec<f32> = (0..2 * IMAGE.len()).map(|_| stream.normal()).collect();
        let map = |data: &[f32]| FeatureMap::new(2, IMAGE, data.to_vec());
        let pool = Arc::default();
        // Running statistics that are not those of a fresh network.
        encoder.forward(map(&images), &mut Pass::recording(Mode::Train, &pool));
        let features = encoder.forward(map(&images), &mut Pass::inference(&pool));
        let mut layer = Linear::new(encoder.dim, 5, true, &mut stream);
        let expected = layer.forward(features, &mut Pass::inference(&pool));
        let class_names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let state = StateDict::of(&mut layer, HEAD);
        let head = Head {
            state,
            layer: &layer,
            class_names: &class_names,
        };
        let exported = model(&mut encoder, Some(head), &normalisation(), false).expect("a network of images");
        // [n][h][w][c] here, [n][c][h][w] there.
        let places = IMAGE.h * IMAGE.w;
        let turned = images
            .chunks(IMAGE.len())
            .flat_map(|image| (0..IMAGE.len()).map(|i| image[(i % places) * IMAGE.c + i / places]));
        std::fs::write(
            path("images.bin"),
            turned.flat_map(f32::to_le_bytes).collect::<Vec<u8>>(),
        )
        .unwrap();
        std::fs::write(path("model.onnx"), &exported.bytes).unwrap();
        let ended = Command::new(&python)
            .args(["-c", RUN])
            .args(["model.onnx", "images.bin", "logits.bin"].map(path))
            .output()
            .unwrap();
        assert!(
            ended.status.success(),
            "{}: {}",
            backbone.name,
            String::from_utf8_lossy(&ended.stderr)
        );
        let bytes = std::fs::read(path("logits.bin")).unwrap();
        let found: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(found.len(), expected.data.len(), "{}", backbone.name);
        let scale = expected.data.iter().fold(1.0, |most: f32, value| most.max(value.abs()));
        let error = found
            .iter()
            .zip(&expected.data[..])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        eprintln!(
            "{} grid {}: largest error {error:.1e} of {scale:.1}",
            backbone.name, backbone.grid
        );
        assert!(error <= 1e-5 * scale, "{}: {error} of {scale}", backbone.name);
    }
}
