//! What every pre-training method promises: its loss falls, and an interrupted training ends with the same bits as one that was
//! not, after an epoch or in the middle of one, whatever the number of threads. Trainings that collapse or diverge say so, and what to change.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use flow_learn::augment::{Augmenter, Op, Recipe};
use flow_learn::backbones::{BackboneSettings, Pool};
use flow_learn::data::{Images, Samples, Scenes};
use flow_learn::device::{Cpu, Device, Mock};
use flow_learn::image::rgb_to_lab;
use flow_learn::methods::*;
use flow_learn::optim::OptimizerConfig;
use flow_learn::state::StateDict;
use flow_learn::train::{EpochOutcome, Length, PretrainSettings, Pretraining, TrainError, hold_out};

const BATCH: usize = 16;
const EPOCHS: usize = 6;

/// A step amid the epoch's fifteen.
const MIDDLE: usize = 6;

fn settings(method: MethodSettings) -> PretrainSettings {
    PretrainSettings {
        backbone: BackboneSettings {
            widths: vec![8, 16, 16],
            grid: 2,
            ..BackboneSettings::named("conv3")
        },
        method,
        optimizer: OptimizerConfig::Adam(Default::default()),
        lr: 0.01,
        warmup_epochs: 1,
        length: Length::Epochs(EPOCHS),
        batch: BATCH,
        monitor: 40,
        seed: 5,
    }
}

fn scenes() -> Samples {
    let scenes = Scenes {
        n: 240,
        side: 16,
        seed: 1,
        style: Default::default(),
    };
    scenes.images().0.into()
}

fn augmenter() -> Augmenter {
    let recipe = Recipe::named("simclr").expect("shipped");
    Augmenter::new(&recipe, &[0.5; 3], &[0.25; 3], 16, 16).expect("valid")
}

/// When a training is broken off, and gone on with from its checkpoint by a new one.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Never,
    /// After each epoch, and in the middle of some.
    Often,
}

/// Everything that is kept after the last epoch, in a pool of `threads`.
fn trained(
    method: &MethodSettings,
    from: Option<&StateDict>,
    threads: usize,
    broken: Broken,
) -> (Vec<u8>, Vec<EpochOutcome>) {
    trained_with(&settings(method.clone()), from, threads, broken)
}

/// The same with all settings given.
fn trained_with(
    settings: &PretrainSettings,
    from: Option<&StateDict>,
    threads: usize,
    broken: Broken,
) -> (Vec<u8>, Vec<EpochOutcome>) {
    trained_on_views(settings, &augmenter(), from, threads, broken)
}

/// The same on views of another recipe.
fn trained_on_views(
    settings: &PretrainSettings,
    augmenter: &Augmenter,
    from: Option<&StateDict>,
    threads: usize,
    broken: Broken,
) -> (Vec<u8>, Vec<EpochOutcome>) {
    let images = scenes();
    let start = || {
        let training = Pretraining::new(settings.clone(), &images, augmenter, from);
        training.expect("valid settings").on(common::device())
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    pool.install(|| {
        let mut training = start();
        while !training.is_done() {
            let odd = training.history().len() % 2 == 1;
            let ended = training.run_epoch(|step, _| match broken == Broken::Often && odd && step == MIDDLE {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
            assert!(matches!(ended, Ok(_) | Err(TrainError::Stopped)), "{ended:?}");
            if broken == Broken::Often {
                let checkpoint = training.checkpoint().expect("the device works");
                training = start();
                training.resume(&checkpoint).expect("own checkpoint");
            }
        }
        (
            training.checkpoint().expect("the device works"),
            training.history().to_vec(),
        )
    })
}

fn learns_and_resumes(method: MethodSettings, from: Option<&StateDict>) {
    let (whole, history) = trained(&method, from, 1, Broken::Never);
    // Of the second epoch: in the first a queue still holds random keys, which are easy to tell from the right one.
    assert!(
        history[EPOCHS - 1].loss < history[1].loss,
        "the loss does not fall: {history:?}"
    );
    assert!(history[EPOCHS - 1].metrics.contains_key("rank_me"), "{history:?}");
    resumes_to_the_bit(&method, from, &whole);
}

fn resumes_to_the_bit(method: &MethodSettings, from: Option<&StateDict>, whole: &[u8]) {
    let interrupted = trained(method, from, 2, Broken::Often).0;
    assert!(
        whole == interrupted,
        "an interrupted training with two threads has other bits"
    );
}

/// Kilobytes that a step may carry between host and device. A view of the batch is 49.
const BUDGETS: &[(&str, u64)] = &[
    ("simclr", 103),
    ("simclr_v2", 103),
    ("moco", 103),
    ("moco_v2", 103),
    ("simsiam", 111),
    ("byol", 105),
    ("barlow_twins", 107),
    ("vicreg", 107),
    ("swav", 103),
    ("dino", 105),
    ("pirl", 81),
    ("sela", 53),
    ("jigsaw", 29),
    ("context_prediction", 29),
    ("supervised", 51),
    ("colorization", 97),
    ("inpainting", 148),
    ("autoencoder", 148),
    ("rotation", 199),
];

/// Trains for some steps on the CPU and on a device: how much more than its budget the last step carried, if it did.
fn excess(name: &str, settings: &PretrainSettings) -> Option<String> {
    let (images, augmenter) = (scenes(), augmenter());
    let run = |device: Arc<dyn Device>, watch: &mut dyn FnMut(usize)| {
        let mut training = Pretraining::new(settings.clone(), &images, &augmenter, None).expect("valid settings");
        training = training.on(device);
        let ended = training.run_epoch(|step, _| {
            watch(step);
            match step {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert_eq!(ended, Err(TrainError::Stopped));
        training.checkpoint().expect("the device works")
    };
    let (mock, mut carried) = (Arc::new(Mock::default()), Default::default());
    let here = run(Arc::new(Cpu), &mut |_| ());
    let there = run(mock.clone(), &mut |_| carried = mock.take_traffic());
    assert!(here == there, "{name}: a device has other bits than the CPU");
    let budget = BUDGETS
        .iter()
        .find(|(of, _)| *of == name)
        .map_or(0, |(_, budget)| *budget);
    (carried.up + carried.down > 1000 * budget).then(|| format!("{name}: {carried:?}, allowed are {budget} kB"))
}

macro_rules! keeps_its_promises {
    ($($name:ident: $settings:expr,)+) => {
        $(#[test]
        fn $name() {
            learns_and_resumes($settings, None);
        })+

        #[test]
        fn on_a_device_every_method_has_the_cpus_bits_and_carries_no_more_than_its_budget() {
            let excess: Vec<String> = [$((stringify!($name), settings($settings)),)+]
                .iter()
                .filter_map(|(name, settings)| excess(name, settings))
                .collect();
            assert!(excess.is_empty(), "{excess:#?}");
        }
    };
}

keeps_its_promises! {
    simclr: MethodSettings::Simclr(SimclrSettings { hidden: 32, projection: 16, ..Default::default() }),
    simclr_v2: MethodSettings::SimclrV2(SimclrV2Settings { hidden: 32, projection: 16, ..Default::default() }),
    moco: MethodSettings::Moco(MocoSettings { queue: 32, groups: 2, projection: 16, ..Default::default() }),
    moco_v2: MethodSettings::MocoV2(MocoV2Settings { queue: 32, groups: 2, hidden: 32, projection: 16, ..Default::default() }),
    simsiam: MethodSettings::Simsiam(SimsiamSettings { hidden: 32, projection: 32, predictor: 8 }),
    byol: MethodSettings::Byol(ByolSettings { hidden: 32, projection: 16, ..Default::default() }),
    barlow_twins: MethodSettings::BarlowTwins(BarlowTwinsSettings { hidden: 32, projection: 32, ..Default::default() }),
    vicreg: MethodSettings::Vicreg(VicregSettings { hidden: 32, projection: 32, ..Default::default() }),
    swav: MethodSettings::Swav(SwavSettings { prototypes: 12, hidden: 32, projection: 16, queue: 32, queue_from: 2, ..Default::default() }),
    dino: MethodSettings::Dino(DinoSettings { prototypes: 16, hidden: 32, bottleneck: 16, ..Default::default() }),
    pirl: MethodSettings::Pirl(PirlSettings { negatives: 64, projection: 16, ..Default::default() }),
    sela: MethodSettings::Sela(SelaSettings { clusters: 12, heads: 2, ..Default::default() }),
    jigsaw: MethodSettings::Jigsaw(JigsawSettings { grid: 2, permutations: 4, tile_features: 16, hidden: 32 }),
    context_prediction: MethodSettings::ContextPrediction(ContextPredictionSettings { hidden: 32, ..Default::default() }),
    supervised: MethodSettings::Supervised(SupervisedSettings::default()),
    colorization: MethodSettings::Colorization(ColorizationSettings { bin: 40.0, width: 16, ..Default::default() }),
    inpainting: MethodSettings::Inpainting(InpaintingSettings { width: 8, ..Default::default() }),
    autoencoder: MethodSettings::Autoencoder(AutoencoderSettings { code: 16, width: 8, ..Default::default() }),
    rotation: MethodSettings::Rotation(RotationSettings {}),
}

#[test]
fn deep_cluster_settles_on_its_clusters() {
    // Its head begins anew in each epoch, so losses of different epochs cannot be compared.
    let method = MethodSettings::DeepCluster(DeepClusterSettings {
        clusters: 12,
        components: 16,
        ..Default::default()
    });
    let (whole, history) = trained(&method, None, 1, Broken::Never);
    assert!(
        history[EPOCHS - 1].metrics["nmi"] > history[1].metrics["nmi"],
        "{history:?}"
    );
    resumes_to_the_bit(&method, None, &whole);
}

#[test]
fn a_gans_players_both_resume() {
    // Neither player's loss has to fall: one learns at the other's cost.
    let method = MethodSettings::Gan(GanSettings {
        noise: 8,
        width: 8,
        ..Default::default()
    });
    let (whole, history) = trained(&method, None, 1, Broken::Never);
    assert!(history[EPOCHS - 1].metrics["accuracy"] > 0.5, "{history:?}");
    resumes_to_the_bit(&method, None, &whole);
}

#[test]
fn scan_starts_from_a_trained_encoder() {
    let scan = || {
        MethodSettings::Scan(ScanSettings {
            neighbours: 5,
            self_label_epochs: 0,
            ..Default::default()
        })
    };
    let alone = refused(settings(scan()), &scenes());
    assert!(alone.contains("`init`"), "{alone}");
    let checkpoint = trained(&MethodSettings::Simclr(Default::default()), None, 2, Broken::Never).0;
    let state = StateDict::from_bytes(&checkpoint).expect("own bytes");
    let encoder = state.tensors.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("encoder.")?.to_owned();
        Some((name, tensor))
    });
    let encoder = StateDict {
        tensors: encoder.collect(),
        meta: String::new(),
    };
    learns_and_resumes(scan(), Some(&encoder));
    let labelling = MethodSettings::Scan(ScanSettings {
        neighbours: 5,
        self_label_epochs: 3,
        threshold: 0.3,
        ..Default::default()
    });
    let (whole, history) = trained(&labelling, Some(&encoder), 1, Broken::Never);
    assert!(history[5].metrics["confident"] > 0.0, "{history:?}");
    resumes_to_the_bit(&labelling, Some(&encoder), &whole);
}

/// The settings with a vision transformer of four patches a side.
fn on_vit(method: MethodSettings, pool: Pool) -> PretrainSettings {
    PretrainSettings {
        backbone: BackboneSettings {
            dim: Some(32),
            depth: Some(2),
            heads: Some(2),
            mlp_ratio: Some(2.0),
            pool: Some(pool),
            ..BackboneSettings::named("vit")
        },
        lr: 0.003,
        ..settings(method)
    }
}

/// The recipe of [`augmenter`] with three local views of so many of the image's pixels a side.
fn with_local_views(size: f32) -> Augmenter {
    let mut recipe = Recipe::named("simclr").expect("shipped");
    recipe.ops.push(Op::MultiCrop {
        count: 3,
        size,
        scale: [0.05, 0.3],
    });
    Augmenter::new(&recipe, &[0.5; 3], &[0.25; 3], 16, 16).expect("valid")
}

fn small_swav() -> MethodSettings {
    MethodSettings::Swav(SwavSettings {
        prototypes: 12,
        hidden: 32,
        projection: 16,
        ..Default::default()
    })
}

fn small_dino() -> MethodSettings {
    MethodSettings::Dino(DinoSettings {
        prototypes: 16,
        hidden: 32,
        bottleneck: 16,
        ..Default::default()
    })
}

#[test]
fn local_views_are_learnt_from_and_resumed_to_the_bit() {
    let pooled = |method| {
        let mut settings = settings(method);
        settings.backbone.grid = 1;
        settings
    };
    let cases = [
        (pooled(small_swav()), with_local_views(0.5)),
        (pooled(small_dino()), with_local_views(0.5)),
        (on_vit(small_dino(), Pool::Token), with_local_views(1.0)),
    ];
    for (settings, views) in cases {
        let (whole, history) = trained_on_views(&settings, &views, None, 1, Broken::Never);
        assert!(history[EPOCHS - 1].loss < history[1].loss, "{history:?}");
        let interrupted = trained_on_views(&settings, &views, None, 2, Broken::Often).0;
        assert!(whole == interrupted, "{:?}: other bits", settings.method);
        let without = trained_with(&settings, None, 1, Broken::Never).1;
        assert_ne!(history[0].loss, without[0].loss, "they change nothing");
    }
}

#[test]
fn local_views_cost_what_they_show_of_the_network() {
    let local = with_local_views(0.5).local_views();
    assert_eq!(small_swav().cost(None), 2.0);
    assert_eq!(small_swav().cost(local), 2.0 + 3.0 / 4.0);
    let mut settings = PretrainSettings {
        length: Length::Budget(16 * 2 * 30),
        ..settings(small_swav())
    };
    settings.backbone.grid = 1;
    let (images, whole, local) = (scenes(), augmenter(), with_local_views(0.5));
    let steps = |views| Pretraining::new(settings.clone(), &images, views, None).map(|t| t.steps());
    assert_eq!(steps(&whole).expect("valid"), 30);
    assert_eq!(steps(&local).expect("valid"), 22);
}

#[test]
fn local_views_are_refused_where_they_cannot_be_learnt_from() {
    let refused = |settings: PretrainSettings, size| {
        let (images, views) = (scenes(), with_local_views(size));
        let refused = Pretraining::new(settings, &images, &views, None).err();
        refused.map_or_else(|| "taken".to_owned(), |error| error.to_string())
    };
    let said = [
        refused(settings(MethodSettings::Simclr(SimclrSettings::default())), 0.5),
        refused(on_vit(small_dino(), Pool::Token), 0.5),
        // The last map of 3x3 pixels has one pixel, and the grid four cells.
        refused(settings(small_swav()), 0.2),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

fn mae() -> MaeSettings {
    MaeSettings {
        decoder_dim: 16,
        decoder_depth: 1,
        decoder_heads: 2,
        ..Default::default()
    }
}

/// Trains on a vision transformer: the loss falls, and an interrupted training ends with the same bits.
fn learns_on_vit(method: MethodSettings, pool: Pool) -> Vec<EpochOutcome> {
    let settings = on_vit(method, pool);
    let (whole, history) = trained_with(&settings, None, 1, Broken::Never);
    assert!(
        history[EPOCHS - 1].loss < history[1].loss,
        "the loss does not fall: {history:?}"
    );
    let interrupted = trained_with(&settings, None, 2, Broken::Often).0;
    assert!(
        whole == interrupted,
        "an interrupted training with two threads has other bits"
    );
    history
}

#[test]
fn mae_learns_what_hidden_patches_show() {
    let history = learns_on_vit(MethodSettings::Mae(mae()), Pool::Mean);
    let last = &history[EPOCHS - 1];
    assert_eq!(last.metrics["masked"], 0.75);
    assert!(
        last.loss < last.metrics["mean_predictor"],
        "no better than the mean: {history:?}"
    );
}

#[test]
fn contrast_and_distillation_learn_on_a_vision_transformer() {
    let simclr = SimclrSettings {
        hidden: 32,
        projection: 16,
        ..Default::default()
    };
    learns_on_vit(MethodSettings::Simclr(simclr), Pool::Token);
    let byol = ByolSettings {
        hidden: 32,
        projection: 16,
        ..Default::default()
    };
    learns_on_vit(MethodSettings::Byol(byol), Pool::Mean);
    let dino = DinoSettings {
        prototypes: 16,
        hidden: 32,
        bottleneck: 16,
        ..Default::default()
    };
    learns_on_vit(MethodSettings::Dino(dino), Pool::Token);
}

/// The words of a refusal before training.
fn refused(settings: PretrainSettings, images: &Samples) -> String {
    let error = Pretraining::new(settings, images, &augmenter(), None).err();
    error.map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn methods_and_backbones_that_do_not_fit_are_refused() {
    let pirl = PirlSettings {
        negatives: 64,
        ..Default::default()
    };
    let hidden = MaeSettings { mask: 0.99, ..mae() };
    let cases = [
        settings(MethodSettings::Mae(mae())),
        on_vit(MethodSettings::Mae(hidden), Pool::Token),
        on_vit(MethodSettings::Pirl(pirl), Pool::Token),
    ];
    let said = cases.map(|settings| refused(settings, &scenes()));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_what_to_do() {
    let moco = |queue, groups| {
        MethodSettings::Moco(MocoSettings {
            queue,
            groups,
            ..Default::default()
        })
    };
    let dino = DinoSettings {
        teacher_temperature: 0.2,
        ..Default::default()
    };
    let swav = SwavSettings {
        queue: 20,
        ..Default::default()
    };
    let deep = DeepClusterSettings {
        components: 65,
        ..Default::default()
    };
    let jigsaw = |grid| {
        MethodSettings::Jigsaw(JigsawSettings {
            grid,
            permutations: 4,
            ..Default::default()
        })
    };
    let inpainting = InpaintingSettings {
        size: [0.5, 0.2],
        ..Default::default()
    };
    let mut said: Vec<String> = [
        moco(40, 4),
        moco(32, 3),
        MethodSettings::Dino(dino),
        MethodSettings::Swav(swav),
        MethodSettings::DeepCluster(deep),
        MethodSettings::Inpainting(inpainting),
        jigsaw(9),
    ]
    .map(|method| refused(settings(method), &scenes()))
    .into();
    let gray: Samples = Images::new(16, 16, 1, vec![7; 16 * 16 * 64], vec![0; 64])
        .expect("it fits")
        .into();
    let plain = Augmenter::new(&Recipe::default(), &[0.5], &[0.25], 16, 16).expect("valid");
    for method in [
        MethodSettings::Colorization(Default::default()),
        MethodSettings::Supervised(Default::default()),
    ] {
        let error = Pretraining::new(settings(method), &gray, &plain, None).err();
        said.extend(error.map(|error| error.to_string()));
    }
    for method in [
        MethodSettings::Rotation(Default::default()),
        jigsaw(2),
        MethodSettings::Supervised(Default::default()),
    ] {
        let alone = PretrainSettings {
            batch: 1,
            ..settings(method)
        };
        said.push(refused(alone, &scenes()));
    }
    let small: Samples = Images::new(8, 8, 3, vec![7; 8 * 8 * 3 * 64], vec![0; 64])
        .expect("it fits")
        .into();
    let of_small = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 8, 8).expect("valid");
    let error = Pretraining::new(settings(jigsaw(2)), &small, &of_small, None).err();
    said.extend(error.map(|error| error.to_string()));
    for length in [Length::Budget(0), Length::Budget(1 << 40)] {
        let method = MethodSettings::Rotation(Default::default());
        let of_length = PretrainSettings {
            length,
            ..settings(method)
        };
        said.push(refused(of_length, &scenes()));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn held_out_images_are_voted_on_after_each_epoch() {
    let (trained, held) = hold_out(&scenes(), 40);
    let augmenter = augmenter();
    let settings = settings(MethodSettings::Rotation(Default::default()));
    let training = Pretraining::new(settings, &trained, &augmenter, None).expect("valid settings");
    let mut training = training.watching(&held);
    let outcome = training.run_epoch(|_, _| ControlFlow::Continue(())).expect("trains");
    // A share of twelve images.
    let knn = outcome.metrics["knn"] * 12.0;
    assert!((knn - knn.round()).abs() < 1e-4, "{outcome:?}");
}

/// How a training with these settings fails.
fn failure(settings: PretrainSettings) -> String {
    let (images, augmenter) = (scenes(), augmenter());
    let mut training = Pretraining::new(settings, &images, &augmenter, None).expect("valid settings");
    while !training.is_done() {
        if let Err(error) = training.run_epoch(|_, _| ControlFlow::Continue(())) {
            return error.to_string();
        }
    }
    format!("it did not fail: {:?}", training.history())
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn a_collapse_is_an_early_error_that_names_the_knob() {
    // Assignments so smooth that every image belongs to every prototype alike: there is nothing to predict.
    let swav = MethodSettings::Swav(SwavSettings {
        epsilon: 50.0,
        prototypes: 12,
        ..Default::default()
    });
    says(
        &failure(settings(swav)),
        &["collapsed in epoch 1", "`certainty`", "lower `epsilon`"],
    );
    // Nothing keeps the projections apart.
    let vicreg = MethodSettings::Vicreg(VicregSettings {
        variance: 1e-6,
        covariance: 1e-6,
        hidden: 32,
        projection: 32,
        ..Default::default()
    });
    let longer = PretrainSettings {
        lr: 0.03,
        length: Length::Epochs(12),
        ..settings(vicreg)
    };
    says(
        &failure(longer),
        &["collapsed in epoch", "`spread`", "raise `variance`"],
    );
    // A teacher that is so soft that all of its outputs are equal.
    let dino = MethodSettings::Dino(DinoSettings {
        teacher_temperature: 9.0,
        student_temperature: 10.0,
        prototypes: 16,
        hidden: 32,
        bottleneck: 16,
        ..Default::default()
    });
    says(
        &failure(settings(dino)),
        &["collapsed in epoch 1", "`certainty`", "lower `teacher_temperature`"],
    );
    // Steps far too large.
    let sela = MethodSettings::Sela(SelaSettings {
        clusters: 12,
        heads: 2,
        ..Default::default()
    });
    let diverging = PretrainSettings {
        lr: 1e30,
        optimizer: OptimizerConfig::Sgd(Default::default()),
        ..settings(sela)
    };
    says(&failure(diverging), &["diverged", "lower `lr`"]);
}

/// Names of pictures are read on pages.
#[test]
fn what_a_task_shows_has_a_name_in_words() {
    let (images, augmenter) = (scenes(), augmenter());
    let named = |settings: PretrainSettings| {
        let mut training = Pretraining::new(settings, &images, &augmenter, None).ok()?;
        let shown = training.pictures(&images, &[3]);
        let names: Vec<String> = shown.iter().map(|shown| shown.name.clone()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let of = |method: MethodSettings| {
        let name = method.settings().name();
        let vit = on_vit(method.clone(), Pool::Token);
        named(settings(method))
            .or_else(|| named(vit))
            .map(|names| format!("{name}: {names}\n"))
    };
    let small = MethodSettings::Jigsaw(JigsawSettings {
        grid: 2,
        permutations: 8,
        ..Default::default()
    });
    let said: String = MethodSettings::all()
        .into_iter()
        .chain([small])
        .filter_map(of)
        .collect();
    insta::assert_snapshot!(said);
}

#[test]
fn pictures_of_what_a_task_shows_are_one_for_each_image_and_change_nothing() {
    let sorts: [(MethodSettings, &[&str]); 8] = [
        (
            MethodSettings::Rotation(Default::default()),
            &["turned by 0°", "turned by 90°", "turned by 180°", "turned by 270°"],
        ),
        (
            MethodSettings::Jigsaw(JigsawSettings {
                grid: 2,
                permutations: 8,
                ..Default::default()
            }),
            &["view", "shuffled tiles"],
        ),
        (
            MethodSettings::ContextPrediction(Default::default()),
            &["view", "centre and neighbour"],
        ),
        (
            MethodSettings::Colorization(Default::default()),
            &["view", "without colour", "colours told"],
        ),
        (MethodSettings::Gan(Default::default()), &["view", "made from noise"]),
        (
            MethodSettings::Inpainting(Default::default()),
            &["view", "cut out", "filled in"],
        ),
        (
            MethodSettings::Autoencoder(Default::default()),
            &["view", "disturbed", "made again"],
        ),
        (MethodSettings::Simclr(Default::default()), &[]),
    ];
    let (images, augmenter) = (scenes(), augmenter());
    for (method, expected) in sorts {
        let mut training = Pretraining::new(settings(method), &images, &augmenter, None).expect("valid settings");
        let before = training.checkpoint().expect("the device works");
        let shown = training.pictures(&images, &[3, 5, 8]);
        assert_eq!(shown, training.pictures(&images, &[3, 5, 8]), "the same each time");
        assert!(
            before == training.checkpoint().expect("the device works"),
            "they change what is trained"
        );
        assert_eq!(
            shown.iter().map(|shown| shown.name.as_str()).collect::<Vec<_>>(),
            expected
        );
        for Shown { name, shape, values } in &shown {
            assert_eq!(values.len(), 3 * shape.len(), "{name}");
            let (one, other) = (&values[..shape.len()], &values[shape.len()..2 * shape.len()]);
            assert!(values.iter().all(|v| v.is_finite()) && one != other, "{name}");
        }
        if expected.last() == Some(&"filled in") {
            // What was not cut out is as it was.
            let [whole, cut, filled] = [0, 1, 2].map(|i| &shown[i].values);
            let kept = whole
                .iter()
                .zip(cut)
                .zip(filled)
                .filter(|((whole, cut), _)| whole == cut);
            assert!(kept.clone().count() > whole.len() / 4 && kept.clone().all(|((whole, _), filled)| whole == filled));
            assert!(kept.count() < whole.len());
        }
        if expected.last() == Some(&"colours told") {
            let gray = shown[1].values.chunks_exact(3);
            assert!(
                gray.clone().all(|pixel| (pixel[0] - pixel[2]).abs() < 1e-5),
                "it has colours"
            );
            // The colours are told, the lightness is as it was.
            let lightness = |told: &[f32]| rgb_to_lab([told[0], told[1], told[2]])[0];
            let told = shown[2].values.chunks_exact(3);
            let mut pairs = gray.zip(told.clone());
            assert!(pairs.all(|(gray, told)| (lightness(told) - 100.0 * gray[0]).abs() < 0.5));
            assert!(
                told.into_iter().any(|pixel| (pixel[0] - pixel[2]).abs() > 0.01),
                "it is gray"
            );
        }
    }
}
