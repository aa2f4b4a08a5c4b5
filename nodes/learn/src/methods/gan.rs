//! GAN (Radford et al. 2016, DCGAN, 1511.06434): a discriminator that tells images from a generator's; its features are what is kept.
//!
//! With the discriminator `D = head(f(x))` and images `G(z)` made from noise: `L_D = 1/2 [BCE(D(x), 1) + BCE(D(G(z)), 0)]` trains encoder and head,
//! `L_G = BCE(D(G(z)), 1)` the generator. Both steps are taken at once, with one optimiser: Adam with lr 2e-4 and betas (.5, .999) in the paper.
//!
//! Traps: real and generated images have batch statistics of their own (section 3); a discriminator that is always right teaches the generator
//! nothing, which one-sided label smoothing (Salimans et al. 2016, 1606.03498) delays.

use super::batch::{Batch, MethodConstraints, Setup, clear_gradients};
use super::decoder::{check_decodable, decoder};
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::shown::Shown;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{FeatureMap, Layer, Linear, MapShape, Pass, Sequential, tensors};
use crate::losses::{binary_cross_entropy, gan_discriminator, value_and_grads};
use crate::settings::{WIDTH, settings};

settings! {
    /// Hyper-parameters.
    pub struct GanSettings {
        /// Dimensions of the noise; 100 in the paper.
        noise: usize = 64, in WIDTH;
        /// Channels of the generator's last hidden map.
        width: usize = 32, in WIDTH;
        /// What is taken off the target of real images; .1 in Salimans et al.
        label_smoothing: f32 = 0.1, in 0.0..0.5;
    }
}

impl Settings for GanSettings {
    fn name(&self) -> &'static str {
        "gan"
    }

    fn views(&self) -> f64 {
        // Generated images for the generator's step, then real and generated ones for the discriminator's.
        3.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` (2e-4 for Adam with betas [0.5, 0.999]) or raise `label_smoothing`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        check_decodable(constraints.image)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let mut stream = setup.stream.child("generator");
        Ok(Box::new(Gan {
            settings: self.clone(),
            head: Linear::new(setup.encoder.dim, 1, true, &mut setup.stream.child("head")),
            generator: decoder(self.noise, self.width, setup.encoder.input, &mut stream),
        }))
    }
}

struct Gan {
    settings: GanSettings,
    head: Linear,
    generator: Sequential,
}

impl Method for Gan {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let n = batch.len();
        let made = self.generator.forward(self.noise(batch, pass), pass);
        let fake = made.clone();
        let logits = forward(&mut [encoder, &mut self.head], made, pass);

        // The generator's gradient goes through the discriminator, which must not move by it: its gradients are cleared afterwards.
        let ones = vec![1.0; n];
        let (generator_loss, [dlogits]) =
            value_and_grads([matrix(&logits)], |[logits]| binary_cross_entropy(logits, &ones))?;
        let dfeatures = self.head.backward(gradient(n, dlogits), pass, true);
        let dmade = dfeatures.and_then(|dfeatures| encoder.backward(dfeatures, pass, true));
        if let Some(dmade) = dmade {
            backward(&mut [&mut self.generator], dmade, pass);
        }
        clear_gradients(encoder, pass);
        clear_gradients(&mut self.head, pass);

        let real = batch.view("view", encoder, pass);
        let [real, fake] = [real, fake].map(|images| forward(&mut [encoder, &mut self.head], images, pass));
        let right = real.data.iter().filter(|v| **v > 0.0).count() + fake.data.iter().filter(|v| **v <= 0.0).count();
        let smoothing = self.settings.label_smoothing;
        let (loss, [dreal, dfake]) = value_and_grads([matrix(&real), matrix(&fake)], |logits| {
            gan_discriminator(logits, smoothing)
        })?;
        for dlogits in [dfake, dreal] {
            backward(&mut [encoder, &mut self.head], gradient(n, dlogits), pass);
        }
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::accuracy(right, 2 * n),
                Metric::new("generator_loss", generator_loss),
            ],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let view = batch.view("view", encoder, pass);
        let made = self.generator.forward(self.noise(batch, pass), pass);
        [("view", view), ("made from noise", made)]
            .map(|(name, map)| Shown::of_images(name, map.data.to_vec(), map.shape, batch))
            .into()
    }
}

impl Gan {
    fn noise(&self, batch: &Batch<'_>, pass: &Pass) -> FeatureMap {
        let mut noise = batch.map(1, MapShape::vector(self.settings.noise), pass);
        let mut stream = batch.stream.child("noise");
        noise.data.iter_mut().for_each(|v| *v = stream.normal());
        noise
    }
}

tensors!(Gan: head, generator);
