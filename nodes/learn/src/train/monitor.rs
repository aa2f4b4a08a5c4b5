//! What the features look like after an epoch: deviation, effective rank, and what neighbours say.
//!
//! The neighbours' vote looks at labels to show progress; nothing that is trained or kept depends on it.

use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Images;
use crate::metrics::{embedding_deviation, knn_leaving_one_out, rank_me};
use crate::rng::Stream;

use super::embed;

/// Neighbours that vote.
const NEIGHBOURS: usize = 10;

/// Rows that the effective rank is of: enough to see a collapse, few enough to cost nothing beside an epoch.
const RANKED: usize = 256;

/// Watches features on a part of the training images that stays the same.
pub struct Monitor {
    indices: Vec<u32>,
}

impl Monitor {
    /// A monitor on `count` images, or on all if there are fewer.
    pub fn new(images: &Images, count: usize, stream: &Stream) -> Self {
        let mut indices = stream.child("monitor").permutation(images.n);
        indices.truncate(count);
        Self { indices }
    }

    /// `deviation` (mean over the dimensions, of L2-normalised features), `rank_me`, and `knn`, the share of images whose neighbours
    /// have their label, if there is more than one.
    pub fn look(&self, encoder: &mut Encoder, images: &Images, augmenter: &Augmenter) -> Vec<(String, f32)> {
        if self.indices.is_empty() {
            return Vec::new();
        }
        let features = embed(encoder, images, &self.indices, augmenter);
        let dim = encoder.dim;
        let ranked = &features[..features.len().min(RANKED * dim)];
        let mut seen = vec![
            ("deviation".to_owned(), embedding_deviation(&features, dim)),
            ("rank_me".to_owned(), rank_me(ranked, dim) as f32),
        ];
        let labels: Vec<usize> = self
            .indices
            .iter()
            .map(|i| usize::from(images.labels[*i as usize]))
            .collect();
        if labels.iter().any(|label| *label != labels[0]) {
            let knn = knn_leaving_one_out(&features, &labels, dim, NEIGHBOURS);
            seen.push(("knn".to_owned(), knn as f32));
        }
        seen
    }
}
