//! Colorization (Zhang et al. 2016, 1603.08511): tell the colours of a gray image.
//!
//! The input is the lightness in all three channels; the target is each place's colour as a distribution `z` over bins of the a*b* plane: its five
//! nearest bins, weighted by a Gaussian of deviation 5 (section 2.2). `L = -1/n sum v(z) sum_q z_q log p_q` (eq. 2) with rebalancing weights `v ~ ((1 -
//! lambda) p + lambda / Q)^-1` of the nearest bin, of mean 1 over the training images (eq. 4), or rare colours grey out.
//!
//! Colours are told at a quarter of the image's height and width. Downstream images are in colour, while the encoder was trained on gray ones:
//! its first layer has seen three equal channels only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Premises, Setup};
use super::heads::{backward, forward};
use super::outcome::{Figure, MethodError, StepOutcome, check_positive, check_share, check_widths};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::data::Images;
use crate::image::rgb_to_lab;
use crate::layers::{
    BatchNorm, Conv2d, ConvSettings, Entry, FeatureMap, Linear, MapShape, NormSettings, Pass, Sequential, Tensors,
    Unflatten, join,
};
use crate::losses::{soft_cross_entropy, value_and_grads};
use crate::metrics::argmax;
use crate::rng::Stream;

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorizationSettings {
    /// Width of a bin on both colour axes. The paper has 10 for photographs; 20 suits small images and costs a quarter.
    pub bin: f32,
    /// `lambda`: share of the uniform distribution in the rebalancing; .5 in the paper.
    pub rebalance: f32,
    /// Channels of the map that colours are told from.
    pub width: usize,
}

impl Default for ColorizationSettings {
    fn default() -> Self {
        Self {
            bin: 20.0,
            rebalance: 0.5,
            width: 64,
        }
    }
}

/// How much smaller than the image the map of colours is.
const SHRUNK: usize = 4;

/// Bins that share a colour.
const NEAREST: usize = 5;

/// Deviation of the Gaussian over them, in bins of width 10: half a bin.
const SOFTNESS: f32 = 0.5;

impl Settings for ColorizationSettings {
    fn name(&self) -> &'static str {
        "colorization"
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, premises: &Premises) -> Result<(), MethodError> {
        let MapShape { h, w, c } = premises.image;
        if c != 3 {
            let message =
                format!("colorization needs images in colour, these have {c} channel(s): there is nothing to tell");
            return Err(MethodError::setting("method", message));
        }
        if !h.is_multiple_of(SHRUNK) || !w.is_multiple_of(SHRUNK) {
            let message =
                format!("colorization needs images whose sides are multiples of {SHRUNK}, these have {h}x{w}");
            return Err(MethodError::setting("method", message));
        }
        check_positive("bin", self.bin, "10 to 20")?;
        if !(5.0..=40.0).contains(&self.bin) {
            return Err(MethodError::setting(
                "bin",
                format!("{} found, expected 5 to 40", self.bin),
            ));
        }
        check_share("rebalance", self.rebalance, ".5 in the paper")?;
        check_widths(&[("width", self.width)])
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let MapShape { h, w, .. } = setup.encoder.input;
        let map = MapShape {
            h: h / SHRUNK,
            w: w / SHRUNK,
            c: self.width,
        };
        let palette = Palette::new(self.bin, self.rebalance, setup.images);
        let mut stream: Stream = setup.stream.child("head");
        let head = Sequential::default()
            .with("0", Linear::new(setup.encoder.dim, map.len(), false, &mut stream))
            .with("", Unflatten { shape: map })
            .with("1", BatchNorm::new(map.c, true, NormSettings::default()))
            .with(
                "2",
                Conv2d::new(ConvSettings::three(map.c, palette.bins.len(), 1), true, &mut stream),
            );
        Ok(Box::new(Colorization { palette, head }))
    }
}

/// Shades of each primary that are mixed to find the colours a screen can show.
const SHADES: usize = 33;

/// The bins of the a*b* plane that are nearest to some colour of a screen, and how much each counts. The paper has 313 of width 10, with some
/// that no colour is nearest to.
struct Palette {
    size: f32,
    bins: Vec<[f32; 2]>,
    weights: Vec<f32>,
}

impl Palette {
    fn new(size: f32, rebalance: f32, images: &Images) -> Self {
        let shade = |i: usize| i as f32 / (SHADES - 1) as f32;
        let mut seen = BTreeSet::new();
        for i in 0..SHADES.pow(3) {
            let rgb = [i / SHADES / SHADES, i / SHADES % SHADES, i % SHADES].map(shade);
            let [_, a, b] = rgb_to_lab(rgb);
            seen.insert(((a / size).round() as i32, (b / size).round() as i32));
        }
        let bins: Vec<[f32; 2]> = seen.iter().map(|(a, b)| [*a as f32 * size, *b as f32 * size]).collect();
        let mut palette = Self {
            size,
            weights: vec![1.0; bins.len()],
            bins,
        };
        palette.rebalance(rebalance, images);
        palette
    }

    /// Weights from the frequencies of colours in the training images, of mean 1 over their pixels.
    fn rebalance(&mut self, share: f32, images: &Images) {
        let mut counts = vec![0.0f64; self.bins.len()];
        // Some thousands of pixels tell the frequencies; every 17th takes all places of an image in turn.
        for pixel in images.pixels.chunks_exact(3).step_by(17) {
            let [_, a, b] = rgb_to_lab(std::array::from_fn(|c| f32::from(pixel[c]) / 255.0));
            counts[self.nearest([a, b])[0].0] += 1.0;
        }
        let total: f64 = counts.iter().sum::<f64>().max(1.0);
        let (share, bins) = (f64::from(share), self.bins.len() as f64);
        let weight = |count: &f64| 1.0 / ((1.0 - share) * count / total + share / bins).max(1e-12);
        let mean: f64 = counts.iter().map(|c| c / total * weight(c)).sum();
        self.weights = counts.iter().map(|c| (weight(c) / mean.max(1e-12)) as f32).collect();
    }

    /// The nearest bins with weights that sum to one, nearest first.
    fn nearest(&self, colour: [f32; 2]) -> Vec<(usize, f32)> {
        let distance = |bin: &[f32; 2]| (bin[0] - colour[0]).powi(2) + (bin[1] - colour[1]).powi(2);
        let mut near: Vec<(f32, usize)> = self.bins.iter().map(distance).zip(0..).collect();
        let count = NEAREST.min(near.len());
        near.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(count);
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let spread = 2.0 * (SOFTNESS * self.size).powi(2);
        let least = near[0].0;
        let weights: Vec<f32> = near.iter().map(|(d, _)| ((least - d) / spread).exp()).collect();
        let sum: f32 = weights.iter().sum();
        near.iter().zip(weights).map(|((_, bin), w)| (*bin, w / sum)).collect()
    }
}

struct Colorization {
    palette: Palette,
    head: Sequential,
}

impl Method for Colorization {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut view = batch.view("view", encoder, pass);
        let targets = self.split(&mut view, batch);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let (n, shape, bins) = (logits.n, logits.shape, self.palette.bins.len());
        let of_place = logits.data.chunks_exact(bins).zip(targets.chunks_exact(bins));
        let right = of_place.filter(|(row, target)| argmax(row) == argmax(target)).count();
        let places = logits.rows();
        let (loss, [dlogits]) = value_and_grads([(logits.data.to_vec(), (places, bins))], |[logits]| {
            soft_cross_entropy(logits, &targets)
        })?;
        backward(&mut [encoder, &mut self.head], FeatureMap::new(n, shape, dlogits), pass);
        Ok(StepOutcome {
            loss,
            figures: vec![Figure::accuracy(right, places)],
        })
    }
}

impl Colorization {
    /// Takes the colour out of the views and gives it back as weighted targets, `[views][h / 4][w / 4][bins]`.
    fn split(&self, view: &mut FeatureMap, batch: &Batch<'_>) -> Vec<f32> {
        let MapShape { h, w, .. } = view.shape;
        let (rows, columns, bins) = (h / SHRUNK, w / SHRUNK, self.palette.bins.len());
        let mut targets = vec![0.0f32; view.n * rows * columns * bins];
        let images = view.data.chunks_exact_mut(view.shape.len());
        for (image, targets) in images.zip(targets.chunks_exact_mut(rows * columns * bins)) {
            batch.augmenter.denormalize(image);
            let mut colours = vec![[0.0f32; 2]; rows * columns];
            for (p, pixel) in image.chunks_exact_mut(3).enumerate() {
                let [l, a, b] = rgb_to_lab([pixel[0], pixel[1], pixel[2]]);
                let colour = &mut colours[p / w / SHRUNK * columns + p % w / SHRUNK];
                colour[0] += a / (SHRUNK * SHRUNK) as f32;
                colour[1] += b / (SHRUNK * SHRUNK) as f32;
                // Lightness 50 and deviation 25 are what images have on the whole.
                pixel.fill((l - 50.0) / 25.0);
            }
            for (colour, target) in colours.into_iter().zip(targets.chunks_exact_mut(bins)) {
                let near = self.palette.nearest(colour);
                let weight = self.palette.weights[near[0].0];
                near.into_iter().for_each(|(bin, share)| target[bin] = share * weight);
            }
        }
        targets
    }
}

impl Tensors for Colorization {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.head.entries(&join(prefix, "head"), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screens_bins_are_found_and_rare_colours_count_more() {
        let pixels = [[255, 0, 0]; 90]
            .concat()
            .into_iter()
            .chain([[0, 0, 255]; 10].concat())
            .collect();
        let images = Images::new(10, 10, 3, pixels, vec![0]).expect("sizes fit");
        let palette = Palette::new(10.0, 0.5, &images);
        assert!((250..=270).contains(&palette.bins.len()), "{}", palette.bins.len());
        let weight = |rgb| {
            let [_, a, b] = rgb_to_lab(rgb);
            let near = palette.nearest([a, b]);
            assert!((near.iter().map(|(_, w)| w).sum::<f32>() - 1.0).abs() < 1e-5);
            palette.weights[near[0].0]
        };
        assert!(weight([0.0, 0.0, 1.0]) > weight([1.0, 0.0, 0.0]));
    }
}
