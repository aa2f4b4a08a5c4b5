//! Whole networks: images in, features out, with weights that a rule gives (see tests/golden/backbones.py) under torchvision's and timm's names.

use std::sync::Arc;

use flow_learn::backbones::BackboneSettings;
use flow_learn::layers::{BufferPool, FeatureMap, Layer, MapShape, Mode, Pass, Tensors};
use flow_learn::rng::Stream;
use flow_learn::state::{StateDict, Tensor};

use super::Outcome;
use super::case::{Case, CaseError, Check, swap};

/// The tolerance of a whole network's features, relative to their size.
const FEATURES: f64 = 1e-4;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    match case.case.as_str() {
        "resnet_features" | "wrn_features" | "convnext_features" => features(case, &["backbone", "stem", "widths"]),
        "vit_features" => features(
            case,
            &[
                "backbone",
                "patch",
                "dim",
                "depth",
                "heads",
                "mlp_ratio",
                "pool",
                "grid",
            ],
        ),
        _ => Ok(Outcome::NotBuilt),
    }
}

/// `declared` are the parameters that declare the backbone.
fn features(case: &Case, declared: &[&str]) -> Result<Outcome, CaseError> {
    let [n, c, h, w] = case.dims::<4>("x")?;
    let shape = MapShape { h, w, c };
    let key = |name: &str| if name == "backbone" { "name" } else { name }.to_owned();
    let given = declared
        .iter()
        .filter_map(|name| Some((key(name), case.params.get(*name)?.clone())));
    let declared = serde_json::Value::Object(given.collect());
    let settings: BackboneSettings = serde_json::from_value(declared).map_err(|e| CaseError::Refused(e.to_string()))?;
    let Ok(mut encoder) = settings.build(shape, &Stream::new(0, "reference")) else {
        return Ok(Outcome::NotBuilt);
    };
    let mut state = StateDict::of(&mut encoder, "");
    for (name, tensor) in &mut state.tensors {
        *tensor = filled(name, tensor.shape.clone());
    }
    state
        .load(&mut encoder, "")
        .map_err(|e| CaseError::Refused(e.to_string()))?;
    let x = FeatureMap::new(n, shape, swap(&case.input("x")?.f32(), n, c, h * w));
    let pool: Arc<BufferPool> = Arc::default();
    let found = encoder.forward(x.clone(), &mut Pass::inference(&pool));
    let mut check = Check::default();
    check.relative("features", &found.data, case.output("features")?, FEATURES);
    if case.grads.is_empty() {
        return Ok(check.outcome());
    }
    // Gradients are of the features' product with linspace(-1, 1).
    let mut pass = Pass::recording(Mode::Train, &pool);
    let y = encoder.forward(x, &mut pass);
    let step = 2.0 / (y.data.len() - 1) as f64;
    let dy: Vec<f32> = (0..y.data.len()).map(|i| (-1.0 + step * i as f64) as f32).collect();
    let dx = encoder.backward(FeatureMap::new(n, y.shape, dy), &mut pass, true);
    let mut entries = Vec::new();
    encoder.entries("", &mut entries);
    for (name, expected) in &case.grads {
        let found = match (entries.iter().find(|e| e.name == *name), &dx) {
            (Some(e), _) => e
                .layout
                .indices(&e.shape)
                .into_iter()
                .map(|i| e.gradient()[i])
                .collect(),
            (None, Some(dx)) if name == "x" => swap(&dx.data, n, h * w, c),
            _ => vec![],
        };
        check.relative(&format!("gradient of {name}"), &found, &expected.data, FEATURES);
    }
    Ok(check.outcome())
}

/// Value i is `sin(0.37 i + bytes of the name)`, scaled by what the tensor is.
pub(super) fn filled(name: &str, shape: Vec<usize>) -> Tensor {
    let scale = match shape[..] {
        [out, _, h, w] => (2.0 / (out * h * w) as f64).sqrt(),
        _ => 0.1,
    };
    let around = match shape.len() {
        1 if name.ends_with("running_var") || name.ends_with("weight") => 1.0,
        _ => 0.0,
    };
    let count: usize = shape.iter().product();
    let value = |i: usize| match name.ends_with("num_batches_tracked") {
        true => 0.0,
        false => (around + scale * (0.37 * i as f64 + name.len() as f64).sin()) as f32,
    };
    Tensor {
        data: (0..count).map(value).collect(),
        shape,
    }
}
