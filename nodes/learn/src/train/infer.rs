//! Using a network: features and class probabilities of images as they are, with running statistics and no augmentation.

use super::Classifier;
use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Samples;
use crate::device::DeviceError;
use crate::layers::{FeatureMap, Layer, Pass};
use crate::losses;

/// Images per pass of [`embed`]; a result does not depend on it.
pub const EMBED_BATCH: usize = 256;

/// Features of the images at `indices`, `[indices][encoder.dim]`.
///
/// # Errors
/// The device's.
pub fn embed(
    encoder: &mut Encoder,
    images: &Samples,
    indices: &[u32],
    augmenter: &Augmenter,
) -> Result<Vec<f32>, DeviceError> {
    let buffers = encoder.buffers();
    let mut features = Vec::with_capacity(indices.len() * encoder.dim);
    for batch in indices.chunks(EMBED_BATCH) {
        let y = forward(encoder, images, batch, augmenter, &mut Pass::inference(&buffers));
        features.extend_from_slice(&y.data);
        encoder.device.check()?;
    }
    Ok(features)
}

/// What a classifier gives for images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Of the encoder, `[images][encoder.dim]`.
    pub features: Vec<f32>,
    /// Of the head, `[images][classes]`.
    pub logits: Vec<f32>,
}

/// Features and logits of the images at `indices`.
///
/// # Errors
/// The device's.
pub fn outputs(
    classifier: &mut Classifier,
    images: &Samples,
    indices: &[u32],
    augmenter: &Augmenter,
) -> Result<Outputs, DeviceError> {
    let buffers = classifier.encoder.buffers();
    let mut outputs = Outputs::default();
    for batch in indices.chunks(EMBED_BATCH) {
        let mut pass = Pass::inference(&buffers);
        let features = forward(&mut classifier.encoder, images, batch, augmenter, &mut pass);
        outputs.features.extend_from_slice(&features.data);
        let logits = classifier.head.forward(features, &mut pass);
        outputs.logits.extend_from_slice(&logits.data);
        classifier.encoder.device.check()?;
    }
    Ok(outputs)
}

/// Class probabilities of the images at `indices`, `[indices][classes]`.
///
/// # Errors
/// The device's.
pub fn predict(
    classifier: &mut Classifier,
    images: &Samples,
    indices: &[u32],
    augmenter: &Augmenter,
) -> Result<Vec<f32>, DeviceError> {
    let logits = outputs(classifier, images, indices, augmenter)?.logits;
    Ok(losses::probabilities(&logits, classifier.classes, 1.0))
}

/// One batch of images without augmentation through the encoder.
fn forward(
    encoder: &mut Encoder,
    images: &Samples,
    batch: &[u32],
    augmenter: &Augmenter,
    pass: &mut Pass,
) -> FeatureMap {
    let mut x = pass.map(batch.len(), encoder.input);
    augmenter.plain_batch(images, batch, &mut x.data);
    encoder.forward(x, pass)
}
