//! Makes the embedded sample of Fashion-MNIST from the four files of Debian's package `dataset-fashion-mnist`, to the byte.
//!
//! `cargo run --release -p flow-nodes --example make_fashion_sample -- /usr/share/datasets/fashion-mnist nodes/data/fashion_mnist_sample.bin.zst`

use std::error::Error;
use std::path::Path;

use flow_learn::data::{Images, stratified};
use flow_learn::rng::Stream;
use flow_nodes::sources::fashion_mnist::{CLASS_NAMES, load};

/// Decides which images are taken.
const SEED: u64 = 2017;
/// Images of each class that are taken, of 6,000 and 1,000.
const TRAIN: usize = 1_000;
const TEST: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = &arguments[..] else {
        return Err("usage: make_fashion_sample FOLDER_OF_THE_FOUR_GZ_FILES OUT_FILE".into());
    };
    let (train, test) = load(Path::new(folder))?;
    let pick = |images: &Images, per_class: usize, name: &str| -> Result<Images, Box<dyn Error>> {
        let classes = CLASS_NAMES.len();
        let labels: Vec<u16> = images.labels.iter().flatten().copied().collect();
        let chosen = stratified(&labels, classes, per_class * classes, &Stream::new(SEED, name))?;
        Ok(images.select(&chosen))
    };
    let (train, test) = (
        pick(&train, TRAIN, "train")?.encode(),
        pick(&test, TEST, "test")?.encode(),
    );
    let mut bytes = (train.len() as u32).to_le_bytes().to_vec();
    bytes.extend([train, test].concat());
    std::fs::write(out, zstd::encode_all(&bytes[..], 22)?)?;
    Ok(())
}
