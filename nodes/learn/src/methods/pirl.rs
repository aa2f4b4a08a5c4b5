//! PIRL (Misra & van der Maaten 2020, 1912.01991): an image and its shuffled patches are represented alike, and unlike other images.
//!
//! With the image's representation `v_I`, that of its nine patches in random order `v_P`, and a memory `m` of all images (eq. 5):
//! `L = (1 - w) NCE(v_I, m_I) + w NCE(v_P, m_I)`, each in InfoNCE form against entries of other images. The memory follows the image's
//! representation: `m_I = .5 m_I + .5 v_I`.
//!
//! Traps: the order of the patches is no label, it is only made invariant to; patches lie at random places of their cells; negatives are never
//! images of the same batch, whose entries are about to change.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::tiles::{Tiling, regroup};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{Carried, FeatureMap, Layer, Linear, MapShape, Pass, tensors};
use crate::losses::{pirl, value_and_grads};
use crate::metrics::normalised;
use crate::rng::Stream;
use crate::settings::{SHARE, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has 32,000 negatives.
    pub struct PirlSettings {
        /// Temperature, above 0; .07 in the paper.
        temperature: f32 = 0.07, in TEMPERATURE;
        /// Weight `w` of the patches' term; .5 in the paper.
        weight: f32 = 0.5, in SHARE;
        /// Entries of other images that each image is distinguished from.
        negatives: usize = 1024, in 1..=1 << 20;
        /// How much of an entry stays; .5 in the paper.
        memory_momentum: f32 = 0.5, in SHARE;
        /// Dimensions of all representations; 128 in the paper.
        projection: usize = 128, in WIDTH;
    }
}

const GRID: usize = 3;

impl Settings for PirlSettings {
    fn name(&self) -> &'static str {
        "pirl"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `temperature`"
    }

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let others = constraints.images.saturating_sub(constraints.batch);
        if self.negatives > others {
            let message = format!(
                "{} found, but a batch leaves only {others} of the {} images to draw them from",
                self.negatives, constraints.images
            );
            return Err(MethodError::setting("negatives", message));
        }
        Tiling::new(GRID, constraints.image).check(constraints)
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let (dim, projection) = (setup.encoder.dim, self.projection);
        let tiling = Tiling::new(GRID, setup.encoder.input);
        let head = |mut stream: Stream, from: usize| Linear::new(from, projection, true, &mut stream);
        let mut random = setup.stream.child("memory");
        let memory: Vec<f32> = (0..setup.images.n() * projection).map(|_| random.normal()).collect();
        Ok(Box::new(Pirl {
            settings: self.clone(),
            tiling,
            image: head(setup.stream.child("image head"), dim),
            patch: head(setup.stream.child("patch head"), dim),
            patches: head(setup.stream.child("patches head"), tiling.cells() * projection),
            memory: Carried::new(&[setup.images.n(), projection], normalised(&memory, projection)),
        }))
    }
}

struct Pirl {
    settings: PirlSettings,
    tiling: Tiling,
    /// `f`: on the image's features.
    image: Linear,
    /// On each patch's features.
    patch: Linear,
    /// `g`: on all patches' together.
    patches: Linear,
    /// `[images][projection]`, rows of length one.
    memory: Carried,
}

impl Method for Pirl {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let (n, dim) = (batch.len(), self.settings.projection);
        let view = batch.view("image", encoder, pass);
        let image = forward(&mut [encoder, &mut self.image], view, pass);

        let tiles = self.shuffled_patches(encoder.input, batch, pass);
        let each = forward(&mut [encoder, &mut self.patch], tiles, pass);
        let (rows, width) = (each.n, each.shape);
        let patches = self.patches.forward(regroup(each, n), pass);

        let positives = self.entries_of(batch.indices);
        let negatives = self.entries_of(&self.others(batch));
        let metrics = vec![
            Metric::spread(&image.data, dim),
            Metric::alignment(&image.data, &patches.data, dim),
            Metric {
                name: "memory_alignment",
                ..Metric::alignment(&image.data, &positives, dim)
            },
        ];
        let (loss, [dimage, dpatches]) = value_and_grads([matrix(&image), matrix(&patches)], |[image, patches]| {
            let PirlSettings {
                temperature, weight, ..
            } = self.settings;
            pirl(image, patches, &positives, &negatives, temperature, weight)
        })?;
        if let Some(deach) = self.patches.backward(gradient(n, dpatches), pass, true) {
            let deach = FeatureMap::new(rows, width, deach.data);
            backward(&mut [encoder, &mut self.patch], deach, pass);
        }
        backward(&mut [encoder, &mut self.image], gradient(n, dimage), pass);
        self.remember(batch.indices, &image.data);
        Ok(StepOutcome { loss, metrics })
    }
}

impl Pirl {
    /// The patches of every image in random order; the order is no label.
    fn shuffled_patches(&self, image: MapShape, batch: &Batch<'_>, pass: &Pass) -> FeatureMap {
        let mut view = batch.map(1, image, pass);
        batch.view_into("patches", &mut view.data);
        let mut tiles = batch.map(self.tiling.cells(), self.tiling.shape(image), pass);
        let patch = tiles.shape.len();
        let images = view.data.chunks_exact(image.len());
        for (i, (of_image, view)) in tiles
            .data
            .chunks_exact_mut(self.tiling.cells() * patch)
            .zip(images)
            .enumerate()
        {
            let mut stream = batch.stream.child("shuffle").index(i as u64);
            let order = stream.permutation(self.tiling.cells());
            for (tile, cell) in of_image.chunks_exact_mut(patch).zip(order) {
                self.tiling.cut(view, image, cell as usize, &mut stream, tile);
            }
        }
        tiles
    }

    /// Images that are not in the batch, each at most once.
    fn others(&self, batch: &Batch<'_>) -> Vec<u32> {
        let mut stream: Stream = batch.stream.child("negatives");
        let mut taken = vec![false; batch.images.n()];
        batch.indices.iter().for_each(|i| taken[*i as usize] = true);
        let mut drawn = Vec::with_capacity(self.settings.negatives);
        while drawn.len() < self.settings.negatives {
            let i = stream.below(batch.images.n());
            if !std::mem::replace(&mut taken[i], true) {
                drawn.push(i as u32);
            }
        }
        drawn
    }

    fn entries_of(&self, indices: &[u32]) -> Vec<f32> {
        let dim = self.settings.projection;
        let entry = |i: &u32| &self.memory[*i as usize * dim..][..dim];
        indices.iter().flat_map(entry).copied().collect()
    }

    /// `m = momentum m + (1 - momentum) v`, of length one again.
    fn remember(&mut self, indices: &[u32], representations: &[f32]) {
        let (dim, stay) = (self.settings.projection, self.settings.memory_momentum);
        let units = normalised(representations, dim);
        for (i, unit) in indices.iter().zip(units.chunks_exact(dim)) {
            let entry = &mut self.memory[*i as usize * dim..][..dim];
            entry
                .iter_mut()
                .zip(unit)
                .for_each(|(m, v)| *m = stay * *m + (1.0 - stay) * v);
            entry.copy_from_slice(&normalised(entry, dim));
        }
    }
}

tensors!(Pirl: image, patch, patches, memory);
