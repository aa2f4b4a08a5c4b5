//! Whole steps of semi-supervised methods on a small vision transformer, with weights and views that a rule gives (see
//! tests/golden/make_semi.py).

use std::sync::Arc;

use flow_learn::backbones::{BackboneSettings, Pool};
use flow_learn::layers::{BufferPool, FeatureMap, MapShape, Mode, Role, Tensors};
use flow_learn::rng::Stream;
use flow_learn::semi::{SemiBatch, SemiMethod, SemiSettings, SemiSetup, Student};
use flow_learn::state::{StateDict, Tensor};
use flow_learn::train::Classifier;

use super::Outcome;
use super::backbones::filled;
use super::case::{Case, CaseError, Check};

const CLASSES: usize = 3;
const SIDE: usize = 8;
const LABELLED: usize = 4;
const UNLABELLED: usize = 8;
const POOL: usize = 10;
/// Steps of the whole training, of which the first are taken.
const TOTAL: f32 = 4.0;
const LR: f32 = 0.02;
/// What matrices are multiplied with, so that guesses are of all classes and some confident.
const SPREAD: [(&str, f32); 2] = [("encoder.", 8.0), ("head.", 6.0)];
/// Tolerance of a step.
const STEP: f64 = 1e-5;
/// Of the steps after it, in which what the first ones rounded has grown.
const LATER: f64 = 1e-3;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    if case.case != "semi_step" {
        return Ok(Outcome::NotBuilt);
    }
    let refused = |e: String| CaseError::Refused(e);
    let settings = case.params.get("semi").cloned().unwrap_or_default();
    let settings: SemiSettings = serde_json::from_value(settings).map_err(|e| refused(e.to_string()))?;
    let stream = Stream::new(0, "golden");
    let mut method = settings.settings().build(&SemiSetup {
        classes: CLASSES,
        features: 8,
        labelled: LABELLED,
        pool: POOL,
        stream: &stream,
    });
    fill_method(method.as_mut()).map_err(refused)?;
    let mut classifier = classifier(&stream).map_err(refused)?;
    let mut average = self::classifier(&stream).map_err(refused)?;
    let buffers: Arc<BufferPool> = Arc::default();
    let (mut losses, mut kept, mut first) = (Vec::new(), Vec::new(), StateDict::default());
    for step in 0..case.size("steps")? {
        let mut student = Student {
            classifier: &mut classifier,
            average: &mut average,
            mode: Mode::Train,
            buffers: &buffers,
            noise: None,
        };
        let outcome = method
            .step(&mut student, &batch(step))
            .map_err(|e| refused(e.to_string()))?;
        descend(&mut classifier);
        descend(method.as_mut());
        if step == 0 {
            first = StateDict::of(&mut classifier, "");
        }
        let keep = settings.settings().common().ema.min(1.0 - 1.0 / (step + 1) as f32);
        follow(&mut average, &mut classifier, keep);
        losses.extend([outcome.loss, outcome.unlabelled]);
        kept.push(outcome.weights.iter().sum::<f32>() / outcome.weights.len() as f32);
    }
    let mut check = Check::default();
    let expected = case.output("losses")?;
    check.relative("the first losses", &losses[..2], &expected[..2], STEP);
    check.relative("losses", &losses, expected, LATER);
    check.relative("kept", &kept, case.output("kept")?, LATER);
    for name in case.outputs.keys().filter(|name| name.contains('.')) {
        let found = first.tensors.get(name).map(|t| t.data.clone()).unwrap_or_default();
        check.relative(name, &found, case.output(name)?, STEP);
    }
    Ok(check.outcome())
}

fn classifier(stream: &Stream) -> Result<Classifier, String> {
    let vit = BackboneSettings {
        patch: Some(4),
        dim: Some(8),
        depth: Some(1),
        heads: Some(2),
        mlp_ratio: Some(2.0),
        pool: Some(Pool::Token),
        ..BackboneSettings::named("vit")
    };
    let shape = MapShape { h: SIDE, w: SIDE, c: 1 };
    let encoder = vit.build(shape, stream).map_err(|e| e.to_string())?;
    let mut classifier = Classifier::new(encoder, CLASSES, stream);
    let mut state = StateDict::of(&mut classifier, "");
    for (name, tensor) in &mut state.tensors {
        let rule = name.strip_prefix("encoder.").unwrap_or(name);
        *tensor = filled(rule, tensor.shape.clone());
        for (_, spread) in SPREAD
            .iter()
            .filter(|(part, _)| tensor.shape.len() == 2 && name.starts_with(part))
        {
            tensor.data.iter_mut().for_each(|v| *v *= spread);
        }
    }
    state.load(&mut classifier, "").map_err(|e| e.to_string())?;
    Ok(classifier)
}

/// A projector by the rule, and a memory of all labelled images.
fn fill_method(method: &mut dyn SemiMethod) -> Result<(), String> {
    let mut state = StateDict::of(method, "");
    if !state.tensors.contains_key("memory") {
        return Ok(());
    }
    for (name, tensor) in &mut state.tensors {
        if name.starts_with("projector") {
            *tensor = filled(name, tensor.shape.clone());
        }
    }
    let width = state.tensors["memory"].shape[1];
    let mut memory: Vec<f32> = filled("memory", vec![LABELLED, width]).data;
    for row in memory.chunks_exact_mut(width) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
    }
    let tensor = |shape: Vec<usize>, data| Tensor { shape, data };
    state
        .tensors
        .insert("memory".into(), tensor(vec![LABELLED, width], memory));
    let classes = (0..LABELLED).map(|i| (i % CLASSES) as f32).collect();
    state
        .tensors
        .insert("memory_classes".into(), tensor(vec![LABELLED], classes));
    state.load(method, "").map_err(|e| e.to_string())
}

/// The views of a step.
fn batch(step: usize) -> SemiBatch {
    let view = |kind: usize, n: usize| {
        let value = |i: usize| (0.11 * (i * (1 + kind)) as f64 + (3 * step + kind) as f64).sin() as f32;
        let shape = MapShape { h: SIDE, w: SIDE, c: 1 };
        FeatureMap::new(n, shape, (0..n * shape.len()).map(value).collect::<Vec<f32>>())
    };
    let mut targets = vec![0.0; LABELLED * CLASSES];
    (0..LABELLED).for_each(|i| targets[i * CLASSES + i % CLASSES] = 1.0);
    SemiBatch {
        labelled: view(0, LABELLED),
        targets,
        labelled_places: (0..LABELLED as u32).collect(),
        weak: view(1, UNLABELLED),
        second: Some(view(2, UNLABELLED)),
        places: (0..UNLABELLED).map(|i| ((5 * step + 3 * i) % POOL) as u32).collect(),
        progress: step as f32 / TOTAL,
        stream: Stream::new(step as u64, "golden"),
    }
}

/// A step of plain gradient descent.
fn descend(of: &mut (impl Tensors + ?Sized)) {
    let mut entries = Vec::new();
    of.entries("", &mut entries);
    for entry in entries.iter_mut().filter(|e| e.role != Role::Buffer) {
        for (value, grad) in entry
            .value
            .iter_mut()
            .zip(entry.grad.iter_mut().flat_map(|grad| grad.iter_mut()))
        {
            *value -= LR * *grad;
            *grad = 0.0;
        }
    }
}

fn follow(average: &mut Classifier, trained: &mut Classifier, keep: f32) {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    trained.entries("", &mut from);
    average.entries("", &mut to);
    for (to, from) in to.iter_mut().zip(&from) {
        for (to, from) in to.value.iter_mut().zip(&from.value[..]) {
            *to = keep * *to + (1.0 - keep) * from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MIXED` in make_semi.py: the bits of a stream never change.
    #[test]
    fn mixtures_draw_what_the_golden_values_were_made_with() {
        let drawn = |step| batch(step).stream.child("mixed").beta(0.75, 0.75);
        assert_eq!([0, 1, 2].map(drawn), [0.935_943_5, 0.577_505_7, 0.277_000_22]);
        let order = batch(2).stream.child("order").permutation(LABELLED + 2 * UNLABELLED);
        assert_eq!(order[..5], [14, 5, 6, 18, 19]);
    }
}
