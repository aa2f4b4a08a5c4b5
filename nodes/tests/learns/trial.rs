//! One small pre-training, of images or of texts, judged by linear probe and nearest neighbours against its controls.

use std::ops::ControlFlow;
use std::time::Instant;

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::{Images, Samples};
use flow_learn::methods::MethodSettings;
use flow_learn::metrics::{accuracy, weighted_knn};
use flow_learn::optim::OptimizerConfig;
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::text::bag_of_words;
use flow_learn::train::{Length, PretrainSettings, Pretraining, embed};
use flow_nodes::sources::colour::black_and_white;

use super::data::{CLASSES, Data, Drawn, all, first, of_classes};

/// A method and how it is trained.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub method: MethodSettings,
    pub data: Data,
    /// A recipe's name; texts have none.
    pub views: &'static str,
    /// Training images.
    pub images: usize,
    /// Those of them whose labels the probe and the neighbours know.
    pub labelled: usize,
    /// Test images.
    pub judged: usize,
    pub backbone: BackboneSettings,
    pub optimizer: OptimizerConfig,
    pub lr: f32,
    /// Epochs of linear warm-up.
    pub warmup: usize,
    pub batch: usize,
    pub epochs: usize,
    /// The pre-training whose encoder this one starts from.
    pub after: Option<Box<Trial>>,
    /// Pre-trains on the first half of the classes, and is judged on the other.
    pub transfers: bool,
}

/// Accuracies of linear probe and weighted nearest neighbours.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    pub probe: f64,
    pub knn: f64,
}

/// What became of a trial with one seed.
pub(crate) struct Learnt {
    pub trained: Judged,
    /// The same network with its first weights.
    pub random: Judged,
    pub seconds: f64,
}

/// Neighbours that vote, and their temperature.
const NEIGHBOURS: usize = 10;
const TEMPERATURE: f32 = 0.07;

impl Judged {
    /// Accuracies on features `[n][dim]` of labelled and of test images.
    fn of(features: [&[f32]; 2], drawn: &Drawn, dim: usize) -> Self {
        let labels =
            |samples: &Samples| -> Vec<usize> { samples.labels().iter().flatten().map(|l| usize::from(*l)).collect() };
        let ([known, asked], labels, truth) = (features, labels(&drawn.labelled), labels(&drawn.judged));
        let probe = Probe::fit(known, &labels, dim, CLASSES).predict(asked);
        let votes = weighted_knn(known, &labels, asked, dim, CLASSES, NEIGHBOURS, TEMPERATURE);
        Self {
            probe: accuracy(&truth, &probe),
            knn: accuracy(&truth, &votes.predicted),
        }
    }

    /// On what needs no network: raw pixels, or a bag of words.
    fn of_raw(drawn: &Drawn) -> Self {
        let pixels = |images: &Images| images.pixels().iter().map(|v| f32::from(*v) / 255.0).collect();
        let raw = |samples: &Samples| -> Vec<f32> {
            match samples {
                Samples::Images(images) => pixels(images),
                Samples::Texts(texts) => bag_of_words(texts, &all(samples)),
            }
        };
        let (known, asked) = (raw(&drawn.labelled), raw(&drawn.judged));
        Self::of([&known, &asked], drawn, asked.len() / drawn.judged.n())
    }

    fn of_encoder(encoder: &mut Encoder, drawn: &Drawn, augmenter: &Augmenter) -> Self {
        let mut features =
            |samples: &Samples| embed(encoder, samples, &all(samples), augmenter).expect("the CPU does not fail");
        let (known, asked) = (features(&drawn.labelled), features(&drawn.judged));
        Self::of([&known, &asked], drawn, encoder.dim)
    }
}

impl Trial {
    fn draw(&self, seed: u64) -> Drawn {
        let (train, test, modality) = self.data.draw(self.images, seed);
        let seen = |label: u16| usize::from(label) < CLASSES / 2;
        let to_judge = |samples: &Samples, n| {
            let part = match self.transfers {
                true => first(&of_classes(samples, |label| !seen(label)), n),
                false => first(samples, n),
            };
            match (self.data, part) {
                (Data::ColouredScenes, Samples::Images(images)) => black_and_white(&images).into(),
                (_, part) => part,
            }
        };
        Drawn {
            labelled: to_judge(&train, self.labelled),
            judged: to_judge(&test, self.judged),
            unlabelled: match self.transfers {
                true => of_classes(&train, seen),
                false => train,
            },
            modality,
        }
    }

    /// The control that needs no network.
    pub(crate) fn raw(&self, seed: u64) -> Judged {
        Judged::of_raw(&self.draw(seed))
    }

    /// Trains with a seed, which also draws the images, and judges.
    pub(crate) fn run(&self, seed: u64) -> Learnt {
        let began = Instant::now();
        let drawn = self.draw(seed);
        let augmenter = self.augmenter(&drawn);
        let mut random = self
            .backbone
            .build(augmenter.input(), &Stream::new(seed, "pretrain"))
            .expect("a valid backbone");
        let random = Judged::of_encoder(&mut random, &drawn, &augmenter);
        let start = self.after.as_ref().map(|before| {
            let mut encoder = before.train(seed, &drawn, None);
            StateDict::of(&mut encoder, "")
        });
        let mut encoder = self.train(seed, &drawn, start.as_ref());
        Learnt {
            trained: Judged::of_encoder(&mut encoder, &drawn, &augmenter),
            random,
            seconds: began.elapsed().as_secs_f64(),
        }
    }

    /// Views of this trial, normalised by the statistics of its training images.
    fn augmenter(&self, drawn: &Drawn) -> Augmenter {
        let images = match &drawn.unlabelled {
            Samples::Images(images) => images,
            Samples::Texts(texts) => return Augmenter::texts(texts.length, drawn.modality),
        };
        let (mean, std) = images.channel_statistics();
        let recipe = Recipe::named(self.views).expect("shipped");
        Augmenter::new(&recipe, &mean, &std, images.height, images.width).expect("valid")
    }

    fn train(&self, seed: u64, drawn: &Drawn, start: Option<&StateDict>) -> Encoder {
        let (images, augmenter) = (&drawn.unlabelled, self.augmenter(drawn));
        let settings = PretrainSettings {
            backbone: self.backbone.clone(),
            method: self.method.clone(),
            optimizer: self.optimizer.clone(),
            lr: self.lr,
            warmup_epochs: self.warmup,
            length: Length::Epochs(self.epochs),
            batch: self.batch,
            monitor: 200,
            seed,
        };
        let name = self.method.settings().name();
        let mut training =
            Pretraining::new(settings, images, &augmenter, start).unwrap_or_else(|error| panic!("{name}: {error}"));
        while !training.is_done() {
            if let Err(error) = training.run_epoch(|_, _| ControlFlow::Continue(())) {
                panic!("{name}, seed {seed}: {error}");
            }
        }
        training.into_encoder()
    }
}
