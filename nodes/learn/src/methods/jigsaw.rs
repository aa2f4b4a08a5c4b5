//! Jigsaw puzzles (Noroozi & Favaro 2016, 1603.09246): tell which permutation the nine tiles of an image are in.
//!
//! The trunk sees each tile by itself; the tiles' features are concatenated and `L = CE(head(f_1 .. f_9), permutation)`. The permutations are
//! chosen one by one, each as far as possible, in Hamming distance, from those before (section 3.3).
//!
//! Traps (section 4.2): gaps between tiles with random places, or edges give the answer away; tiles are standardised one by one, or
//! brightness does; in colour, views with grayscale, or chromatic aberration does.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{Norms, backward, forward, matrix, mlp};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::shown::Shown;
use super::tiles::{Tiling, regroup, standardise};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{BatchNorm, FeatureMap, Layer, Linear, MapShape, NormSettings, Pass, Sequential, tensors};
use crate::losses::{cross_entropy, value_and_grads};
use crate::metrics::argmaxes;
use crate::rng::Stream;
use crate::settings::{WIDTH, check, settings};

settings! {
    /// Hyper-parameters.
    pub struct JigsawSettings {
        /// Tiles per side: 3, or 2 for very small images.
        grid: usize = 3, in 2..=3;
        /// Permutations to tell apart: 24 to 100 for small images, at most 24 for 2x2. The paper has 1000 for large ones.
        permutations: usize = 32, in 2..=CANDIDATES;
        /// Dimensions that each tile's features are reduced to.
        tile_features: usize = 64, in WIDTH;
        /// Width of the hidden layer over all tiles.
        hidden: usize = 256, in WIDTH;
    }
}

impl Settings for JigsawSettings {
    fn name(&self) -> &'static str {
        "jigsaw"
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn guessing(&self) -> Option<f64> {
        Some(1.0 / self.permutations as f64)
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or lower `permutations`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        if self.grid == 2 {
            check("permutations", &self.permutations, 2..=24)?;
        }
        Tiling::new(self.grid, constraints.image).check(constraints)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let tiling = Tiling::new(self.grid, setup.encoder.input);
        let mut stream = setup.stream.child("head");
        let each = Sequential::default()
            .with(
                "0",
                Linear::new(setup.encoder.dim, self.tile_features, false, &mut stream),
            )
            .with("1", BatchNorm::new(self.tile_features, true, NormSettings::default()));
        let widths = [tiling.cells() * self.tile_features, self.hidden, self.permutations];
        Ok(Box::new(Jigsaw {
            tiling,
            permutations: permutations(
                tiling.cells(),
                self.permutations,
                &mut setup.stream.child("permutations"),
            ),
            each,
            all: mlp(&widths, Norms::Hidden, &mut stream),
        }))
    }
}

/// Random permutations that the set is chosen from.
const CANDIDATES: usize = 2000;

/// Permutations of `tiles`, each the one whose least Hamming distance to those before is largest (all of them if there are few).
fn permutations(tiles: usize, count: usize, stream: &mut Stream) -> Vec<Vec<u32>> {
    let mut left: Vec<Vec<u32>> = (0..CANDIDATES).map(|_| stream.permutation(tiles)).collect();
    left.sort_unstable();
    left.dedup();
    let first = stream.below(left.len());
    let mut chosen = vec![left.swap_remove(first)];
    let mut distance = vec![usize::MAX; left.len()];
    while chosen.len() < count {
        let newest = chosen.last().expect("BUG: one was chosen first");
        for (least, other) in distance.iter_mut().zip(&left) {
            *least = (*least).min(newest.iter().zip(other).filter(|(a, b)| a != b).count());
        }
        let far = (0..left.len()).max_by_key(|i| (distance[*i], left.len() - i));
        let far = far.expect("BUG: fewer permutations than asked for");
        distance.swap_remove(far);
        chosen.push(left.swap_remove(far));
    }
    chosen
}

struct Jigsaw {
    tiling: Tiling,
    permutations: Vec<Vec<u32>>,
    /// On each tile's features.
    each: Sequential,
    /// On all tiles' together.
    all: Sequential,
}

impl Method for Jigsaw {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let n = batch.len();
        let (tiles, labels) = self.puzzles(encoder.input, batch, pass);
        let features = forward(&mut [encoder, &mut self.each], tiles, pass);
        let (rows, width) = (features.n, features.shape);
        let logits = self.all.forward(regroup(features, n), pass);

        let classes = logits.shape.len();
        let guesses = argmaxes(&logits.data, classes);
        let right = guesses.zip(&labels).filter(|(guess, label)| guess == *label).count();
        let (loss, [dlogits]) = value_and_grads([matrix(&logits)], |[logits]| cross_entropy(logits, &labels, 0.0))?;

        let dlogits = FeatureMap::new(n, MapShape::vector(classes), dlogits);
        if let Some(dall) = self.all.backward(dlogits, pass, true) {
            let deach = FeatureMap::new(rows, width, dall.data);
            backward(&mut [encoder, &mut self.each], deach, pass);
        }
        Ok(StepOutcome {
            loss,
            metrics: vec![Metric::accuracy(right, n)],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let (tiles, _) = self.puzzles(encoder.input, batch, pass);
        let Tiling { grid, .. } = self.tiling;
        let view = batch.view("view", encoder, pass);
        vec![
            Shown::of_images("view", view.data.to_vec(), view.shape, batch),
            Shown::of_tiles("shuffled tiles", &tiles.data, tiles.shape, grid, grid * grid),
        ]
    }
}

impl Jigsaw {
    /// The tiles of every image in the order of a random permutation, and which one it is.
    fn puzzles(&self, image: MapShape, batch: &Batch<'_>, pass: &Pass) -> (FeatureMap, Vec<usize>) {
        let mut view = batch.map(1, image, pass);
        batch.view_into("view", &mut view.data);
        let mut tiles = batch.map(self.tiling.cells(), self.tiling.shape(image), pass);
        let patch = tiles.shape.len();
        let mut labels = Vec::with_capacity(batch.len());
        let images = view.data.chunks_exact(image.len());
        for (i, (image_tiles, view)) in tiles
            .data
            .chunks_exact_mut(self.tiling.cells() * patch)
            .zip(images)
            .enumerate()
        {
            let mut stream = batch.stream.child("puzzle").index(i as u64);
            let label = stream.below(self.permutations.len());
            for (tile, cell) in image_tiles.chunks_exact_mut(patch).zip(&self.permutations[label]) {
                self.tiling.cut(view, image, *cell as usize, &mut stream, tile);
                standardise(tile);
            }
            labels.push(label);
        }
        (tiles, labels)
    }
}

tensors!(Jigsaw: each, all);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_lie_far_apart_and_none_comes_twice() {
        let set = permutations(9, 32, &mut Stream::new(1, "jigsaw"));
        for (i, a) in set.iter().enumerate() {
            for b in &set[..i] {
                assert!(a.iter().zip(b).filter(|(a, b)| a != b).count() >= 7, "{a:?} {b:?}");
            }
        }
        let mut all = permutations(4, 24, &mut Stream::new(1, "jigsaw"));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 24);
    }
}
