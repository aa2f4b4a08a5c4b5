//! Any MNIST-like set of four IDX files, gzipped or not.

use std::path::PathBuf;

use flow_engine::node::NodeError;
use flow_learn::data::{Images, parse_images, parse_labels};

use super::{Labelled, Loaded, Source, SourceSettings, read_file};

/// MNIST's own file names; the data set's may be gzipped under the same names.
pub(super) const FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

/// Four IDX files in a folder.
pub(super) const IDX: Source = Source {
    name: "idx",
    takes: &["path"],
    files: &FILES,
    check: |_| Ok(()),
    shape: |_| None,
    load,
};

fn load(_settings: &SourceSettings, files: &[PathBuf]) -> Result<Loaded, NodeError> {
    let [train_images, train_labels, test_images, test_labels] = files else {
        return Err(NodeError::failed("BUG: an idx source has four files"));
    };
    let train = read_pair(train_images, train_labels)?;
    let test = read_pair(test_images, test_labels)?;
    let classes = train
        .labels
        .iter()
        .chain(&test.labels)
        .max()
        .map_or(0, |l| usize::from(*l) + 1);
    Ok(Loaded::Images(Box::new(Labelled {
        train,
        test,
        class_names: (0..classes).map(|c| c.to_string()).collect(),
        annotations: None,
    })))
}

/// Images and labels of two files.
pub(super) fn read_pair(images: &PathBuf, labels: &PathBuf) -> Result<Images, NodeError> {
    let broken = |path: &PathBuf, e: String| {
        NodeError::failed(format!("{}: {e}", path.display()))
            .with_help("check that the file is whole, or download it again")
    };
    let (image_bytes, label_bytes) = (read_file(images)?, read_file(labels)?);
    let (n, height, width, pixels) = parse_images(&image_bytes).map_err(|e| broken(images, e.to_string()))?;
    let values = parse_labels(&label_bytes).map_err(|e| broken(labels, e.to_string()))?;
    if values.len() != n {
        return Err(broken(labels, format!("{} labels for {n} images", values.len())));
    }
    let values = values.iter().map(|v| u16::from(*v)).collect();
    Images::new(height, width, 1, pixels.to_vec(), values).map_err(|e| broken(images, e.to_string()))
}
