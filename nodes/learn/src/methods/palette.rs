//! Bins of the a*b* plane that colours are predicted in (Zhang et al. 2016, 1603.08511, sections 2.1 to 2.3): soft targets, weights of rare colours, and
//! the annealed mean that reads a colour from a distribution.

use std::collections::BTreeSet;

use crate::data::Images;
use crate::image::rgb_to_lab;
use crate::losses::probabilities;

/// Shades of each primary that are mixed to find the colours a screen can show.
const SHADES: usize = 33;

/// Bins that share a colour.
const NEAREST: usize = 5;

/// Deviation of the Gaussian over them, in bins: 5 for bins of width 10.
const SOFTNESS: f32 = 0.5;

/// Bins with how much each counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Width of a bin on both axes.
    size: f32,
    /// Centres.
    bins: Vec<[f32; 2]>,
    /// Of mean 1 over the pixels whose frequencies they were made from.
    weights: Vec<f32>,
}

impl Palette {
    /// Bins of width `size` that all count alike.
    pub fn new(size: f32, bins: Vec<[f32; 2]>) -> Self {
        let weights = vec![1.0; bins.len()];
        Self { size, bins, weights }
    }

    /// The bins that are nearest to some colour of a screen. The paper has 313 of width 10, with some that no colour is nearest to.
    pub(super) fn of_screen(size: f32) -> Self {
        let shade = |i: usize| i as f32 / (SHADES - 1) as f32;
        let mut seen = BTreeSet::new();
        for i in 0..SHADES.pow(3) {
            let rgb = [i / SHADES / SHADES, i / SHADES % SHADES, i % SHADES].map(shade);
            let [_, a, b] = rgb_to_lab(rgb);
            seen.insert(((a / size).round() as i32, (b / size).round() as i32));
        }
        Self::new(
            size,
            seen.iter().map(|(a, b)| [*a as f32 * size, *b as f32 * size]).collect(),
        )
    }

    /// Number of bins.
    pub(super) fn len(&self) -> usize {
        self.bins.len()
    }

    /// Weights `((1 - share) p + share / bins)^-1` for frequencies `p` of the bins, scaled to a mean of 1 under them (eq. 4).
    #[must_use]
    pub fn rebalanced(self, frequencies: &[f64], share: f32) -> Self {
        let (share, bins) = (f64::from(share), self.bins.len() as f64);
        let weight = |p: &f64| 1.0 / ((1.0 - share) * p + share / bins).max(1e-12);
        let mean: f64 = frequencies.iter().map(|p| p * weight(p)).sum();
        let weights = frequencies
            .iter()
            .map(|p| (weight(p) / mean.max(1e-12)) as f32)
            .collect();
        Self { weights, ..self }
    }

    /// [`Palette::rebalanced`] by the colours of images.
    #[must_use]
    pub(super) fn rebalanced_by(self, images: &Images, share: f32) -> Self {
        let mut counts = vec![0.0f64; self.bins.len()];
        // Some thousands of pixels tell the frequencies; every 17th takes all places of an image in turn.
        let pixels = images.height * images.width;
        for (i, first) in (0..images.n).map(|i| (i, (17 - i * pixels % 17) % 17)) {
            let values: Vec<f32> = images.values_of(i).collect();
            for pixel in values.chunks_exact(3).skip(first).step_by(17) {
                let [_, a, b] = rgb_to_lab(std::array::from_fn(|c| pixel[c]));
                counts[self.nearest([a, b])[0].0] += 1.0;
            }
        }
        let total: f64 = counts.iter().sum::<f64>().max(1.0);
        counts.iter_mut().for_each(|count| *count /= total);
        self.rebalanced(&counts, share)
    }

    /// Each colour's distribution over the bins, times the weight of its nearest: `[colours][bins]`. The mean cross-entropy with these is the
    /// paper's loss.
    pub fn targets(&self, colours: &[[f32; 2]]) -> Vec<f32> {
        let mut targets = vec![0.0f32; colours.len() * self.bins.len()];
        for (colour, target) in colours.iter().zip(targets.chunks_exact_mut(self.bins.len())) {
            let near = self.nearest(*colour);
            let weight = self.weights[near[0].0];
            near.into_iter().for_each(|(bin, share)| target[bin] = share * weight);
        }
        targets
    }

    /// The colour that logits over the bins tell: the mean of the distribution sharpened by a temperature (eq. 5), between its mean at 1 and its
    /// mode at 0.
    pub fn annealed_mean(&self, logits: &[f32], temperature: f32) -> [f32; 2] {
        let sharpened = probabilities(logits, self.bins.len(), temperature);
        std::array::from_fn(|axis| sharpened.iter().zip(&self.bins).map(|(p, bin)| p * bin[axis]).sum())
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
        let palette = Palette::of_screen(10.0).rebalanced_by(&images, 0.5);
        assert!((250..=270).contains(&palette.len()), "{}", palette.len());
        let weight = |rgb| {
            let [_, a, b] = rgb_to_lab(rgb);
            let near = palette.nearest([a, b]);
            assert!((near.iter().map(|(_, w)| w).sum::<f32>() - 1.0).abs() < 1e-5);
            palette.weights[near[0].0]
        };
        assert!(weight([0.0, 0.0, 1.0]) > weight([1.0, 0.0, 0.0]));
    }

    #[test]
    fn the_annealed_mean_goes_from_the_mean_to_the_mode() {
        let palette = Palette::new(10.0, vec![[-10.0, 0.0], [10.0, 20.0]]);
        let logits = [0.0, 1.0];
        let [near_mean, near_mode] = [1.0, 0.05].map(|t| palette.annealed_mean(&logits, t)[0]);
        assert!((near_mean - 10.0 * 0.5f32.tanh()).abs() < 1e-4, "{near_mean}");
        assert!((near_mode - 10.0).abs() < 1e-3, "{near_mode}");
    }
}
