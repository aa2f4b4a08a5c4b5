//! A classifier, and the images that it is fitted to.

use super::{TrainError, embed};
use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Samples;
use crate::layers::{Linear, tensors};
use crate::metrics::argmaxes;
use crate::probe::Probe;
use crate::rng::Stream;
use crate::settings::SettingError;

/// Said where nothing is labelled.
pub(super) const NO_LABELS: &str = "there are no labelled images to fit";

/// An encoder with a linear head.
pub struct Classifier {
    /// Image to features.
    pub encoder: Encoder,
    /// Features to logits.
    pub head: Linear,
    /// Number of classes.
    pub classes: usize,
}

impl Classifier {
    /// A classifier with a fresh head.
    pub fn new(encoder: Encoder, classes: usize, stream: &Stream) -> Self {
        let head = Linear::new(encoder.dim, classes, true, &mut stream.child("head"));
        Self { encoder, head, classes }
    }

    /// A classifier whose head is the linear probe of the labelled examples: fine-tuning then starts where the frozen features
    /// already are, instead of bending them to a random head (Kumar et al. 2022, 2202.10054, LP-FT).
    ///
    /// # Errors
    /// If there are no labelled examples; the device's.
    pub fn with_probe_head(
        mut encoder: Encoder,
        classes: usize,
        labelled: &Examples<'_>,
        plain: &Augmenter,
    ) -> Result<Self, TrainError> {
        if labelled.indices.is_empty() {
            return Err(SettingError::new("data", NO_LABELS).into());
        }
        let features = embed(&mut encoder, labelled.images, labelled.indices, plain)?;
        let labels: Vec<usize> = argmaxes(labelled.targets, classes).collect();
        let (weight, bias) = Probe::fit(&features, &labels, encoder.dim, classes).affine();
        Ok(Self {
            encoder,
            head: Linear::from_weights(weight, bias),
            classes,
        })
    }
}

tensors!(Classifier: encoder, head);

/// Images with a target distribution each.
#[derive(Clone, Debug)]
pub struct Examples<'a> {
    /// The images, of which some are examples.
    pub images: &'a Samples,
    /// Which.
    pub indices: &'a [u32],
    /// `[indices][classes]`, rows sum to one.
    pub targets: &'a [f32],
}

/// Images without labels.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    /// The images; their labels are looked at by the monitor only.
    pub images: &'a Samples,
    /// Which.
    pub indices: &'a [u32],
    /// Makes their second views, if not what makes the first.
    pub strong: Option<&'a Augmenter>,
}
