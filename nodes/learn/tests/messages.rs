//! Every error of the learning code, as it reads; `tests/every_message.rs` of the workspace holds that none is missing.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneError, BackboneSettings};
use flow_learn::data::{
    Annotations, EncodingError, Images, ImagesError, Modality, Object, SplitError, Tokens, image_sizes, parse_labels,
};
use flow_learn::device::DeviceError;
use flow_learn::layers::{MapShape, NoGraph};
use flow_learn::losses::{self, DinoTemperatures, LossError, Traced, TracedScalar, VicregWeights, value_and_grads};
use flow_learn::methods::{MethodError, MethodSettings};
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::semi::SemiSettings;
use flow_learn::settings::SettingError;
use flow_learn::state::StateError;
use flow_learn::tasks::{Frame, LocatedExamples, LocatingFit, Locator, TASKS};
use flow_learn::train::FitSettings;
use insta::assert_snapshot;

/// One message a line.
fn lines<E: std::fmt::Display>(errors: impl IntoIterator<Item = E>) -> String {
    errors.into_iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn what_is_read() {
    let idx = [
        image_sizes(b"none").err(),
        parse_labels(&[0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7]).err(),
        parse_labels(&[0, 0, 8, 1, 0, 0, 0, 2, 7]).err(),
        parse_labels(&[0, 0, 8, 1, 0, 0, 0, 1, 7, 7]).err(),
    ];
    assert_snapshot!("idx", lines(idx.into_iter().flatten()));

    let encoded = [
        EncodingError::Packed,
        EncodingError::Length { covered: 3, pixels: 4 },
        EncodingError::Points(5),
        EncodingError::Coordinate,
    ];
    assert_snapshot!("encoded_masks", lines(encoded));

    let few = Images::new(2, 2, 1, vec![0; 3], vec![0]);
    let words = flow_learn::text::Vocabulary::from_words(vec!["one".to_owned()]);
    let tokens = |length, ids: Vec<u16>| Tokens::new(length, words.size(), ids, vec![0_u16]).map(|_| ());
    let images = [
        few.map(|_| ()),
        Images::decode(b"flowimg9".to_vec()).map(|_| ()),
        Images::decode(b"flowimg1".to_vec()).map(|_| ()),
        Images::decode([b"flowimg1".as_slice(), &[1; 16]].concat()).map(|_| ()),
        tokens(2, vec![0; 3]),
        tokens(1, vec![9]),
        Tokens::decode(
            &Images::new(2, 2, 1, vec![0; 4], vec![0]).expect("it fits").encode(),
            words.size(),
        )
        .map(|_| ()),
    ];
    assert_snapshot!(
        "images",
        lines(images.into_iter().filter_map(Result::<(), ImagesError>::err))
    );

    let states = [
        StateError::Unreadable("it is truncated".to_owned()),
        StateError::Type {
            name: "conv1.weight".to_owned(),
            found: "F64".to_owned(),
        },
        StateError::Missing {
            name: "conv1.weight".to_owned(),
        },
        StateError::Unexpected {
            name: "conv9.weight".to_owned(),
        },
        StateError::Value {
            name: "conv1.weight".to_owned(),
            value: f32::NAN,
        },
        StateError::Value {
            name: "bn1.running_var".to_owned(),
            value: -1.0,
        },
        StateError::Shape {
            name: "conv1.weight".to_owned(),
            expected: vec![4, 3],
            found: vec![4, 1],
        },
    ];
    assert_snapshot!("weights", lines(states));
}

#[test]
fn what_is_asked_for() {
    let splits = [
        SplitError::TooMany { asked: 12, there: 10 },
        SplitError::Class {
            class: 3,
            asked: 4,
            there: 2,
            total: 40,
        },
        SplitError::TooFew { asked: 2, classes: 3 },
    ];
    assert_snapshot!("splits", lines(splits));

    let calm = flow_learn::data::SceneStyle::CALM;
    let styles = [
        flow_learn::data::SceneStyle { turn: 181.0, ..calm },
        flow_learn::data::SceneStyle {
            clutter: [2, 1],
            ..calm
        },
        flow_learn::data::SceneStyle {
            objects: [0, 1],
            ..calm
        },
        flow_learn::data::SceneStyle {
            size: [0.4, 0.2],
            ..calm
        },
    ];
    let faults = styles.iter().filter_map(flow_learn::data::SceneStyle::fault);
    assert_snapshot!("scenes", lines(faults.map(|(key, what)| format!("{key}: {what}"))));

    let backbones = [
        BackboneError::Unknown {
            name: "conv9".to_owned(),
        },
        BackboneError::Widths {
            name: "conv3".to_owned(),
            expected: 3,
            found: vec![8],
        },
        BackboneError::Grid { grid: 9, h: 4, w: 4 },
        BackboneError::Modality {
            name: "conv3".to_owned(),
            modality: Modality::Texts {
                vocabulary: 100,
                fingerprint: 0,
            },
        },
        BackboneError::Stem {
            name: "conv3".to_owned(),
        },
        BackboneError::Setting(SettingError::new("dim", "0 found, expected at least 1")),
    ];
    assert_snapshot!("backbones", lines(backbones));
    assert_snapshot!(
        "graphs",
        lines([NoGraph {
            what: "a layer of this network".to_owned()
        }])
    );
}

#[test]
fn what_goes_wrong_in_a_training() {
    let devices = [
        DeviceError::Memory {
            wanted: 300,
            held: 20_000,
        },
        DeviceError::Driver {
            what: "wait for a copy".to_owned(),
            code: "CUDA_ERROR_LAUNCH_FAILED (719)".to_owned(),
        },
    ];
    assert_snapshot!("devices", lines(devices));
    let errors = [
        MethodError::Diverged {
            loss: f32::NAN,
            step: 12,
            advice: "lower `lr`",
        },
        MethodError::Grown {
            loss: 30.0,
            first: 2.0,
            epoch: 3,
            advice: "lower `lr`",
        },
        MethodError::Loss(LossError::Memory("OutOfMemory".to_owned())),
    ];
    assert_snapshot!("trainings", lines(errors));

    let collapsed = |name: &str, advice| {
        let error = MethodError::Collapsed {
            epoch: 2,
            metric: "spread".to_owned(),
            value: 0.01,
            least: 0.1,
            advice,
        };
        format!("{name}: {error}")
    };
    let methods = MethodSettings::all();
    let methods = methods.iter().map(MethodSettings::settings);
    let semi = SemiSettings::all();
    let semi = semi.iter().map(SemiSettings::settings);
    let all = methods
        .map(|settings| collapsed(settings.name(), settings.advice()))
        .chain(semi.map(|settings| collapsed(settings.name(), settings.advice())));
    assert_snapshot!("collapses", lines(all));
}

#[test]
fn what_is_told_where_things_are_and_is_not_right() {
    let image = Images::new(8, 8, 3, vec![0; 192], vec![0]).expect("it fits");
    let annotations = |objects| Annotations {
        masks: None,
        soft: None,
        objects: Some(objects),
    };
    let object = Object {
        class: 7,
        bounds: [0.0, 0.0, 4.0, 4.0],
        area: 16.0,
        ignore: false,
        sure: 1.0,
    };
    let faults = [
        annotations(Vec::new()).fault(1, [8, 8], 2),
        annotations(vec![vec![object]]).fault(1, [8, 8], 2),
        Annotations {
            soft: Some(image.clone()),
            ..annotations(vec![Vec::new()])
        }
        .fault(1, [8, 8], 9),
    ];
    let frame = |classes| Frame {
        height: 8,
        width: 8,
        classes,
        maps: Vec::new(),
    };
    let stages = [MapShape { h: 8, w: 8, c: 4 }];
    let mut stream = Stream::new(1, "test");
    let mut heads = Vec::new();
    for task in TASKS {
        for classes in [2, 300] {
            let head = task.head(&frame(classes), &stages, &mut stream);
            heads.push(head.err().map(|error| error.to_string()));
        }
    }
    let tasks = TASKS.iter().map(|task| Some(task.figure().1.to_owned()));
    let network = {
        let backbone = BackboneSettings::named("conv3");
        let encoder = backbone.build(MapShape { h: 8, w: 8, c: 3 }, &stream).expect("valid");
        Locator::new(encoder, TASKS[0], 2, &stream).expect("8 is a multiple of 4")
    };
    let none = LocatedExamples {
        images: &image,
        annotations: &Annotations::default(),
        indices: &[],
    };
    let plain = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 8, 8).expect("valid");
    let settings = FitSettings {
        optimizer: OptimizerConfig::default(),
        lr: 0.01,
        encoder_lr_scale: 1.0,
        warmup_steps: 0,
        steps: 1,
        batch: 8,
        labelled_share: 0.5,
        joint: None,
        label_smoothing: 0.0,
        freeze: false,
        keep_statistics: false,
        seed: 3,
    };
    let fit = LocatingFit::new(settings, network, none, None, &plain).err();
    let said = faults
        .into_iter()
        .chain(heads)
        .chain(tasks)
        .chain([fit.map(|error| error.to_string())]);
    assert_snapshot!("places", lines(said.flatten()));
}

/// What a loss says of matrices of these shapes, which do not go together.
fn refused<const K: usize>(
    shapes: [(usize, usize); K],
    loss: impl FnOnce([Traced; K]) -> Result<TracedScalar, LossError>,
) -> LossError {
    let inputs = shapes.map(|shape| (vec![0.5; shape.0 * shape.1], shape));
    value_and_grads(inputs, loss).expect_err("refused")
}

#[test]
fn losses_of_what_does_not_go_together() {
    let weights = VicregWeights {
        invariance: 1.0,
        variance: 1.0,
        covariance: 1.0,
    };
    let temperatures = DinoTemperatures {
        teacher: 0.1,
        student: 0.1,
    };
    let errors = [
        refused([(1, 2), (1, 2)], |[a, b]| losses::barlow_twins(a, b, 0.1)),
        refused([(2, 2), (2, 3)], |[a, b]| losses::barlow_twins(a, b, 0.1)),
        refused([(2, 2)], |[a]| losses::binary_cross_entropy(a, &[])),
        refused([(2, 2), (2, 3)], |[a, b]| {
            losses::consistency(losses::cosine_scores(a, b)?, &[0.0; 4])
        }),
        refused([(2, 3)], |[a]| losses::cross_entropy(a, &[0], 0.0)),
        refused([(2, 3)], |[a]| losses::cross_entropy(a, &[0, 3], 0.0)),
        refused([(2, 3)], |[a]| losses::cross_entropy(a, &[0, 1], 1.0)),
        refused([(2, 3)], |[a]| losses::soft_cross_entropy(a, &[])),
        refused([(2, 3)], |[a]| losses::weighted_cross_entropy(a, &[0, 1], &[1.0])),
        refused([(2, 3)], |[a]| losses::weighted_cross_entropy(a, &[0, 1], &[1.0, -1.0])),
        refused([(2, 3)], |[a]| losses::dino(a, &[0.0; 6], &[0.0; 2], temperatures)),
        refused([(2, 3)], |[a]| losses::distillation(a, &[], 1.0)),
        refused([(2, 3)], |[a]| losses::distillation(a, &[0.0; 6], 0.0)),
        refused([(2, 3)], |[a]| {
            losses::class_fairness(a, &[1.0; 2], &[0.3; 3], &[0.3; 2])
        }),
        refused([(2, 3)], |[a]| losses::fixmatch_unlabelled(a, &[], 0.5)),
        refused([(2, 4)], |[a]| losses::focal(a, &[0.0; 8], &[1.0], 1.0)),
        refused([(2, 1), (2, 1), (2, 1), (2, 1)], |found| {
            losses::giou(found, &[0.0; 4], &[1.0; 2])
        }),
        refused([(2, 3)], |[a]| losses::info_nce(a, &[0.5; 6], &[0.5; 2], 0.1)),
        refused([(2, 3)], |[a]| losses::info_nce(a, &[0.5; 3], &[0.5; 6], 0.1)),
        refused([(2, 3)], |[a]| losses::likeness(a, &[0.5; 6], &[0.5; 2], 0.1)),
        refused([(2, 3)], |[a]| losses::masked_patches(a, &[0.5; 6], &[true])),
        refused([(2, 3), (4, 2), (1, 4)], |[a, b, c]| {
            losses::masked_token(a, b, c, &[0, 1])
        }),
        refused([(2, 3)], |[a]| losses::negative_cosine(a, &[0.5; 3])),
        refused([(3, 3)], |[a]| losses::nt_xent(a, 0.1)),
        refused([(4, 3)], |[a]| losses::nt_xent(a, 0.0)),
        refused([(2, 3)], |[a]| losses::reconstruction(a, &[0.5; 6], Some(&[0.0; 6]))),
        refused([(2, 3)], |[a]| losses::segmentation(a, &[0], 0.0)),
        refused([(2, 3)], |[a]| {
            losses::soft_segmentation(a, &[0, 1], Some(&[0.5; 2]), 0.0)
        }),
        refused([(2, 3)], |[a]| losses::swapped(a, &[0.5; 3], 0.1)),
        refused([(1, 3), (1, 3)], |[a, b]| losses::vicreg(a, b, weights)),
    ];
    assert_snapshot!("losses", lines(errors));
}
