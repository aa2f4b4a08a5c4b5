//! What trials learn from: a draw of images or texts for each seed, with a labelled part and test examples.

use std::collections::BTreeSet;

use flow_learn::data::{Images, Modality, Samples, SceneStyle, Scenes};
use flow_learn::rng::Stream;
use flow_learn::text::Vocabulary;
use flow_nodes::sources::background::on_noise;
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

/// Classes of all images; of the verses there are fewer.
pub(crate) const CLASSES: usize = 10;

/// What one seed draws: images to train on, labelled images and test images.
pub(crate) struct Drawn {
    pub unlabelled: Samples,
    pub labelled: Samples,
    pub judged: Samples,
    pub modality: Modality,
}

pub(crate) fn of_classes(samples: &Samples, wanted: impl Fn(u16) -> bool) -> Samples {
    let kept: Vec<u32> = (0..samples.n() as u32)
        .filter(|i| samples.labels()[*i as usize].is_some_and(&wanted))
        .collect();
    samples.select(&kept)
}

pub(crate) fn all(samples: &Samples) -> Vec<u32> {
    (0..samples.n() as u32).collect()
}

pub(crate) fn first(samples: &Samples, n: usize) -> Samples {
    samples.select(&all(samples)[..samples.n().min(n)])
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
fn verses(texts: usize, seed: u64) -> (Samples, Samples, Modality) {
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
    (encoded(&train).into(), encoded(test).into(), vocabulary.modality())
}

impl Data {
    /// Training and test examples: a part of their own for each seed, the test examples always the same.
    pub(crate) fn draw(self, count: usize, seed: u64) -> (Samples, Samples, Modality) {
        let of_images = |(train, test): (Images, Images)| (train.into(), test.into(), Modality::Images);
        let garments = || {
            let (train, test) = fashion_mnist::sample().expect("embedded");
            let order = Stream::new(seed, "trial").permutation(train.n);
            (train.select(&order[..count]), test)
        };
        match self {
            Self::Fashion => of_images(garments()),
            Self::NoisyFashion => {
                let (train, test) = garments();
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
