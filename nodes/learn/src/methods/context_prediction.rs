//! Context prediction (Doersch et al. 2015, 1505.05192): tell on which of the eight sides of a patch another patch lies.
//!
//! The trunk sees both patches by themselves; their features are concatenated and `L = CE(head(f_centre, f_neighbour), side)`.
//!
//! Traps (section 3.1): gaps and random places, or edges give the answer away; in colour, some pairs have all but one channel replaced by
//! noise, or chromatic aberration does.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{Norms, backward, matrix, mlp};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::shown::Shown;
use super::tiles::{Tiling, regroup, standardise};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{FeatureMap, Layer, MapShape, Pass, Sequential, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::argmaxes;
use crate::rng::Stream;
use crate::settings::{SHARE, WIDTH, settings};

settings! {
    /// Hyper-parameters.
    pub struct ContextPredictionSettings {
        /// Pairs of patches from each image of a batch.
        pairs: usize = 4, in 1..=64;
        /// Share of the pairs that keep one colour channel only; images of one channel have nothing to drop.
        colour_drop: f32 = 0.5, in SHARE;
        /// Width of the head's hidden layer.
        hidden: usize = 256, in WIDTH;
    }
}

const GRID: usize = 3;
const CENTRE: usize = 4;
const SIDES: usize = 8;

impl Settings for ContextPredictionSettings {
    fn name(&self) -> &'static str {
        "context-prediction"
    }

    fn views(&self) -> f64 {
        2.0 * self.pairs as f64 / (GRID * GRID) as f64
    }

    fn guessing(&self) -> Option<f64> {
        Some(1.0 / SIDES as f64)
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        Tiling::new(GRID, constraints.image).check(constraints)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [2 * setup.encoder.dim, self.hidden, SIDES];
        Ok(Box::new(ContextPrediction {
            settings: self.clone(),
            head: mlp(&widths, Norms::Hidden, &mut setup.stream.child("head")),
        }))
    }
}

struct ContextPrediction {
    settings: ContextPredictionSettings,
    head: Sequential,
}

impl Method for ContextPrediction {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let (patches, sides) = self.pairs(encoder.input, batch, pass);
        let pairs = sides.len();
        let features = encoder.forward(patches, pass);
        let (rows, width) = (features.n, features.shape);
        let logits = self.head.forward(regroup(features, pairs), pass);

        let guesses = argmaxes(&logits.data, SIDES);
        let right = guesses.zip(&sides).filter(|(guess, side)| guess == *side).count();
        let (loss, [dlogits]) = value_and_grads([matrix(&logits)], |[logits]| cross_entropy(logits, &sides, 0.0))?;

        let dlogits = FeatureMap::new(pairs, MapShape::vector(SIDES), dlogits);
        if let Some(dpairs) = self.head.backward(dlogits, pass, true) {
            backward(&mut [encoder], FeatureMap::new(rows, width, dpairs.data), pass);
        }
        Ok(StepOutcome {
            loss,
            metrics: vec![Metric::accuracy(right, pairs)],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let (patches, _) = self.pairs(encoder.input, batch, pass);
        let each = 2 * self.settings.pairs;
        let view = batch.view("view", encoder, pass);
        vec![
            Shown::of_images("view", view.data.to_vec(), view.shape, batch),
            Shown::of_tiles("centre and neighbour", &patches.data, patches.shape, 2, each),
        ]
    }
}

impl ContextPrediction {
    /// Centre and neighbour of every pair, one behind the other, and the side on which the neighbour lies.
    fn pairs(&self, image: MapShape, batch: &Batch<'_>, pass: &Pass) -> (FeatureMap, Vec<usize>) {
        let tiling = Tiling::new(GRID, image);
        let mut view = batch.map(1, image, pass);
        batch.view_into("view", &mut view.data);
        let mut patches = batch.map(2 * self.settings.pairs, tiling.shape(image), pass);
        let patch = patches.shape.len();
        let mut sides = Vec::with_capacity(batch.len() * self.settings.pairs);
        for (i, pair) in patches.data.chunks_exact_mut(2 * patch).enumerate() {
            let view = &view.data[i / self.settings.pairs * image.len()..][..image.len()];
            let mut stream = batch.stream.child("pair").index(i as u64);
            let side = stream.below(SIDES);
            let neighbour = if side < CENTRE { side } else { side + 1 };
            let (first, second) = pair.split_at_mut(patch);
            tiling.cut(view, image, CENTRE, &mut stream, first);
            tiling.cut(view, image, neighbour, &mut stream, second);
            standardise(first);
            standardise(second);
            if stream.bernoulli(self.settings.colour_drop) {
                drop_colours(pair, image.c, &mut stream);
            }
            sides.push(side);
        }
        (patches, sides)
    }
}

/// Replaces all channels but a random one by faint noise (section 3.1, "colour dropping").
fn drop_colours(pixels: &mut [f32], channels: usize, stream: &mut Stream) {
    if channels < 2 {
        return;
    }
    let kept = stream.below(channels);
    for pixel in pixels.chunks_exact_mut(channels) {
        for (_, value) in pixel.iter_mut().enumerate().filter(|(c, _)| *c != kept) {
            *value = 0.01 * stream.normal();
        }
    }
}

tensors!(ContextPrediction: head as "");
