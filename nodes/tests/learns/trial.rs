//! One small pre-training, of images or of texts, judged by linear probe and nearest neighbours against its controls.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::{Images, Modality, SceneStyle, Scenes};
use flow_learn::methods::MethodSettings;
use flow_learn::metrics::{accuracy, weighted_knn};
use flow_learn::optim::OptimizerConfig;
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::state::StateDict;
use flow_learn::text::{Vocabulary, bag_of_words};
use flow_learn::train::{Length, PretrainSettings, Pretraining, embed};
use flow_nodes::sources::background::on_noise;
use flow_nodes::sources::colour::black_and_white;
use flow_nodes::sources::fashion_mnist;

/// Images or texts that suit a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Data {
    /// Garments, gray, 28x28, in ten classes.
    Fashion,
    /// The same on a ground of noise, where denoising autoencoders were first judged.
    NoisyFashion,
    /// Calm scenes, 32x32, in colours that say nothing of the class, in ten classes.
    Scenes,
    /// The same with hues that mostly go with the class, as in photographs, but black and white when judged.
    ColouredScenes,
    /// Verses of the King James Bible, in seven kinds of books.
    Verses,
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fashion => write!(f, "Fashion-MNIST sample"),
            Self::NoisyFashion => write!(f, "Fashion-MNIST sample on noise"),
            Self::Scenes => write!(f, "scenes"),
            Self::ColouredScenes => write!(f, "scenes of typical hues"),
            Self::Verses => write!(f, "Bible verses"),
        }
    }
}

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

/// Classes of all images; of the verses there are fewer.
const CLASSES: usize = 10;

/// Neighbours that vote, and their temperature.
const NEIGHBOURS: usize = 10;
const TEMPERATURE: f32 = 0.07;

/// What one seed draws: images to train on, labelled images and test images.
struct Drawn {
    unlabelled: Images,
    labelled: Images,
    judged: Images,
    modality: Modality,
}

fn of_classes(images: &Images, wanted: impl Fn(u16) -> bool) -> Images {
    let kept: Vec<u32> = (0..images.n as u32)
        .filter(|i| wanted(images.labels[*i as usize]))
        .collect();
    images.select(&kept)
}

fn all(images: &Images) -> Vec<u32> {
    (0..images.n as u32).collect()
}

fn first(images: &Images, n: usize) -> Images {
    images.select(&all(images)[..images.n.min(n)])
}

/// Training images of a seed, and test images that are the same for all.
fn scenes(images: usize, seed: u64, style: SceneStyle) -> (Images, Images) {
    const TEST: (usize, u64) = (2000, u64::MAX);
    let make = |n, seed| {
        let scenes = Scenes {
            n,
            side: 32,
            seed,
            style,
        };
        scenes.images().0
    };
    (make(images, seed), make(TEST.0, TEST.1))
}

/// The workflow's, of which the last are for testing: they are in random order.
fn verses(texts: usize, seed: u64) -> (Images, Images, Modality) {
    const TEST: usize = 1050;
    const WORDS: usize = 2000;
    const LENGTH: usize = 32;
    let lines: Vec<(&str, &str)> = include_str!("../../../workflows/masked_token/verses.tsv")
        .lines()
        .map(|line| line.split_once('\t').expect("a class and a text"))
        .collect();
    let kinds: BTreeSet<&str> = lines.iter().map(|(kind, _)| *kind).collect();
    let (train, test) = lines.split_at(lines.len() - TEST);
    let order = Stream::new(seed, "trial").permutation(train.len());
    let train: Vec<_> = order[..texts].iter().map(|i| train[*i as usize]).collect();
    let vocabulary = Vocabulary::learn(train.iter().map(|(_, text)| *text), WORDS);
    let encoded = |lines: &[(&str, &str)]| {
        let texts: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
        let label = |kind| kinds.iter().position(|k| k == kind).expect("listed") as u16;
        let labels = lines.iter().map(|(kind, _)| label(kind)).collect();
        vocabulary.encode(&texts, LENGTH, labels).expect("a label each")
    };
    (encoded(&train), encoded(test), vocabulary.modality())
}

impl Data {
    /// Training and test examples: a part of their own for each seed, the test examples always the same.
    fn draw(self, count: usize, seed: u64) -> (Images, Images, Modality) {
        let of_images = |(train, test)| (train, test, Modality::Images);
        match self {
            Self::Fashion => {
                let (train, test) = fashion_mnist::sample().expect("embedded");
                let order = Stream::new(seed, "trial").permutation(train.n);
                of_images((train.select(&order[..count]), test))
            }
            Self::NoisyFashion => {
                let (train, test, _) = Self::Fashion.draw(count, seed);
                let [of_train, of_test] = [seed, u64::MAX].map(|seed| Stream::new(seed, "background"));
                of_images((on_noise(&train, &of_train), on_noise(&test, &of_test)))
            }
            Self::Scenes => of_images(scenes(count, seed, SceneStyle::CALM)),
            Self::ColouredScenes => {
                let style = SceneStyle {
                    typical: 0.8,
                    ..SceneStyle::CALM
                };
                of_images(scenes(count, seed, style))
            }
            Self::Verses => verses(count, seed),
        }
    }
}

impl Judged {
    /// Accuracies on features `[n][dim]` of labelled and of test images.
    fn of(features: [&[f32]; 2], drawn: &Drawn, dim: usize) -> Self {
        let labels = |images: &Images| -> Vec<usize> { images.labels.iter().map(|l| usize::from(*l)).collect() };
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
        if let Modality::Texts { vocabulary, .. } = drawn.modality {
            let bags = |texts: &Images| bag_of_words(texts, &all(texts), vocabulary);
            let (known, asked) = (bags(&drawn.labelled), bags(&drawn.judged));
            return Self::of([&known, &asked], drawn, asked.len() / drawn.judged.n);
        }
        let pixels = |images: &Images| -> Vec<f32> { images.pixels.iter().map(|v| f32::from(*v) / 255.0).collect() };
        let dim = drawn.judged.pixels.len() / drawn.judged.n;
        Self::of([&pixels(&drawn.labelled), &pixels(&drawn.judged)], drawn, dim)
    }

    fn of_encoder(encoder: &mut Encoder, drawn: &Drawn, augmenter: &Augmenter) -> Self {
        let mut features = |images: &Images| embed(encoder, images, &all(images), augmenter);
        let (known, asked) = (features(&drawn.labelled), features(&drawn.judged));
        Self::of([&known, &asked], drawn, encoder.dim)
    }
}

impl Trial {
    fn draw(&self, seed: u64) -> Drawn {
        let (train, test, modality) = self.data.draw(self.images, seed);
        if self.data == Data::ColouredScenes {
            return Drawn {
                labelled: black_and_white(&first(&train, self.labelled)),
                judged: black_and_white(&first(&test, self.judged)),
                unlabelled: train,
                modality,
            };
        }
        if !self.transfers {
            return Drawn {
                labelled: first(&train, self.labelled),
                judged: first(&test, self.judged),
                unlabelled: train,
                modality,
            };
        }
        let seen = |label: u16| usize::from(label) < CLASSES / 2;
        Drawn {
            labelled: first(&of_classes(&train, |l| !seen(l)), self.labelled),
            judged: first(&of_classes(&test, |l| !seen(l)), self.judged),
            unlabelled: of_classes(&train, seen),
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
        let images = &drawn.unlabelled;
        if drawn.modality.is_text() {
            return Augmenter::texts(images.height, drawn.modality);
        }
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
