//! Trainings that tell where things are: they learn, resume to the bit, and depend on no number of threads or device.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use flow_learn::augment::{Augmenter, Op, Recipe};
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Annotations, Images, Located, Samples, SceneStyle, Scenes};
use flow_learn::device::{Device, Mock};
use flow_learn::layers::MapShape;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::tasks::{Frame, LocatedExamples, LocatingFit, Locator, TASKS, Task, locate};
use flow_learn::train::{FitSettings, JointLossSettings, Training};

const SIDE: usize = 24;
const CLASSES: usize = 10;

fn scenes(n: usize) -> (Images, Annotations) {
    let style = SceneStyle {
        objects: [1, 3],
        size: [0.2, 0.35],
        ..SceneStyle::CALM
    };
    Scenes {
        n,
        side: SIDE,
        seed: 5,
        style,
    }
    .images()
}

fn settings(steps: usize) -> FitSettings {
    FitSettings {
        optimizer: OptimizerConfig::AdamW(Default::default()),
        lr: 0.01,
        encoder_lr_scale: 1.0,
        warmup_steps: 5,
        steps,
        batch: 8,
        labelled_share: 0.5,
        joint: None,
        label_smoothing: 0.0,
        freeze: false,
        keep_statistics: false,
        seed: 3,
    }
}

fn network(task: &'static dyn Task, device: &Arc<dyn Device>) -> Locator {
    let backbone = BackboneSettings {
        widths: vec![12, 24, 32],
        ..BackboneSettings::named("conv3")
    };
    let stream = Stream::new(3, "test network");
    let shape = MapShape { h: SIDE, w: SIDE, c: 3 };
    let mut encoder = backbone.build(shape, &stream).expect("valid");
    encoder.device = Arc::clone(device);
    Locator::new(encoder, task, CLASSES, &stream).expect("24 is a multiple of 4")
}

fn augmenter(ops: Vec<Op>) -> Augmenter {
    Augmenter::new(&Recipe { ops }, &[0.5; 3], &[0.25; 3], SIDE, SIDE).expect("valid")
}

fn moving() -> Augmenter {
    augmenter(vec![
        Op::HorizontalFlip { p: 0.5 },
        Op::ScaleJitter { scale: [0.8, 1.3] },
    ])
}

/// Trains on all images, the second half as pseudo-labelled if `joint`, broken off and resumed after `stop` steps.
fn trained(
    task: &'static dyn Task,
    (settings, augmenter): (FitSettings, &Augmenter),
    stop: Option<usize>,
    device: &Arc<dyn Device>,
) -> Locator {
    let (images, annotations) = scenes(16);
    let all: Vec<u32> = (0..16).collect();
    let part = |indices| LocatedExamples {
        images: &images,
        annotations: &annotations,
        indices,
    };
    let start = || {
        let (labelled, pseudo) = match settings.joint {
            Some(_) => (part(&all[..8]), Some(part(&all[8..]))),
            None => (part(&all), None),
        };
        LocatingFit::new(settings.clone(), network(task, device), labelled, pseudo, augmenter).expect("valid")
    };
    let on = |_: usize, _: f32| ControlFlow::Continue(());
    let mut fit = start();
    if let Some(stop) = stop {
        fit.run(stop, on).expect("trains");
        let checkpoint = fit.checkpoint().expect("the device works");
        fit = start();
        fit.resume(&checkpoint).expect("own checkpoint");
    }
    fit.run(usize::MAX / 2, on).expect("trains");
    fit.into_network()
}

fn figure(network: &mut Locator) -> f64 {
    let (images, annotations) = scenes(16);
    let all: Vec<u32> = (0..16).collect();
    let read = |task: &dyn Task, values: &[f32], frame: &Frame| task.decode(values, frame);
    let found = locate(network, &Samples::from(images), &all, &augmenter(Vec::new()), read);
    let truths: Vec<Located> = (0..16).map(|i| annotations.get(i)).collect();
    let names: Vec<String> = (0..network.frame.classes)
        .map(|class| format!("thing {class}"))
        .collect();
    let judged = network.task.judge(&found, &truths, &network.frame, &names);
    let named = judged.metrics.keys().any(|name| name.ends_with("_by_class.thing 0"));
    assert!(
        named,
        "the figures of classes are named after them: {:?}",
        judged.metrics
    );
    let mean = judged.contributions.iter().sum::<f64>() / 16.0;
    let figure = judged.metrics[network.task.figure().0];
    assert!((mean - figure).abs() < 1e-9, "images contribute {mean} to {figure}");
    figure
}

#[test]
fn sixteen_images_are_learnt_by_heart() {
    for task in TASKS {
        let mut network = trained(*task, (settings(800), &augmenter(Vec::new())), None, &common::device());
        let figure = figure(&mut network);
        assert!(figure > 0.95, "{}: {figure}", task.name());
    }
}

#[test]
fn a_training_that_was_broken_off_gives_the_bits_of_one_that_was_not() {
    for task in TASKS {
        let joint = FitSettings {
            joint: Some(JointLossSettings::default()),
            ..settings(12)
        };
        let run = |stop| {
            StateDict::of(
                &mut trained(*task, (joint.clone(), &moving()), stop, &common::device()),
                "",
            )
        };
        assert_eq!(run(None), run(Some(7)), "{}", task.name());
    }
}

#[test]
fn threads_and_devices_do_not_show() {
    let mock: Arc<dyn Device> = Arc::new(Mock::default());
    for task in TASKS {
        let run = |threads: usize, device: &Arc<dyn Device>| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            pool.install(|| StateDict::of(&mut trained(*task, (settings(6), &moving()), None, device), ""))
        };
        let one = run(1, &common::device());
        assert_eq!(one, run(3, &common::device()), "{}", task.name());
        assert_eq!(one, run(2, &mock), "{} on another device", task.name());
    }
}

#[test]
fn a_frozen_backbone_stays_as_it_is_and_the_head_learns() {
    for task in TASKS {
        let frozen = FitSettings {
            freeze: true,
            ..settings(5)
        };
        let mut after = trained(*task, (frozen, &moving()), None, &common::device());
        let after = StateDict::of(&mut after, "");
        let before = StateDict::of(&mut network(*task, &common::device()), "");
        for (name, tensor) in &before.tensors {
            let same = after.tensors[name] == *tensor;
            assert!(same || !name.starts_with("encoder"), "{name}");
        }
        assert!(
            before
                .tensors
                .iter()
                .any(|(name, tensor)| after.tensors[name] != *tensor)
        );
    }
}
