//! Fashion-MNIST (Xiao et al. 2017, 1708.07747): the embedded sample, and all 70,000 images from the original files.

use std::path::{Path, PathBuf};

use flow_engine::node::{Host, NodeError};
use flow_learn::data::{Images, stratified};
use flow_learn::rng::Stream;
use sha2::{Digest, Sha256};

use super::background::{Background, on_noise};
use super::colour::{Colour, dyed, in_three_channels};
use super::idx::{FILES, read_pair};
use super::read::read_file;
use super::{Labelled, Loaded, Source, SourceSettings, SourceShape, check_count};
use crate::failure::{at_with, failure};
use crate::quiet::Quiet;

/// Names of the classes.
pub const CLASS_NAMES: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// SHA-256 of the unpacked files, in the order of [`FILES`]: the publisher's archives and Debian's differ in their gzip headers.
const CHECKSUMS: [&str; 4] = [
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
];

/// See `nodes/data/README.md`.
static EMBEDDED: &[u8] = include_bytes!("../../data/fashion_mnist_sample.bin.zst");

/// 10,000 training and 2,000 test images, equal numbers of each class, in the binary.
pub(super) const SAMPLE: Source = Source {
    name: "fashion-mnist-sample",
    takes: &["train", "colour", "background"],
    files: &[],
    in_memory: true,
    check: |settings| match settings.train {
        Some(wanted) if wanted > SAMPLE_TRAIN => Err(at_with(
            "train",
            format!("{wanted} found, but the source has only {SAMPLE_TRAIN} training images"),
            format!("ask for at most {SAMPLE_TRAIN}"),
        )),
        // In equal shares of the classes, so at least one of each.
        train => check_count("train", train, CLASS_NAMES.len()..=SAMPLE_TRAIN, "images"),
    },
    shape: |settings, _| {
        let channels = if settings.colour.is_some() { 3 } else { 1 };
        let counts = [settings.train.unwrap_or(SAMPLE_TRAIN), 2_000];
        Ok(Some(SourceShape::images([28, 28, channels], &CLASS_NAMES, counts)))
    },
    load: |settings, _, _| {
        let (train, test) = sample()?;
        let (train, test) = grounded(part(train, settings)?, test, settings);
        Ok(match settings.colour {
            None => loaded(train, test),
            Some(Colour::Gray) => loaded(in_three_channels(&train), in_three_channels(&test)),
            Some(Colour::Dyed) => loaded(dyed(&train, CLASS_NAMES.len(), settings.seed), in_three_channels(&test)),
        })
    },
};

/// All 70,000 images.
pub(super) const FULL: Source = Source {
    name: "fashion-mnist",
    takes: &["path"],
    files: &FILES,
    in_memory: true,
    check: |_| Ok(()),
    shape: |_, _| Ok(Some(SourceShape::images([28, 28, 1], &CLASS_NAMES, [60_000, 10_000]))),
    load: |_, files, host| {
        let (train, test) = load_files(files, host)?;
        Ok(loaded(train, test))
    },
};

/// Training images of the sample.
const SAMPLE_TRAIN: usize = 10_000;

/// As many training images as asked for, in equal shares of the classes.
fn part(train: Images, settings: &SourceSettings) -> Result<Images, NodeError> {
    match settings.train {
        Some(count) if count < train.n => {
            let stream = Stream::new(settings.seed, "part");
            let labels: Vec<u16> = train.labels.iter().copied().flatten().collect();
            let kept = stratified(&labels, CLASS_NAMES.len(), count, &stream).map_err(failure)?;
            Ok(train.select(&kept))
        }
        _ => Ok(train),
    }
}

/// Training and test images on the background asked for.
fn grounded(train: Images, test: Images, settings: &SourceSettings) -> (Images, Images) {
    let Some(Background::Noise) = settings.background else {
        return (train, test);
    };
    let stream = Stream::new(settings.seed, "background");
    let [of_train, of_test] = ["train", "test"].map(|part| stream.child(part));
    (on_noise(&train, &of_train), on_noise(&test, &of_test))
}

fn loaded(train: Images, test: Images) -> Loaded {
    Loaded::Images(Box::new(Labelled {
        train,
        test,
        class_names: CLASS_NAMES.map(str::to_owned).to_vec(),
        annotations: None,
    }))
}

/// Training and test images of the embedded sample.
///
/// # Errors
/// If the binary was damaged.
pub fn sample() -> Result<(Images, Images), NodeError> {
    unpacked(EMBEDDED)
}

fn unpacked(sample: &[u8]) -> Result<(Images, Images), NodeError> {
    let bytes = zstd::decode_all(sample).map_err(failure)?;
    let damaged = || NodeError::failed("the embedded Fashion-MNIST sample is damaged: install flow again");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (train, test) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(damaged)?;
    Ok((
        Images::decode(train.to_vec()).map_err(failure)?,
        Images::decode(test.to_vec()).map_err(failure)?,
    ))
}

/// Training and test images of the original files in `folder`.
///
/// # Errors
/// If a file is missing or not the original one.
pub fn load(folder: &Path) -> Result<(Images, Images), NodeError> {
    // They are 47 MB: no host is asked for room.
    load_files(&FILES.map(|name| folder.join(name)), &Quiet)
}

fn load_files(files: &[PathBuf], host: &dyn Host) -> Result<(Images, Images), NodeError> {
    for (path, expected) in files.iter().zip(CHECKSUMS) {
        let bytes = read_file(path)?;
        let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        if found != expected {
            return Err(NodeError::failed(format!(
                "{} has the wrong checksum\n  expected {expected}\n  found    {found}",
                path.display()
            ))
            .with_help("download it again; for another data set in this format use `source = \"idx\"`"));
        }
    }
    let [train_images, train_labels, test_images, test_labels] = files else {
        return Err(NodeError::failed("BUG: Fashion-MNIST has four files"));
    };
    Ok((
        read_pair(train_images, train_labels, host)?,
        read_pair(test_images, test_labels, host)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_sample_has_equal_classes_and_pinned_bytes() {
        let (train, test) = sample().expect("the sample can be read");
        for (images, per_class) in [(&train, 1_000), (&test, 200)] {
            for class in 0..10 {
                assert_eq!(images.labels.iter().filter(|l| **l == Some(class)).count(), per_class);
            }
        }
        let found: String = Sha256::digest(EMBEDDED).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            found, "8e69af99cf955079c913e4c900280376c9feb4cd5221287d5050dc0cf47b038a",
            "every result on the sample depends on these bytes"
        );
        assert!(EMBEDDED.len() <= 6_000_000);
    }

    #[test]
    fn a_damaged_sample_says_what_to_do() {
        let damaged = zstd::encode_all(&[0_u8; 2][..], 0).expect("packed");
        let error = unpacked(&damaged).map(|_| ()).expect_err("it is too short");
        insta::assert_snapshot!(error);
    }
}
