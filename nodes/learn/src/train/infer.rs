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

/// Class probabilities of the images at `indices`, `[indices][classes]`.
pub fn predict(classifier: &mut Classifier, images: &Samples, indices: &[u32], augmenter: &Augmenter) -> Vec<f32> {
    let buffers = classifier.encoder.buffers();
    let mut probabilities = Vec::with_capacity(indices.len() * classifier.classes);
    for batch in indices.chunks(BATCH) {
        let mut pass = Pass::inference(&buffers);
        let features = forward(&mut classifier.encoder, images, batch, augmenter, &mut pass);
        let logits = classifier.head.forward(features, &mut pass);
        probabilities.extend(losses::probabilities(&logits.data, classifier.classes, 1.0));
    }
    probabilities
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
