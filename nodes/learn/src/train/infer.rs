//! Using a network: features and class probabilities of images as they are, with running statistics and no augmentation.

use super::Classifier;
use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Samples;
use crate::device::DeviceError;
use crate::layers::{Buffer, FeatureMap, Layer, MapShape, Pass};
use crate::losses;

/// The most images per pass of [`embed`], and pixels of them: 256 images of 32x32.
const EMBED_BATCH: usize = 256;
const EMBED_PIXELS: usize = EMBED_BATCH * 32 * 32;

/// Images of a shape per pass of [`embed`], so that large ones take no more memory than small ones; a result does not depend on it.
pub fn embed_batch(shape: MapShape) -> usize {
    (EMBED_PIXELS / (shape.h * shape.w).max(1)).clamp(1, EMBED_BATCH)
}

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
    let mut features = Trailing::default();
    for batch in indices.chunks(embed_batch(encoder.input)) {
        let y = forward(encoder, images, batch, augmenter, &mut Pass::inference(&buffers));
        features.push(y.data);
        encoder.device.check()?;
    }
    let features = features.finish();
    encoder.device.check()?;
    Ok(features)
}

/// Values of batch after batch, each looked at when a device has the next to work on.
#[derive(Default)]
struct Trailing {
    values: Vec<f32>,
    last: Option<Buffer>,
}

impl Trailing {
    fn push(&mut self, batch: Buffer) {
        batch.fetch_ahead();
        if let Some(before) = self.last.replace(batch) {
            self.values.extend_from_slice(&before);
        }
    }

    fn finish(mut self) -> Vec<f32> {
        self.values.extend(self.last.iter().flat_map(|last| last.iter()));
        self.values
    }
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
    let (mut all_features, mut all_logits) = (Trailing::default(), Trailing::default());
    for batch in indices.chunks(embed_batch(classifier.encoder.input)) {
        let mut pass = Pass::inference(&buffers);
        let features = forward(&mut classifier.encoder, images, batch, augmenter, &mut pass);
        all_features.push(features.data.clone());
        let logits = classifier.head.forward(features, &mut pass);
        all_logits.push(logits.data);
        classifier.encoder.device.check()?;
    }
    let (features, logits) = (all_features.finish(), all_logits.finish());
    classifier.encoder.device.check()?;
    Ok(Outputs { features, logits })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Recipe;
    use crate::backbones::BackboneSettings;
    use crate::data::Scenes;
    use crate::rng::Stream;

    #[test]
    fn large_images_go_through_the_network_in_small_batches_which_change_no_bit() {
        assert_eq!(
            [32, 64, 4096].map(|side| embed_batch(MapShape { h: side, w: side, c: 3 })),
            [256, 64, 1]
        );
        let images: Samples = Scenes {
            n: 66,
            side: 64,
            seed: 1,
            style: Default::default(),
        }
        .images()
        .0
        .into();
        let plain = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 64, 64).expect("valid");
        let mut encoder = BackboneSettings::named("conv4")
            .build(images.shape(), &Stream::new(1, "network"))
            .expect("valid");
        let all: Vec<u32> = (0..66).collect();
        let together = embed(&mut encoder, &images, &all, &plain).expect("the CPU does not fail");
        for i in [0, 63, 64, 65] {
            let alone = embed(&mut encoder, &images, &all[i..=i], &plain).expect("the CPU does not fail");
            assert_eq!(alone, together[i * encoder.dim..][..encoder.dim]);
        }
    }
}
