//! Texts: the loss of masked-token prediction, and a whole encoder on texts of different lengths (see tests/golden/make_texts.py).

use std::sync::Arc;

use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::layers::{BufferPool, FeatureMap, Layer, MapShape, Mode, Pass, Tensors};
use flow_learn::losses::{masked_token, value_and_grads};
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::text::{BYTES, set_token};

use super::Outcome;
use super::backbones::filled;
use super::case::{Case, CaseError, Check, GRADIENT, VALUE};

/// The tolerance of a whole network's features, relative to their size.
const FEATURES: f64 = 1e-4;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    match case.case.as_str() {
        "masked_token" => loss(case),
        "text_encoder" => encoder(case),
        _ => Ok(Outcome::NotBuilt),
    }
}

/// The case has a label for every token, below zero where none was selected; the loss takes the selected ones.
fn loss(case: &Case) -> Result<Outcome, CaseError> {
    let ([_, dim], words, bias) = (
        case.dims::<2>("tokens")?,
        case.dims::<2>("words")?,
        case.dims::<2>("bias")?,
    );
    let (tokens, labels) = (case.input("tokens")?.f32(), case.input("labels")?.f32());
    let rows: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] >= 0.0).collect();
    let chosen: Vec<f32> = rows.iter().flat_map(|i| &tokens[i * dim..][..dim]).copied().collect();
    let right: Vec<usize> = rows.iter().map(|i| labels[*i] as usize).collect();
    let inputs = [
        (chosen, (rows.len(), dim)),
        (case.input("words")?.f32(), (words[0], words[1])),
        (case.input("bias")?.f32(), (bias[0], bias[1])),
    ];
    let found = value_and_grads(inputs, |[tokens, words, bias]| {
        masked_token(tokens, words, bias, &right)
    });
    let (value, [dchosen, dwords, dbias]) = found.map_err(|e| CaseError::Refused(e.to_string()))?;
    let mut dtokens = vec![0.0; tokens.len()];
    for (i, row) in rows.iter().zip(dchosen.chunks_exact(dim)) {
        dtokens[i * dim..][..dim].copy_from_slice(row);
    }
    let mut check = Check::default();
    check.relative("loss", &[value], case.output("loss")?, VALUE);
    for (name, gradient) in [("tokens", dtokens), ("words", dwords), ("bias", dbias)] {
        check.relative(
            &format!("gradient of {name}"),
            &gradient,
            case.gradient(name)?,
            GRADIENT,
        );
    }
    Ok(check.outcome())
}

fn encoder(case: &Case) -> Result<Outcome, CaseError> {
    let [n, length] = case.dims::<2>("texts")?;
    let shape = MapShape {
        h: length,
        w: 1,
        c: BYTES,
    };
    let modality = Modality::Texts {
        vocabulary: case.size("vocabulary")?,
        fingerprint: 0,
    };
    let (dim, depth, heads) = (case.size("dim")?, case.size("depth")?, case.size("heads")?);
    let declared = serde_json::json!({ "name": "transformer", "dim": dim, "depth": depth, "heads": heads });
    let settings: BackboneSettings = serde_json::from_value(declared).map_err(|e| CaseError::Refused(e.to_string()))?;
    let input = NetworkInput { shape, modality };
    let Ok(mut encoder) = settings.build(input, &Stream::new(0, "reference")) else {
        return Ok(Outcome::NotBuilt);
    };
    let mut state = StateDict::of(&mut encoder, "");
    for (name, tensor) in &mut state.tensors {
        *tensor = filled(name, tensor.shape.clone());
    }
    let refused = |e: flow_learn::state::StateError| CaseError::Refused(e.to_string());
    state.load(&mut encoder, "").map_err(refused)?;

    let mut x = vec![0.0; n * shape.len()];
    for (bytes, token) in x.chunks_exact_mut(BYTES).zip(case.input("texts")?.classes()) {
        set_token(bytes, token);
    }
    let pool: Arc<BufferPool> = Arc::default();
    let mut pass = Pass::recording(Mode::Train, &pool);
    let found = encoder.forward(FeatureMap::new(n, shape, x), &mut pass);
    let mut check = Check::default();
    check.relative("features", &found.data, case.output("features")?, FEATURES);
    let last = (found.data.len() - 1).max(1) as f64;
    let upstream: Vec<f32> = (0..found.data.len())
        .map(|i| (-1.0 + 2.0 * i as f64 / last) as f32)
        .collect();
    encoder.backward(FeatureMap::new(n, found.shape, upstream), &mut pass, false);
    for (name, gradient) in gradients(&mut encoder) {
        check.relative(
            &format!("gradient of {name}"),
            &gradient,
            case.gradient(&name)?,
            FEATURES,
        );
    }
    Ok(check.outcome())
}

/// Every parameter's gradient in PyTorch's order.
fn gradients(encoder: &mut Encoder) -> Vec<(String, Vec<f32>)> {
    let mut entries = Vec::new();
    encoder.entries("", &mut entries);
    let ordered = entries.iter().map(|entry| {
        let (places, gradient) = (entry.layout.indices(&entry.shape), entry.gradient());
        (entry.name.clone(), places.into_iter().map(|i| gradient[i]).collect())
    });
    ordered.collect()
}
