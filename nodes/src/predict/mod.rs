//! A trained network used on images that no workflow knows: the same reading, orientation, resizing and normalisation as in training.

mod best;
mod origin;
mod rank;
pub mod table;

use std::path::PathBuf;
use std::sync::Arc;

use flow_cache::{Record, Store};
use flow_engine::node::NodeError;
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::calibration::temperature;
use flow_learn::data::{Depth, Images, Samples};
use flow_learn::device::Device;
use flow_learn::losses::probabilities;
use flow_learn::metrics::argmaxes;
use flow_learn::train::{embed, outputs};
use rayon::prelude::*;

pub use self::best::{Best, best};
use self::origin::Origin;
pub use self::rank::{Chosen, Rank, Ranking};
use crate::artifacts::{Dataset, SplitName, TrainedNetwork};
use crate::failure::{device_failure, failure};
use crate::pictures::{Content, Fault, Fitting, Item, decode, decode_bytes, stream};

/// A network with all that it takes to use it on image files.
pub struct Predictor {
    network: TrainedNetwork,
    augmenter: Augmenter,
    fitting: Fitting,
    origin: Origin,
    calibration: Option<Calibration>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

/// What probabilities were made true with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Logits are divided by it.
    pub temperature: f32,
    /// Validation images that it is from.
    pub images: usize,
}

/// Images that went through the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What each is called.
    pub paths: Vec<PathBuf>,
    /// `[paths][dim]`.
    pub features: Vec<f32>,
    /// `[paths][classes]`, not calibrated; empty of an encoder.
    pub logits: Vec<f32>,
}

/// A file that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// What it is called.
    pub path: PathBuf,
    /// In words.
    pub why: String,
}

/// Why images do not go through a network.
#[derive(Debug)]
pub enum PredictError {
    /// A folder cannot be read.
    Input(Fault),
    /// What the receiver of a batch, or the device, could not do.
    Output(String),
}

impl From<Fault> for PredictError {
    fn from(fault: Fault) -> Self {
        Self::Input(fault)
    }
}

impl Predictor {
    /// The network of an entry on a device, calibrated if it is a classifier with validation images.
    ///
    /// # Errors
    /// If the entry holds no network of images, or it cannot be read; the device's.
    pub fn open(store: &Store, record: &Record, device: Arc<dyn Device>) -> Result<Self, NodeError> {
        let mut network = origin::network(store, record)?;
        let (encoder, normalisation) = match &mut network {
            TrainedNetwork::Encoder(artifact) => (&mut artifact.encoder, &artifact.normalisation),
            TrainedNetwork::Model(artifact) => (&mut artifact.classifier.encoder, &artifact.normalisation),
        };
        encoder.device = device;
        if encoder.modality.is_text() {
            return Err(failure("the network takes texts, and only images are read here"));
        }
        let augmenter = normalisation.augmenter(&Recipe::default(), encoder.takes())?;
        let (origin, notes) = Origin::of(store, record)?;
        let fitting = origin.fitting(encoder.input);
        let mut predictor = Self {
            network,
            augmenter,
            fitting,
            origin,
            calibration: None,
            notes,
        };
        predictor.calibrate()?;
        Ok(predictor)
    }

    /// Names of the classes in the order of the logits; none of an encoder.
    pub fn class_names(&self) -> &[String] {
        match &self.network {
            TrainedNetwork::Encoder(_) => &[],
            TrainedNetwork::Model(model) => &model.head.class_names,
        }
    }

    /// Features of an image.
    pub fn dim(&self) -> usize {
        match &self.network {
            TrainedNetwork::Encoder(artifact) => artifact.encoder.dim,
            TrainedNetwork::Model(artifact) => artifact.classifier.encoder.dim,
        }
    }

    /// What its probabilities were made true with, if there were validation images.
    pub fn calibration(&self) -> Option<Calibration> {
        self.calibration
    }

    /// Calibrated probabilities of logits, row by row.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        let temperature = self.calibration.map_or(1.0, |calibration| calibration.temperature);
        probabilities(logits, self.class_names().len(), temperature)
    }

    /// The class of each row, by its place among the names: the most probable one, as it is judged.
    pub fn classes(&self, logits: &[f32]) -> Vec<usize> {
        let classes = self.class_names().len();
        argmaxes(&probabilities(logits, classes, 1.0), classes).collect()
    }

    fn calibrate(&mut self) -> Result<(), NodeError> {
        let TrainedNetwork::Model(_) = &self.network else {
            return Ok(());
        };
        let Some((images, truth)) = self.origin.validation(self.class_names())? else {
            return Ok(());
        };
        let (_, logits) = self.forward(&images)?;
        self.calibration = Some(Calibration {
            temperature: temperature(&logits, &truth, self.class_names().len()),
            images: truth.len(),
        });
        Ok(())
    }

    /// Features and logits of images of the network's size.
    fn forward(&mut self, images: &Samples) -> Result<(Vec<f32>, Vec<f32>), NodeError> {
        let all: Vec<u32> = (0..images.n() as u32).collect();
        let found = match &mut self.network {
            TrainedNetwork::Encoder(artifact) => {
                embed(&mut artifact.encoder, images, &all, &self.augmenter).map(|features| (features, Vec::new()))
            }
            TrainedNetwork::Model(artifact) => outputs(&mut artifact.classifier, images, &all, &self.augmenter)
                .map(|found| (found.features, found.logits)),
        };
        found.map_err(|e| device_failure(&e))
    }

    /// Features of the labelled images that the network was trained with; none if they are not in the cache.
    fn labelled_features(&mut self) -> Result<Vec<f32>, NodeError> {
        match self.origin.labelled()? {
            Some(images) => Ok(self.forward(&images)?.0),
            None => Ok(Vec::new()),
        }
    }

    /// Gives `each` the outputs for the images at `paths` (see [`stream`]), a batch at a time and in order; those that cannot be read are
    /// returned.
    ///
    /// # Errors
    /// If a folder cannot be read, or what `each` returns.
    pub fn run(
        &mut self,
        paths: &[PathBuf],
        mut each: impl FnMut(&Self, Batch) -> Result<(), String>,
    ) -> Result<Vec<BadFile>, PredictError> {
        let mut bad = Vec::new();
        stream(paths, |items| {
            let batch = self
                .batch(items, &mut bad)
                .map_err(|e| PredictError::Output(e.to_string()))?;
            match batch.paths.is_empty() {
                true => Ok(()),
                false => each(self, batch).map_err(PredictError::Output),
            }
        })?;
        Ok(bad)
    }

    fn batch(&mut self, items: Vec<Item>, bad: &mut Vec<BadFile>) -> Result<Batch, NodeError> {
        let fitting = self.fitting;
        let read = |item: Item| {
            let picture = match &item.content {
                Content::File => decode(&item.path, &fitting.reading),
                Content::Bytes(bytes) => decode_bytes(bytes, &fitting.reading),
                Content::Unreadable(why) => Err(why.clone()),
            };
            (item.path, picture.and_then(|picture| fitting.apply(&picture)))
        };
        let read: Vec<_> = items.into_par_iter().map(read).collect();
        let (mut paths, mut pixels) = (Vec::new(), Vec::new());
        for (path, image) in read {
            match image {
                Ok(values) => {
                    paths.push(path);
                    // As they are in a data set of 16 bits: values of 8 are the same in it.
                    pixels.extend(values.sixteen().iter().flat_map(|v| v.to_le_bytes()));
                }
                Err(why) => bad.push(BadFile { path, why }),
            }
        }
        let labels = vec![None; paths.len()];
        let (h, w) = fitting.size;
        let images = Images::of_depth([h, w, fitting.channels], Depth::Sixteen, pixels.into(), labels)
            .expect("BUG: every fitted image has the network's size");
        let (features, logits) = self.forward(&images.into())?;
        Ok(Batch {
            paths,
            features,
            logits,
        })
    }
}

/// The images of a split with their classes, if there are such.
fn judged(data: &Dataset, split: SplitName) -> Option<(Samples, Vec<usize>)> {
    let images = data.split(split).ok()?;
    Some((images.clone(), data.truth(split).ok()?))
}
