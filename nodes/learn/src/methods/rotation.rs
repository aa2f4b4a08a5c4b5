//! Rotation (RotNet, Gidaris et al. 2018, 1803.07728): tell by how many quarter turns an image was rotated.
//!
//! All four rotations of each image are in one batch; the loss is the cross-entropy of a linear 4-way head, averaged over
//! the 4N (eq. 3). The paper trains with SGD, Nesterov, lr .1 and weight decay 5e-4.
//!
//! Traps: rotations are exact transposes and flips, as interpolation would give the answer away; views must not rotate or flip upside down. The
//! last layers know about rotation only: earlier ones may transfer better (its table 1).

use super::{Batch, Method, MethodConstraints, MethodError, Metric, Settings, Setup, Shown, StepOutcome};
use crate::backbones::Encoder;
use crate::image::{Size, rotate_90_ccw};
use crate::layers::{FeatureMap, Layer, Linear, MapShape, Pass, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::argmax;
use crate::settings::settings;

settings! {
    /// RotNet has no hyper-parameters of its own.
    pub struct RotationSettings {}
}

impl Settings for RotationSettings {
    fn name(&self) -> &'static str {
        "rotation"
    }

    fn views(&self) -> f64 {
        4.0
    }

    fn guessing(&self) -> Option<f64> {
        Some(0.25)
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let MapShape { h, w, .. } = constraints.image;
        if h != w {
            let message = format!("rotation needs square images, found {h}x{w}");
            return Err(MethodError::setting("method", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        Ok(Box::new(Rotation {
            head: Linear::new(setup.encoder.dim, 4, true, &mut setup.stream.child("head")),
        }))
    }
}

struct Rotation {
    head: Linear,
}

impl Method for Rotation {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let views = turned(encoder.input, batch, pass);
        let labels: Vec<usize> = (0..4)
            .flat_map(|turns| std::iter::repeat_n(turns, batch.indices.len()))
            .collect();

        let features = encoder.forward(views, pass);
        let logits = self.head.forward(features, pass);
        let right = logits
            .data
            .chunks_exact(4)
            .zip(&labels)
            .filter(|(row, label)| argmax(row) == **label)
            .count();
        let (n, shape) = (logits.n, logits.shape);
        let (loss, [gradient]) = value_and_grads([(logits.data.to_vec(), (n, 4))], |[logits]| {
            cross_entropy(logits, &labels, 0.0)
        })?;

        if let Some(dfeatures) = self.head.backward(FeatureMap::new(n, shape, gradient), pass, true) {
            encoder.backward(dfeatures, pass, false);
        }
        Ok(StepOutcome {
            loss,
            metrics: vec![Metric::accuracy(right, n)],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let views = turned(encoder.input, batch, pass);
        let of_turns = views.data.chunks_exact(views.data.len() / 4).enumerate();
        let shown = |(turns, views): (usize, &[f32])| {
            Shown::of_images(
                format!("turned by {}°", 90 * turns),
                views.to_vec(),
                encoder.input,
                batch,
            )
        };
        of_turns.map(shown).collect()
    }
}

/// A view of each image, then all of them turned by one, two and three quarters.
fn turned(image: MapShape, batch: &Batch<'_>, pass: &Pass) -> FeatureMap {
    let mut views = batch.map(4, image, pass);
    let quarter = views.data.len() / 4;
    batch.view_into("view", &mut views.data[..quarter]);
    let MapShape { h, w, c } = image;
    for turns in 1..4 {
        let (before, after) = views.data.split_at_mut(turns * quarter);
        let previous = before[(turns - 1) * quarter..].chunks_exact(image.len());
        for (from, to) in previous.zip(after[..quarter].chunks_exact_mut(image.len())) {
            rotate_90_ccw(from, Size { h, w, c }, to);
        }
    }
    views
}

tensors!(Rotation: head as "");
