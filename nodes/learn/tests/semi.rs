//! Semi-supervised training: every method learns from unlabelled images, resumes to the bit, and does not depend on the number of threads.

mod common;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Images, Samples};
use flow_learn::device::{Cpu, Device, Mock, Traffic};
use flow_learn::layers::MapShape;
use flow_learn::metrics::{accuracy, argmax};
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::semi::SemiSettings;
use flow_learn::state::StateDict;
use flow_learn::train::{Classifier, EpochOutcome, Examples, Fit, FitSettings, Pool, Training, predict};
use serde_json::{Value, json};

const SIDE: usize = 12;
const CLASSES: usize = 3;

/// Stripes across, stripes down, or a bright middle, with noise.
fn images(n: usize, seed: u64) -> Samples {
    let mut stream = Stream::new(seed, "test images");
    let labels: Vec<u16> = (0..n).map(|i| (i % CLASSES) as u16).collect();
    let bright = |label: u16, x: usize, y: usize| match label {
        0 => y % 6 < 3,
        1 => x % 6 < 3,
        _ => (3..9).contains(&x) && (3..9).contains(&y),
    };
    let mut pixels = Vec::new();
    for label in &labels {
        for p in 0..SIDE * SIDE {
            let level = if bright(*label, p % SIDE, p / SIDE) {
                120.0
            } else {
                80.0
            };
            pixels.push((level + 90.0 * (stream.uniform() - 0.5)) as u8);
        }
    }
    Images::new(SIDE, SIDE, 1, pixels, labels).expect("sizes fit").into()
}

fn settings(steps: usize) -> FitSettings {
    FitSettings {
        optimizer: OptimizerConfig::default(),
        lr: 0.03,
        encoder_lr_scale: 1.0,
        warmup_steps: 2,
        steps,
        batch: 6,
        labelled_share: 0.5,
        joint: None,
        label_smoothing: 0.0,
        freeze: false,
        keep_statistics: false,
        seed: 3,
    }
}

fn classifier(device: &Arc<dyn Device>) -> Classifier {
    let backbone = BackboneSettings {
        widths: vec![8, 8, 8],
        grid: 2,
        ..BackboneSettings::named("conv3")
    };
    let stream = Stream::new(3, "test classifier");
    let mut encoder = backbone
        .build(MapShape { h: SIDE, w: SIDE, c: 1 }, &stream)
        .expect("valid");
    encoder.device = Arc::clone(device);
    Classifier::new(encoder, CLASSES, &stream)
}

/// A method with two unlabelled images for each labelled one, that guesses from the start.
fn eager(method: &SemiSettings) -> SemiSettings {
    let mut table = serde_json::to_value(method).expect("a table");
    table["ratio"] = json!(2);
    table["ema"] = json!(0.9);
    // Six labelled images bear no weight of 75.
    table["weight"] = json!(table["weight"].as_f64().expect("a number").min(1.0));
    for (key, value) in [("threshold", 0.7), ("momentum", 0.9)] {
        if table.get(key).is_some() {
            table[key] = json!(value);
        }
    }
    read(table)
}

fn read(table: Value) -> SemiSettings {
    serde_json::from_value(table).expect("settings")
}

struct Trained {
    checkpoint: Vec<u8>,
    weights: StateDict,
    history: Vec<EpochOutcome>,
    accuracy: f64,
}

/// Trained on six labelled and 90 unlabelled images, in a pool of `threads`, through a checkpoint after each of `stops` steps.
fn trained(method: &SemiSettings, steps: usize, threads: usize, stops: &[usize]) -> Trained {
    trained_on(&common::device(), method, steps, threads, stops, &|_| ())
}

/// The same on a device; `watch` is called after each step with its number.
fn trained_on(
    device: &Arc<dyn Device>,
    method: &SemiSettings,
    steps: usize,
    threads: usize,
    stops: &[usize],
    watch: &(dyn Fn(usize) + Sync),
) -> Trained {
    let images = images(96, 1);
    let recipe =
        |name| Augmenter::new(&Recipe::named(name).expect("shipped"), &[0.4], &[0.2], SIDE, SIDE).expect("valid");
    let (weak, strong) = (recipe("weak"), recipe("strong-gray"));
    let all: Vec<u32> = (0..96).collect();
    let mut targets = vec![0.0; 6 * CLASSES];
    (0..6).for_each(|i| targets[i * CLASSES + i % CLASSES] = 1.0);
    let labelled = Examples {
        images: &images,
        indices: &all[..6],
        targets: &targets,
    };
    let pool = Pool {
        images: &images,
        indices: &all[6..],
        strong: Some(&strong),
    };
    let start = || {
        let fit = Fit::new(settings(steps), classifier(device), labelled.clone(), None, &weak).expect("valid");
        fit.with_unlabelled(method.clone(), pool.clone(), classifier(device))
            .expect("valid")
    };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    threads.install(|| {
        let mut fit = start();
        for stop in stops {
            fit.run(*stop, |_, _| ControlFlow::Continue(())).expect("trains");
            let checkpoint = fit.checkpoint().expect("the device works");
            fit = start();
            fit.resume(&checkpoint).expect("own checkpoint");
        }
        let watched = |step, _| {
            watch(step);
            ControlFlow::Continue(())
        };
        fit.run(steps, watched).expect("trains");
        let (checkpoint, history) = (fit.checkpoint().expect("the device works"), fit.history().to_vec());
        let mut classifier = fit.into_classifier();
        let guesses = predict(&mut classifier, &images, &all, &weak).expect("the device works");
        let guesses: Vec<usize> = guesses.chunks_exact(CLASSES).map(argmax).collect();
        let truth: Vec<usize> = images.labels().iter().flatten().map(|l| usize::from(*l)).collect();
        Trained {
            checkpoint,
            weights: StateDict::of(&mut classifier, ""),
            history,
            accuracy: accuracy(&truth, &guesses),
        }
    })
}

#[test]
fn every_method_resumes_to_the_bit_whatever_the_threads() {
    for method in SemiSettings::all() {
        let (name, method) = (method.settings().name(), eager(&method));
        let whole = trained(&method, 23, 2, &[]);
        let parts = trained(&method, 23, 1, &[5, 1, 8]);
        assert!(whole.checkpoint == parts.checkpoint, "{name}: the checkpoints differ");
        assert_eq!(whole.weights, parts.weights, "{name}");
        assert_eq!(whole.history, parts.history, "{name}");
        assert_eq!(whole.history.len(), 20, "{name}: a training is told in twenty parts");
    }
}

#[test]
fn every_method_learns_from_few_labels() {
    for method in SemiSettings::all() {
        let name = method.settings().name();
        let trained = trained(&eager(&method), 120, 2, &[]);
        assert!(trained.accuracy > 0.6, "{name}: accuracy {}", trained.accuracy);
        let last = trained.history.last().expect("parts");
        for metric in [
            "kept",
            "precision",
            "guessed_classes",
            "ema_gap",
            "guessed.2",
            "unlabelled_loss",
        ] {
            assert!(last.metrics[metric].is_finite(), "{name}: {metric}");
        }
    }
}

#[test]
fn true_classes_of_unlabelled_images_change_no_weight() {
    let method = eager(&SemiSettings::Fixmatch(Default::default()));
    let images = images(96, 1);
    let mut labels = images.labels().to_vec();
    labels[6..].fill(Some(0));
    let lying = images.clone().with_labels(labels);
    let weak = Augmenter::new(&Recipe::named("weak").expect("shipped"), &[0.4], &[0.2], SIDE, SIDE).expect("valid");
    let all: Vec<u32> = (0..96).collect();
    let mut targets = vec![0.0; 6 * CLASSES];
    (0..6).for_each(|i| targets[i * CLASSES + i % CLASSES] = 1.0);
    let weights = |of: &Samples| {
        let labelled = Examples {
            images: of,
            indices: &all[..6],
            targets: &targets,
        };
        let pool = Pool {
            images: of,
            indices: &all[6..],
            strong: Some(&weak),
        };
        let fit = Fit::new(settings(10), classifier(&common::device()), labelled, None, &weak).expect("valid");
        let mut fit = fit
            .with_unlabelled(method.clone(), pool, classifier(&common::device()))
            .expect("valid");
        fit.run(10, |_, _| ControlFlow::Continue(())).expect("trains");
        StateDict::of(&mut fit.into_classifier(), "")
    };
    assert_eq!(weights(&images), weights(&lying));
}

/// Kilobytes that a step may carry between host and device; its views have up to 35.
const BUDGETS: &[(&str, u64)] = &[
    ("pseudo-label", 16),
    ("pi-model", 26),
    ("mean-teacher", 23),
    ("uda", 26),
    ("mixmatch", 40),
    ("fixmatch", 26),
    ("flexmatch", 26),
    ("freematch", 26),
    ("softmatch", 26),
    ("simmatch", 61),
];

#[test]
fn on_a_device_every_method_has_the_cpus_bits_and_carries_no_more_than_its_budget() {
    let mut excess = Vec::new();
    for method in SemiSettings::all() {
        let (name, method) = (method.settings().name(), eager(&method));
        let cpu: Arc<dyn Device> = Arc::new(Cpu);
        let here = trained_on(&cpu, &method, 60, 1, &[], &|_| ());
        let (mock, carried) = (Arc::new(Mock::default()), Mutex::new(Traffic::default()));
        let device: Arc<dyn Device> = mock.clone();
        let there = trained_on(&device, &method, 60, 1, &[], &|step| {
            let traffic = mock.take_traffic();
            // None at which a part ends, as the monitor looks at the weights then.
            if step == 8 {
                *carried.lock().expect("no panic") = traffic;
            }
        });
        assert!(
            here.checkpoint == there.checkpoint,
            "{name}: a device has other bits than the CPU"
        );
        let carried = carried.into_inner().expect("no panic");
        let budget = BUDGETS
            .iter()
            .find(|(of, _)| *of == name)
            .map_or(0, |(_, budget)| *budget);
        if carried.up + carried.down > 1000 * budget {
            excess.push(format!("{name}: {carried:?}, allowed are {budget} kB"));
        }
    }
    assert!(excess.is_empty(), "{excess:#?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_the_setting() {
    let images = images(12, 1);
    let plain = Augmenter::new(&Recipe::default(), &[0.4], &[0.2], SIDE, SIDE).expect("valid");
    let all: Vec<u32> = (0..12).collect();
    let targets: Vec<f32> = (0..12).flat_map(|_| [1.0, 0.0, 0.0]).collect();
    let refused = |semi: SemiSettings, indices: &[u32], strong| {
        let labelled = Examples {
            images: &images,
            indices: &all,
            targets: &targets,
        };
        let pool = Pool {
            images: &images,
            indices,
            strong,
        };
        let fit = Fit::new(settings(3), classifier(&common::device()), labelled, None, &plain).expect("valid");
        let error = fit.with_unlabelled(semi, pool, classifier(&common::device())).err();
        error.map_or("nothing".to_owned(), |error| error.to_string())
    };
    let fixmatch = || SemiSettings::Fixmatch(Default::default());
    let odd = |key: &str, value: f64| read(json!({ "method": "fixmatch", key: value }));
    let none = Examples {
        images: &images,
        indices: &[],
        targets: &[],
    };
    let unlabelled = Fit::new(settings(3), classifier(&common::device()), none, None, &plain).err();
    let said = [
        unlabelled.map_or("nothing".to_owned(), |error| error.to_string()),
        refused(fixmatch(), &all, None),
        refused(fixmatch(), &[], Some(&plain)),
        refused(odd("threshold", 1.5), &all, Some(&plain)),
        refused(read(json!({ "method": "fixmatch", "ratio": 0 })), &all, Some(&plain)),
        refused(SemiSettings::PiModel(Default::default()), &all, None),
    ];
    insta::assert_snapshot!(said.join("\n"));
}
