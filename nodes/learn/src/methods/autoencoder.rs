//! Autoencoder (Hinton & Salakhutdinov 2006), denoising by default (Vincent et al. 2008): the image is made again from a narrow code.
//!
//! `L = mean((decode(encode(x + noise)) - x)^2)`. Noise is Gaussian, and some pixels are blackened.
//!
//! Trap: without noise and with a wide code it would learn the identity, so one of the two is needed.

use super::batch::{Batch, MethodConstraints, Setup};
use super::decoder::{check_decodable, decoder};
use super::heads::{backward, forward, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::shown::Shown;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{FeatureMap, Linear, Pass, Sequential, tensors};
use crate::losses::{reconstruction, value_and_grads};
use crate::settings::{BELOW_ONE, WIDTH, settings};

settings! {
    /// Hyper-parameters.
    pub struct AutoencoderSettings {
        /// Deviation of the noise added to the normalised input; 0 is the plain autoencoder.
        noise: f32 = 0.5, in 0.0..;
        /// Share of the input's pixels that are blackened (masking noise).
        masked: f32 = 0.25, in BELOW_ONE;
        /// Dimensions of the code between encoder and decoder.
        code: usize = 64, in WIDTH;
        /// Channels of the decoder's last hidden map.
        width: usize = 16, in WIDTH;
    }
}

impl Settings for AutoencoderSettings {
    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        check_decodable(constraints.image)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let mut stream = setup.stream.child("decoder");
        Ok(Box::new(Autoencoder {
            settings: self.clone(),
            code: Linear::new(setup.encoder.dim, self.code, true, &mut setup.stream.child("code")),
            decoder: decoder(self.code, self.width, setup.encoder.input, &mut stream),
        }))
    }
}

struct Autoencoder {
    settings: AutoencoderSettings,
    code: Linear,
    decoder: Sequential,
}

impl Method for Autoencoder {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut input = batch.view("view", encoder, pass);
        let clean = input.data.to_vec();
        self.disturb(&mut input, batch);
        let found = forward(&mut [encoder, &mut self.code, &mut self.decoder], input, pass);
        let (n, shape) = (found.n, found.shape);
        let (loss, [dfound]) = value_and_grads([matrix(&found)], |[found]| reconstruction(found, &clean, None))?;
        let gradient = FeatureMap::new(n, shape, dfound);
        backward(&mut [encoder, &mut self.code, &mut self.decoder], gradient, pass);
        Ok(StepOutcome {
            loss,
            metrics: vec![Metric::new("explained", explained(loss, &clean))],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let mut input = batch.view("view", encoder, pass);
        let shape = input.shape;
        let whole = Shown::of_images("view", input.data.to_vec(), shape, batch);
        self.disturb(&mut input, batch);
        let disturbed = Shown::of_images("disturbed", input.data.to_vec(), shape, batch);
        let found = forward(&mut [encoder, &mut self.code, &mut self.decoder], input, pass);
        vec![
            whole,
            disturbed,
            Shown::of_images("made again", found.data.to_vec(), shape, batch),
        ]
    }
}

/// The share of the values' variance that a mean squared error leaves explained.
pub(super) fn explained(error: f32, values: &[f32]) -> f32 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (1.0 - f64::from(error) / variance.max(1e-12)) as f32
}

impl Autoencoder {
    /// Adds noise to the input and blackens some of its pixels (to the mean, which is 0).
    fn disturb(&self, input: &mut FeatureMap, batch: &Batch<'_>) {
        let channels = input.shape.c;
        for (i, image) in input.data.chunks_exact_mut(input.shape.len()).enumerate() {
            let mut stream = batch.stream.child("noise").index(i as u64);
            for pixel in image.chunks_exact_mut(channels) {
                let kept = if stream.bernoulli(self.settings.masked) {
                    0.0
                } else {
                    1.0
                };
                for v in pixel {
                    *v = (*v + self.settings.noise * stream.normal()) * kept;
                }
            }
        }
    }
}

tensors!(Autoencoder: code, decoder);
