//! Every number of every method and optimiser has a range: what is out of it is refused by its name before anything is trained, and what is in it
//! trains, or fails with words, but never panics.

use std::ops::ControlFlow;

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Modality, Samples, Scenes};
use flow_learn::methods::MethodSettings;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::semi::SemiSettings;
use flow_learn::state::StateDict;
use flow_learn::text::Vocabulary;
use flow_learn::train::{Length, PretrainSettings, Pretraining, TrainError};
use toml::{Table, Value};

/// What each number is set to in turn; infinities, NaN and huge ones are refused whatever it is.
const ODD: [f64; 7] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-30, 1e30];

fn images() -> Samples {
    let scenes = Scenes {
        n: 48,
        side: 16,
        seed: 1,
        style: Default::default(),
    };
    scenes.images().0.into()
}

fn texts() -> (Samples, Modality) {
    let texts: Vec<String> = (0..48)
        .map(|i| format!("a word {i} of {} and some more", i % 5))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vocabulary = Vocabulary::learn(texts.iter().copied(), 40);
    let labels = (0..48).map(|i| i % 2).collect();
    (
        vocabulary.encode(&texts, 8, labels).expect("48 texts").into(),
        vocabulary.modality(),
    )
}

/// A step or two, from a given encoder where the method needs one.
fn trained(method: MethodSettings, optimizer: OptimizerConfig) -> Result<(), TrainError> {
    let name = method.settings().name();
    let (images, augmenter) = match name {
        "masked-token" => {
            let (texts, modality) = texts();
            (texts, Augmenter::texts(8, modality))
        }
        _ => {
            let augmenter = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 16, 16).expect("valid");
            (images(), augmenter)
        }
    };
    let backbone = match name {
        "masked-token" | "mae" => BackboneSettings {
            dim: Some(16),
            depth: Some(1),
            heads: Some(2),
            ..BackboneSettings::named(if name == "mae" { "vit" } else { "transformer" })
        },
        _ => BackboneSettings {
            widths: vec![4, 8, 8],
            grid: 2,
            ..BackboneSettings::named("conv3")
        },
    };
    let mut encoder = backbone.build(augmenter.input(), &Stream::new(1, "start"))?;
    let start = (name == "scan").then(|| StateDict::of(&mut encoder, ""));
    let settings = PretrainSettings {
        backbone,
        method,
        optimizer,
        lr: 0.001,
        warmup_epochs: 0,
        length: Length::Epochs(1),
        batch: 16,
        monitor: 0,
        seed: 1,
    };
    let mut training = Pretraining::new(settings, &images, &augmenter, start.as_ref())?;
    match training.run_epoch(|step, _| {
        if step > 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }) {
        Ok(_) | Err(TrainError::Stopped) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sizes that fit 48 small images.
fn small(table: &mut Table) {
    for (key, value) in [
        ("hidden", 8),
        ("projection", 8),
        ("predictor", 4),
        ("bottleneck", 8),
        ("prototypes", 6),
        ("clusters", 4),
        ("components", 8),
        ("negatives", 8),
        ("neighbours", 3),
        ("grid", 2),
        ("permutations", 4),
        ("tile_features", 8),
        ("code", 8),
        ("width", 4),
        ("decoder_dim", 8),
        ("decoder_heads", 2),
        ("decoder_depth", 1),
    ] {
        if table.contains_key(key) {
            table.insert(key.into(), Value::Integer(value));
        }
    }
    if table.contains_key("queue") {
        table.insert("queue".into(), Value::Integer(32));
    }
}

/// The table with each of its numbers in turn set to each odd value: the number's name, the value, and the table.
fn odd_ones(table: &Table) -> Vec<(String, f64, Table)> {
    let mut all = Vec::new();
    for (key, value) in table {
        let changed = |odd: f64, place: Option<usize>| {
            let number = |like: &Value| match like {
                Value::Integer(_) => Value::Integer(odd as i64),
                _ => Value::Float(odd),
            };
            let mut table = table.clone();
            match (&mut table[key], place) {
                (Value::Array(items), Some(place)) => items[place] = number(&items[place].clone()),
                (whole, _) => *whole = number(&whole.clone()),
            }
            (key.clone(), odd, table)
        };
        match value {
            Value::Integer(_) => all.extend([-1.0, 0.0, 1e30].map(|odd| changed(odd, None))),
            Value::Float(_) => all.extend(ODD.map(|odd| changed(odd, None))),
            Value::Array(items) if matches!(items.first(), Some(Value::Float(_))) => {
                all.extend((0..items.len()).flat_map(|place| ODD.map(|odd| changed(odd, Some(place)))));
            }
            _ => {}
        }
    }
    all
}

/// Whether an odd value is one that no setting takes.
fn is_never_fine(odd: f64) -> bool {
    !odd.is_finite() || odd < 0.0
}

#[test]
fn every_number_of_every_method_has_a_range_and_an_error_names_it() {
    for method in MethodSettings::all() {
        let mut table = Table::try_from(&method).expect("a table");
        small(&mut table);
        let name = method.settings().name();
        let plain: MethodSettings = table.clone().try_into().expect("small sizes");
        trained(plain, OptimizerConfig::default()).unwrap_or_else(|e| panic!("{name} as it is: {e}"));
        for (key, odd, table) in odd_ones(&table) {
            let outcome = match table.try_into::<MethodSettings>() {
                // A negative count is none; the reader of workflows names it.
                Err(error) => Err(format!("`{key}` {error}")),
                Ok(method) => {
                    let ranges = method.check_ranges().map_err(|e| e.to_string());
                    let trained = trained(method, OptimizerConfig::default());
                    let refused = matches!(trained, Err(TrainError::Setting(_) | TrainError::Method(_)));
                    assert!(trained.is_ok() || refused, "{name}: {key} = {odd}: {trained:?}");
                    assert!(
                        ranges.is_ok() || trained.is_err(),
                        "{name}: {key} = {odd} is trained with"
                    );
                    ranges
                }
            };
            match outcome {
                Err(message) => assert!(
                    message.contains(&format!("`{key}`")),
                    "{name}: {key} = {odd}: {message}"
                ),
                Ok(()) => assert!(!is_never_fine(odd), "{name}: {key} = {odd} has no range"),
            }
        }
    }
}

#[test]
fn every_number_of_every_optimizer_has_a_range_and_an_error_names_it() {
    for optimizer in [
        OptimizerConfig::Sgd(Default::default()),
        OptimizerConfig::Adam(Default::default()),
        OptimizerConfig::AdamW(Default::default()),
        OptimizerConfig::Lars(Default::default()),
    ] {
        assert_eq!(optimizer.check(), Ok(()));
        let table = Table::try_from(&optimizer).expect("a table");
        for (key, odd, table) in odd_ones(&table) {
            let changed: OptimizerConfig = table.try_into().expect("the same type");
            let checked = changed.check();
            let is_momentum = key == "momentum" || key == "betas";
            let wrong = is_never_fine(odd) || (is_momentum && odd >= 1.0) || (key == "eps" && odd == 0.0);
            assert!(checked.is_err() || !wrong, "{key} = {odd} is taken: {changed:?}");
            if let Err(error) = checked {
                assert_eq!(error.key, format!("optimizer.{key}"));
                let method = MethodSettings::Rotation(Default::default());
                let refused = trained(method, changed).expect_err("checked before training too");
                assert_eq!(refused, TrainError::Setting(error));
            }
        }
    }
    let nesterov = "name = \"sgd\"\nnesterov = true\nmomentum = 0.0";
    let nesterov: OptimizerConfig = toml::from_str(nesterov).expect("a table");
    assert_eq!(
        nesterov.check().expect_err("no momentum to look ahead with").key,
        "optimizer.nesterov"
    );
}

#[test]
fn every_number_of_every_semi_supervised_method_has_a_range_and_an_error_names_it() {
    for method in SemiSettings::all() {
        let name = method.settings().name();
        assert_eq!(method.check(), Ok(()), "{name} as it is");
        for (key, odd, table) in odd_ones(&Table::try_from(&method).expect("a table")) {
            let outcome = match table.try_into::<SemiSettings>() {
                Err(error) => Err(format!("`semi.{key}` {error}")),
                Ok(changed) => changed.check().map_err(|e| e.to_string()),
            };
            match outcome {
                Err(message) => assert!(message.contains(&format!("`semi.{key}`")), "{name}: {odd}: {message}"),
                Ok(()) => assert!(!is_never_fine(odd), "{name}: {key} = {odd} has no range"),
            }
        }
    }
}
