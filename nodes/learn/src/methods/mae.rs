//! Masked autoencoder (He et al. 2021, 2111.06377): most patches of an image are hidden, a vision transformer sees the rest, and a
//! light decoder tells what the hidden ones show.
//!
//! `L = mean over hidden patches of |decode(encode(visible)) - normalised patch|^2 / values` ([`crate::losses::masked_patches`]). Each patch is
//! normalised by its own mean and deviation, which the authors found to help features.
//!
//! Traps: the hidden patches are left out of the encoder, not blackened, so downstream images, which have no holes, are nothing
//! new to it, and a step costs a quarter of a whole one. The loss counts hidden patches only. The class token is hardly trained: with
//! linear probes take `pool = "mean"`. Judge by fine-tuning: the features are not linear.

use super::autoencoder::explained;
use super::batch::{Batch, MethodConstraints, Setup};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::patch_decoder::PatchDecoder;
use super::shown::Shown;
use super::{Method, Settings};
use crate::backbones::{Encoder, Visible};
use crate::layers::{Pass, TransformerShape, tensors};
use crate::losses::{masked_patches, moments, normalised_patches, value_and_grads};
use crate::settings::{PART, WIDTH, settings};

settings! {
    /// Hyper-parameters; the decoder is sized for small images.
    pub struct MaeSettings {
        /// Share of the patches that are hidden; .75 in the paper.
        mask: f32 = 0.75, in PART;
        /// Values of the decoder's tokens; half the encoder's in the paper.
        decoder_dim: usize = 64, in WIDTH;
        /// The decoder's blocks; 8 in the paper, where 1 does nearly as well for fine-tuning.
        decoder_depth: usize = 2, in 1..=100;
        /// Heads of the decoder's attentions; they divide `decoder_dim`.
        decoder_heads: usize = 4, in WIDTH;
    }
}

impl MaeSettings {
    /// Visible patches of so many.
    fn visible(&self, patches: usize) -> usize {
        (patches as f32 * (1.0 - self.mask)).round() as usize
    }
}

impl Settings for MaeSettings {
    fn name(&self) -> &'static str {
        "mae"
    }

    /// The encoder sees that share of each image.
    fn views(&self) -> f64 {
        1.0 - f64::from(self.mask)
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let Some(patches) = constraints.patches else {
            let message = "masked autoencoding hides patches from a vision transformer, expected `backbone = { name = \"vit\" }`; for a convolutional backbone there is `method = \"inpainting\"`";
            return Err(MethodError::setting("backbone", message));
        };
        let visible = self.visible(patches);
        if visible == 0 || visible == patches {
            let message = format!(
                "{} found, expected a share between 0 and 1 that hides some of an image's {patches} patches and not all (.75 in the paper)",
                self.mask
            );
            return Err(MethodError::setting("mask", message));
        }
        if !self.decoder_dim.is_multiple_of(self.decoder_heads) {
            let message = format!(
                "{} found, expected a divisor of `decoder_dim`, which is {}",
                self.decoder_heads, self.decoder_dim
            );
            return Err(MethodError::setting("decoder_heads", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let mut stream = setup.stream.child("decoder");
        let vit = setup.encoder.transformer();
        let vit = vit.expect("BUG: the backbone was checked to be a vision transformer");
        let shape = TransformerShape {
            dim: self.decoder_dim,
            depth: self.decoder_depth,
            heads: self.decoder_heads,
            hidden: 4 * self.decoder_dim,
        };
        Ok(Box::new(Mae {
            settings: self.clone(),
            decoder: PatchDecoder::new(vit, &shape, &mut stream),
        }))
    }
}

struct Mae {
    settings: MaeSettings,
    decoder: PatchDecoder,
}

impl Method for Mae {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let view = batch.view("view", encoder, pass);
        let vit = encoder.transformer();
        let vit = vit.expect("BUG: the backbone was checked to be a vision transformer");
        let (n, patches, len) = (view.n, vit.patches(), vit.patch_len());
        let (visible, hidden) = self.choose(batch, patches);
        let cut = vit.cut(&view, pass);
        let targets = normalised_patches(&cut.data, len);

        let latent = vit.forward_visible(&cut, visible.clone(), pass);
        let found = self.decoder.forward(latent, &visible, pass);
        let guesses = (found.data.to_vec(), (n * patches, len));
        let (loss, [dfound]) = value_and_grads([guesses], |[found]| masked_patches(found, &targets, &hidden))?;
        let dlatent = self.decoder.backward(dfound, &visible, pass);
        if let Some(dlatent) = dlatent {
            vit.backward_tokens(dlatent, pass, false);
        }

        let values = targets.chunks_exact(len).zip(&hidden).filter(|(_, hidden)| **hidden);
        let values: Vec<f32> = values.flat_map(|(patch, _)| patch.iter().copied()).collect();
        // What guessing zero, the mean of every normalised patch, would cost.
        let mean_predictor = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::new("explained", explained(loss, &values)),
                Metric::new("masked", values.len() as f32 / targets.len() as f32),
                Metric::new("mean_predictor", mean_predictor as f32),
            ],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let view = batch.view("view", encoder, pass);
        let (whole, shape) = (view.data.to_vec(), view.shape);
        let vit = encoder.transformer();
        let vit = vit.expect("BUG: the backbone was checked to be a vision transformer");
        let len = vit.patch_len();
        let (visible, hidden) = self.choose(batch, vit.patches());
        let cut = vit.cut(&view, pass);
        let latent = vit.forward_visible(&cut, visible.clone(), pass);
        let found = self.decoder.forward(latent, &visible, pass);
        let (mut seen, mut made) = (cut.clone(), cut.clone());
        let patches = seen.data.chunks_exact_mut(len).zip(made.data.chunks_exact_mut(len));
        for (((seen, made), found), _) in patches
            .zip(found.data.chunks_exact(len))
            .zip(&hidden)
            .filter(|(_, hidden)| **hidden)
        {
            // Normalised patches are made: they are shown with the mean and the spread of those that they stand for.
            let (mean, spread) = moments(made);
            made.iter_mut()
                .zip(found)
                .for_each(|(v, found)| *v = mean + spread * found);
            seen.fill(0.0);
        }
        let [seen, made] = [seen, made].map(|patches| vit.paste(&patches, pass).data.to_vec());
        [("view", whole), ("what it sees", seen), ("hidden patches made", made)]
            .map(|(name, values)| Shown::of_images(name, values, shape, batch))
            .into()
    }
}

impl Mae {
    /// The patches that the encoder sees, at random for each image and in order, and which of all `[n][patches]` are hidden.
    fn choose(&self, batch: &Batch<'_>, patches: usize) -> (Visible, Vec<bool>) {
        let each = self.settings.visible(patches);
        let mut places = Vec::with_capacity(batch.len() * each);
        let mut hidden = vec![true; batch.len() * patches];
        for (i, hidden) in hidden.chunks_exact_mut(patches).enumerate() {
            let mut chosen = batch.stream.child("mask").index(i as u64).permutation(patches);
            chosen.truncate(each);
            chosen.sort_unstable();
            chosen.iter().for_each(|place| hidden[*place as usize] = false);
            places.extend(chosen);
        }
        (Visible { places, each }, hidden)
    }
}

tensors!(Mae: decoder);
