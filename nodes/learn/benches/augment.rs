//! Time of one augmented view on one core. `cargo bench -p flow-learn --bench augment`

use divan::Bencher;
use divan::counter::ItemsCount;
use flow_learn::augment::{Augmenter, Op, Recipe};
use flow_learn::data::{Images, Samples, Scenes};
use flow_learn::rng::Stream;

const BATCH: usize = 256;

fn main() {
    divan::main();
}

/// Grayscale images of Fashion-MNIST's size.
fn gray() -> Images {
    let mut stream = Stream::new(1, "bench");
    let pixels = (0..BATCH * 28 * 28).map(|_| stream.below(256) as u8).collect();
    Images::new(28, 28, 1, pixels, vec![0; BATCH]).expect("sizes fit")
}

/// The aim is below 15 us an image.
fn crop_flip_brightness_contrast() -> Recipe {
    let jitter = Op::ColorJitter {
        p: 1.0,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.0,
        hue: 0.0,
    };
    let crop = Op::RandomResizedCrop {
        scale: [0.2, 1.0],
        ratio: [0.75, 4.0 / 3.0],
    };
    Recipe {
        ops: vec![crop, Op::HorizontalFlip { p: 0.5 }, jitter],
    }
}

/// Views a second of `recipe`, on one thread so that the figure is that of one core.
fn views(bencher: Bencher, images: &Images, recipe: &Recipe) {
    let (mean, std) = images.channel_statistics();
    let augmenter = Augmenter::new(recipe, &mean, &std, images.height, images.width).expect("a valid recipe");
    let indices: Vec<u32> = (0..BATCH as u32).collect();
    let mut out = vec![0.0; images.pixels().len()];
    let samples = Samples::from(images.clone());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let stream = Stream::new(1, "views");
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| one.install(|| augmenter.augment_batch(&samples, &indices, &stream, &mut out)));
}

#[divan::bench]
fn gray_28_crop_flip_brightness_contrast(bencher: Bencher) {
    views(bencher, &gray(), &crop_flip_brightness_contrast());
}

#[divan::bench(args = ["none", "weak", "simclr-gray", "strong-gray"])]
fn gray_28(bencher: Bencher, name: &str) {
    views(bencher, &gray(), &Recipe::named(name).expect("a shipped recipe"));
}

#[divan::bench(args = ["none", "weak", "simclr", "strong"])]
fn colour_32(bencher: Bencher, name: &str) {
    let images = Scenes {
        n: BATCH,
        side: 32,
        seed: 1,
        style: Default::default(),
    }
    .images()
    .0;
    views(bencher, &images, &Recipe::named(name).expect("a shipped recipe"));
}

/// Building the random stream of one image.
#[divan::bench]
fn stream_of_an_image(bencher: Bencher) {
    let family = Stream::new(1, "views");
    let mut i = 0;
    bencher.bench_local(|| {
        i += 1;
        family.index(i).bits()
    });
}
