//! Inpainting (context encoders, Pathak et al. 2016, 1604.07379): make what was cut out of an image from what is around it.
//!
//! With a mask `m` of what was cut out (eq. 1): `L = sum m (decode(encode((1 - m) x)) - x)^2 / sum m`. The paper adds an adversarial term with weight
//! .001, which sharpens pictures but not features; it is left out here.
//!
//! Trap: downstream images have no holes. Holes are at random places and of random shapes, so that no feature can rely on them.

use super::autoencoder::explained;
use super::batch::{Batch, MethodConstraints, Setup};
use super::decoder::{check_decodable, decoder};
use super::heads::{backward, forward, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::shown::Shown;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{FeatureMap, MapShape, Pass, Sequential, tensors};
use crate::losses::{reconstruction, value_and_grads};
use crate::rng::Stream;
use crate::settings::{PART, WIDTH, check_rising, settings};

settings! {
    /// Hyper-parameters.
    pub struct InpaintingSettings {
        /// Holes in each image; they may overlap.
        holes: usize = 3, in 1..=1000;
        /// Share of the side that a hole has at least and at most.
        size: [f32; 2] = [0.2, 0.5], in PART;
        /// Channels of the decoder's last hidden map.
        width: usize = 16, in WIDTH;
    }
}

impl Settings for InpaintingSettings {
    fn name(&self) -> &'static str {
        "inpainting"
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        check_rising("size", &self.size)?;
        check_decodable(constraints.image)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let mut stream = setup.stream.child("decoder");
        Ok(Box::new(Inpainting {
            settings: self.clone(),
            decoder: decoder(setup.encoder.dim, self.width, setup.encoder.input, &mut stream),
        }))
    }
}

struct Inpainting {
    settings: InpaintingSettings,
    decoder: Sequential,
}

impl Method for Inpainting {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut input = batch.view("view", encoder, pass);
        let whole = input.data.to_vec();
        let mask = self.cut(&mut input, batch);

        let found = forward(&mut [encoder, &mut self.decoder], input, pass);
        let (n, shape) = (found.n, found.shape);
        let (loss, [dfound]) = value_and_grads([matrix(&found)], |[found]| reconstruction(found, &whole, Some(&mask)))?;
        backward(
            &mut [encoder, &mut self.decoder],
            FeatureMap::new(n, shape, dfound),
            pass,
        );
        let missing: Vec<f32> = whole
            .iter()
            .zip(&mask)
            .filter(|(_, m)| **m > 0.0)
            .map(|(v, _)| *v)
            .collect();
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::new("explained", explained(loss, &missing)),
                Metric::new("masked", missing.len() as f32 / whole.len() as f32),
            ],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let mut input = batch.view("view", encoder, pass);
        let (whole, shape) = (input.data.to_vec(), input.shape);
        let mask = self.cut(&mut input, batch);
        let cut = input.data.to_vec();
        let mut filled = cut.clone();
        let found = forward(&mut [encoder, &mut self.decoder], input, pass);
        for ((v, found), hole) in filled.iter_mut().zip(found.data.iter()).zip(&mask) {
            *v += found * hole;
        }
        [("view", whole), ("cut out", cut), ("filled in", filled)]
            .map(|(name, values)| Shown::of_images(name, values, shape, batch))
            .into()
    }
}

impl Inpainting {
    /// Cuts holes out of views, and marks them. What is missing has the images' mean, which is 0.
    fn cut(&self, views: &mut FeatureMap, batch: &Batch<'_>) -> Vec<f32> {
        let image = views.shape;
        let mut mask = vec![0.0f32; views.data.len()];
        for (i, mask) in mask.chunks_exact_mut(image.len()).enumerate() {
            let mut stream = batch.stream.child("holes").index(i as u64);
            (0..self.settings.holes).for_each(|_| self.cut_hole(mask, image, &mut stream));
        }
        views.data.iter_mut().zip(&mask).for_each(|(v, m)| *v *= 1.0 - m);
        mask
    }

    /// Marks a random rectangle.
    fn cut_hole(&self, mask: &mut [f32], image: MapShape, stream: &mut Stream) {
        let [least, most] = self.settings.size;
        let mut length = |side: usize| ((side as f32 * stream.range(least, most)).round() as usize).clamp(1, side);
        let (height, width) = (length(image.h), length(image.w));
        let (top, left) = (stream.below(image.h - height + 1), stream.below(image.w - width + 1));
        for line in mask.chunks_exact_mut(image.w * image.c).skip(top).take(height) {
            line[left * image.c..(left + width) * image.c].fill(1.0);
        }
    }
}

tensors!(Inpainting: decoder);
