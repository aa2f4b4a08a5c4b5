//! Using a network: features and class probabilities of images as they are, with running statistics and no augmentation.

use super::Classifier;
use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Samples;
use crate::layers::{FeatureMap, Layer, Pass};
use crate::losses;

/// Images per pass; a result does not depend on it.
const BATCH: usize = 256;

/// Features of the images at `indices`, `[indices][encoder.dim]`.
pub fn embed(encoder: &mut Encoder, images: &Samples, indices: &[u32], augmenter: &Augmenter) -> Vec<f32> {
    let buffers = encoder.buffers();
    let mut features = Vec::with_capacity(indices.len() * encoder.dim);
    for batch in indices.chunks(BATCH) {
        let y = forward(encoder, images, batch, augmenter, &mut Pass::inference(&buffers));
        features.extend_from_slice(&y.data);
    }
    features
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
pub fn outputs(classifier: &mut Classifier, images: &Samples, indices: &[u32], augmenter: &Augmenter) -> Outputs {
    let buffers = classifier.encoder.buffers();
    let mut outputs = Outputs::default();
    for batch in indices.chunks(BATCH) {
        let mut pass = Pass::inference(&buffers);
        let features = forward(&mut classifier.encoder, images, batch, augmenter, &mut pass);
        outputs.features.extend_from_slice(&features.data);
        let logits = classifier.head.forward(features, &mut pass);
        outputs.logits.extend_from_slice(&logits.data);
    }
    outputs
}

/// Class probabilities of the images at `indices`, `[indices][classes]`.
pub fn predict(classifier: &mut Classifier, images: &Samples, indices: &[u32], augmenter: &Augmenter) -> Vec<f32> {
    let logits = outputs(classifier, images, indices, augmenter).logits;
    losses::probabilities(&logits, classifier.classes, 1.0)
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
