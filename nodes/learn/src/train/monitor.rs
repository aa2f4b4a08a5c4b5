//! What the features look like after an epoch: deviation, effective rank, and what neighbours say of images that were held out.
//!
//! The neighbours' vote looks at labels to show progress; nothing that is trained or kept depends on it.

use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::{Label, Samples};
use crate::device::DeviceError;
use crate::methods::Metric;
use crate::metrics::{accuracy, embedding_deviation, rank_me, weighted_knn};
use crate::rng::Stream;

use super::embed;

/// Neighbours that vote, and the temperature of their weights (Wu et al. 2018, 1805.01978).
const NEIGHBOURS: usize = 10;
const TEMPERATURE: f32 = 0.07;

/// Rows that the effective rank is of: enough to see a collapse, few enough to cost nothing beside an epoch.
const RANKED: usize = 256;

/// Of so many training images, one at most is held out.
const ONE_OF: usize = 20;

/// Fewer images do not show whether features have collapsed.
const TELLING: usize = 16;

/// In units of `1 / sqrt(dim)`; features of random weights have some tenths.
const LEAST_DEVIATION: f32 = 0.01;

/// Of features that are all the same the rank is 1.
const LEAST_RANK: f32 = 1.02;

/// How many of `images` training images are held out to be watched, where `wanted` are asked for: a twentieth at most.
pub fn held_out(images: usize, wanted: usize) -> usize {
    wanted.min(images / ONE_OF)
}

/// The training images without those that are held out, and these: [`held_out`] of them, the same whatever the seed and the method, so that
/// all of them train on the same images.
pub fn hold_out(images: &Samples, wanted: usize) -> (Samples, Samples) {
    let mut order = Stream::new(0, "held out").permutation(images.n());
    let mut rest = order.split_off(held_out(images.n(), wanted));
    rest.sort_unstable();
    (images.select(&rest), images.select(&order))
}

/// Watches features on a part of the training images that stays the same, and on held-out images if there are any.
pub(super) struct Monitor<'a> {
    indices: Vec<u32>,
    held: Option<&'a Samples>,
}

impl<'a> Monitor<'a> {
    /// A monitor on `count` training images, or on all if there are fewer.
    pub(super) fn new(images: &Samples, count: usize, stream: &Stream) -> Self {
        let mut indices = stream.child("monitor").permutation(images.n());
        indices.truncate(count);
        Self { indices, held: None }
    }

    /// Watches these images too, which are not trained on.
    pub(super) fn watch(&mut self, held: &'a Samples) {
        self.held = Some(held);
    }

    /// `deviation` (mean over the dimensions, of L2-normalised features), `rank_me`, and `knn`: the share of held-out images that their nearest
    /// among the watched training images give the right label, if those have more than one.
    ///
    /// # Errors
    /// The device's.
    pub(super) fn look(
        &self,
        encoder: &mut Encoder,
        images: &Samples,
        augmenter: &Augmenter,
    ) -> Result<Vec<Metric>, DeviceError> {
        if self.indices.is_empty() {
            return Ok(Vec::new());
        }
        let features = embed(encoder, images, &self.indices, augmenter)?;
        let mut seen = health(&features, encoder.dim);
        if let Some(held) = self.held.filter(|held| held.n() > 0) {
            let all: Vec<u32> = (0..held.n() as u32).collect();
            let asked = embed(encoder, held, &all, augmenter)?;
            let label = |i: &u32| images.labels()[*i as usize];
            let labels: Vec<Label> = self.indices.iter().map(label).collect();
            let known = labelled(&features, &labels, encoder.dim);
            let asked = labelled(&asked, held.labels(), encoder.dim);
            seen.extend(vote(&known, &asked, encoder.dim));
        }
        Ok(seen)
    }
}

/// Deviation and rank of `[n][dim]`.
fn health(features: &[f32], dim: usize) -> Vec<Metric> {
    let deviation = Metric::new("deviation", embedding_deviation(features, dim));
    let ranked = &features[..features.len().min(RANKED * dim)];
    let rank = Metric::new("rank_me", rank_me(ranked, dim) as f32);
    if features.len() < TELLING * dim {
        return vec![deviation, rank];
    }
    vec![
        deviation.at_least(LEAST_DEVIATION / (dim as f32).sqrt()),
        rank.at_least(LEAST_RANK.min(dim as f32)),
    ]
}

/// Features of labelled images, and their classes.
type Known = (Vec<f32>, Vec<usize>);

/// Of `[n][dim]` the rows that have a label.
fn labelled(features: &[f32], labels: &[Label], dim: usize) -> Known {
    let rows = features.chunks_exact(dim).zip(labels);
    let known = rows.filter_map(|(row, label)| Some((row, usize::from((*label)?))));
    let (rows, classes): (Vec<&[f32]>, Vec<usize>) = known.unzip();
    (rows.concat(), classes)
}

/// What the neighbours say of held-out images.
fn vote((features, labels): &Known, (asked, truth): &Known, dim: usize) -> Option<Metric> {
    if truth.is_empty() || labels.iter().all(|label| *label == labels[0]) {
        return None;
    }
    let classes = labels.iter().chain(truth).max()? + 1;
    let votes = weighted_knn(features, labels, asked, dim, classes, NEIGHBOURS, TEMPERATURE);
    Some(Metric::new("knn", accuracy(truth, &votes.predicted) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Scenes;

    #[test]
    fn a_twentieth_is_put_aside_and_never_trained_on() {
        let scenes = Scenes {
            n: 100,
            side: 16,
            seed: 1,
            style: Default::default(),
        };
        let images = scenes.images().0.into();
        let (trained, held) = hold_out(&images, 500);
        assert_eq!((trained.n(), held.n()), (95, 5));
        for i in 0..held.n() {
            assert!((0..trained.n()).all(|j| trained.get(j) != held.get(i)));
        }
        assert_eq!(hold_out(&images, 0).1.n(), 0);
    }

    #[test]
    fn equal_features_are_a_collapse_and_random_ones_are_not() {
        let ill = |features: &[f32]| {
            let metrics = health(features, 8);
            metrics.iter().filter(|f| f.is_ill(f.value)).count()
        };
        let mut stream = Stream::new(1, "health");
        let random: Vec<f32> = (0..40 * 8).map(|_| stream.normal().max(0.0)).collect();
        assert_eq!(ill(&random), 0);
        let equal: Vec<f32> = (0..40 * 8).map(|i| (i % 8) as f32).collect();
        assert_eq!(ill(&equal), 2);
        assert_eq!(ill(&[0.0; 40 * 8]), 2, "dead units");
        assert_eq!(ill(&[f32::NAN; 40 * 8]), 2);
    }
}
