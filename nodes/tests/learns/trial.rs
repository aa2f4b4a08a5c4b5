//! One small pre-training, judged by probe and nearest neighbours against its controls.

use std::ops::ControlFlow;

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder, Stem};
use flow_learn::data::{Images, Scenes};
use flow_learn::layers::MapShape;
use flow_learn::methods::MethodSettings;
use flow_learn::metrics::{accuracy, weighted_knn};
use flow_learn::optim::OptimizerConfig;
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::train::{EpochOutcome, Length, PretrainSettings, Pretraining, embed};
use flow_nodes::sources::fashion_mnist;

/// Images that suit a method.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Data {
    /// Garments, gray.
    Fashion,
    /// Shapes on clutter, in colour.
    Scenes,
}

/// A method and how it is trained.
#[derive(Clone)]
pub(crate) struct Trial {
    pub method: MethodSettings,
    pub data: Data,
    /// A recipe's name.
    pub views: &'static str,
    pub images: usize,
    pub epochs: usize,
    pub batch: usize,
    pub lr: f32,
}

/// Accuracies of linear probe and weighted nearest neighbours.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    pub probe: f64,
    pub knn: f64,
}

/// What became of a trial.
pub(crate) struct Learnt {
    pub trained: Judged,
    /// The same network with its first weights.
    pub random: Judged,
    pub history: Vec<EpochOutcome>,
}

const LABELLED: usize = 500;
const JUDGED: usize = 1000;

/// Training images, and test images of the same kind.
fn images(data: Data, n: usize) -> (Images, Images) {
    let first = |images: &Images, n: usize| images.select(&Stream::new(7, "trial").permutation(images.n)[..n]);
    match data {
        Data::Fashion => {
            let (train, test) = fashion_mnist::sample().expect("embedded");
            (first(&train, n), first(&test, JUDGED))
        }
        Data::Scenes => {
            let scenes = |n, seed| Scenes { n, side: 32, seed }.images().0;
            (scenes(n, 1), scenes(JUDGED, 2))
        }
    }
}

fn backbone() -> BackboneSettings {
    BackboneSettings {
        name: "conv3".into(),
        widths: vec![16, 32, 64],
        grid: 2,
        stem: Stem::Small,
    }
}

/// Accuracies on features `[n][dim]` of labelled and of test images.
fn judge(labelled: &[f32], labels: &[usize], judged: &[f32], truth: &[usize], dim: usize) -> Judged {
    let probe = Probe::fit(labelled, labels, dim, 10).predict(judged);
    let votes = weighted_knn(labelled, labels, judged, dim, 10, 10, 0.07);
    Judged {
        probe: accuracy(truth, &probe),
        knn: accuracy(truth, &votes.predicted),
    }
}

fn labels(images: &Images, n: usize) -> Vec<usize> {
    images.labels[..n].iter().map(|l| usize::from(*l)).collect()
}

/// Raw pixels, the control that needs no network.
pub(crate) fn raw_pixels(data: Data, n: usize) -> Judged {
    let (train, test) = images(data, n);
    let dim = train.height * train.width * train.channels;
    let pixels = |images: &Images, n: usize| -> Vec<f32> {
        images.pixels[..n * dim].iter().map(|v| f32::from(*v) / 255.0).collect()
    };
    judge(
        &pixels(&train, LABELLED),
        &labels(&train, LABELLED),
        &pixels(&test, JUDGED),
        &labels(&test, JUDGED),
        dim,
    )
}

impl Trial {
    /// Trains with a seed and judges.
    pub(crate) fn run(&self, seed: u64) -> Learnt {
        let (train, test) = images(self.data, self.images);
        let (mean, std) = train.channel_statistics();
        let recipe = Recipe::named(self.views).expect("shipped");
        let augmenter = Augmenter::new(&recipe, &mean, &std, train.height, train.width).expect("valid");
        let settings = PretrainSettings {
            backbone: backbone(),
            method: self.method.clone(),
            optimizer: OptimizerConfig::Adam(Default::default()),
            lr: self.lr,
            warmup_epochs: 1,
            length: Length::Epochs(self.epochs),
            batch: self.batch,
            monitor: 200,
            seed,
        };
        let judge_encoder = |encoder: &mut Encoder| {
            let indices = |n: usize| (0..n as u32).collect::<Vec<u32>>();
            let labelled = embed(encoder, &train, &indices(LABELLED), &augmenter);
            let judged = embed(encoder, &test, &indices(JUDGED), &augmenter);
            let (labels, truth) = (labels(&train, LABELLED), labels(&test, JUDGED));
            judge(&labelled, &labels, &judged, &truth, encoder.dim)
        };
        let input = MapShape {
            h: train.height,
            w: train.width,
            c: train.channels,
        };
        let mut random = backbone()
            .build(input, &Stream::new(seed, "pretrain"))
            .expect("a valid backbone");
        let random = judge_encoder(&mut random);
        let mut training = Pretraining::new(settings, &train, &augmenter, None).expect("valid settings");
        while !training.is_done() {
            if let Err(error) = training.run_epoch(|_, _| ControlFlow::Continue(())) {
                panic!("{error}");
            }
        }
        let history = training.history().to_vec();
        Learnt {
            trained: judge_encoder(&mut training.into_encoder()),
            random,
            history,
        }
    }
}
