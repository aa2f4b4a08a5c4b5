//! Tiles of a view: patches from the cells of a grid, each at a random place in its cell, so that edges do not run on from one to the next.

use super::batch::MethodConstraints;
use super::outcome::MethodError;
use crate::layers::{FeatureMap, MapShape};
use crate::rng::Stream;

/// How views are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Cells per side.
    pub(super) grid: usize,
    /// Height and width of a patch.
    pub(super) patch: usize,
}

/// Patches smaller than this show too little.
const LEAST_PATCH: usize = 4;

impl Tiling {
    /// Patches of four fifths of a cell.
    pub(super) fn new(grid: usize, image: MapShape) -> Self {
        let cell = image.h.min(image.w) / grid.max(1);
        Self {
            grid,
            patch: cell * 4 / 5,
        }
    }

    /// Whether the patches are large enough, and the encoder takes images of their size.
    pub(super) fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        if constraints.patches.is_some() {
            let message = "a vision transformer takes images of one size, and this method shows it small pieces of them; take a convolutional backbone, e.g. { name = \"conv4\" }";
            return Err(MethodError::setting("backbone", message));
        }
        if self.patch >= LEAST_PATCH {
            return Ok(());
        }
        let MapShape { h, w, .. } = constraints.image;
        let (grid, patch) = (self.grid, self.patch);
        Err(MethodError::setting(
            "method",
            format!(
                "images of {h}x{w} cut into {grid}x{grid} cells give patches of {patch} pixels, expected at least {LEAST_PATCH}: take larger images"
            ),
        ))
    }

    pub(super) fn cells(&self) -> usize {
        self.grid * self.grid
    }

    /// The shape of a patch.
    pub(super) fn shape(&self, image: MapShape) -> MapShape {
        MapShape {
            h: self.patch,
            w: self.patch,
            c: image.c,
        }
    }

    /// Copies a patch of one view's `cell`, counted row by row, from a random place in it.
    pub(super) fn cut(&self, view: &[f32], image: MapShape, cell: usize, stream: &mut Stream, out: &mut [f32]) {
        let (height, width) = (image.h / self.grid, image.w / self.grid);
        let top = cell / self.grid * height + stream.below(height - self.patch + 1);
        let left = cell % self.grid * width + stream.below(width - self.patch + 1);
        let run = self.patch * image.c;
        for (y, line) in out.chunks_exact_mut(run).enumerate() {
            let from = ((top + y) * image.w + left) * image.c;
            line.copy_from_slice(&view[from..from + run]);
        }
    }
}

/// Scales a patch to mean 0 and deviation 1, which takes away brightness and contrast as clues to its place.
pub(super) fn standardise(patch: &mut [f32]) {
    let n = patch.len().max(1) as f32;
    let mean = patch.iter().sum::<f32>() / n;
    let variance = patch.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
    let scale = 1.0 / (variance + 1e-4).sqrt();
    patch.iter_mut().for_each(|v| *v = (*v - mean) * scale);
}

/// Vectors of `together` rows each as one longer vector, and back with `together` of 1 over it: the values stay in place.
pub(super) fn regroup(vectors: FeatureMap, n: usize) -> FeatureMap {
    let dim = vectors.data.len() / n.max(1);
    FeatureMap::new(n, MapShape::vector(dim), vectors.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_from_their_cell() {
        let image = MapShape { h: 28, w: 28, c: 1 };
        let tiling = Tiling::new(3, image);
        assert_eq!((tiling.patch, tiling.cells()), (7, 9));
        // Each pixel says which cell it is in.
        let view: Vec<f32> = (0..784).map(|p| (p / 28 / 9 * 3 + p % 28 / 9) as f32).collect();
        let mut patch = vec![0.0; 49];
        for cell in 0..9 {
            for i in 0..20 {
                tiling.cut(&view, image, cell, &mut Stream::new(1, "tiles").index(i), &mut patch);
                assert!(patch.iter().all(|v| *v == cell as f32), "cell {cell}: {patch:?}");
            }
        }
    }

    #[test]
    fn brightness_and_contrast_of_a_patch_do_not_show() {
        let mut a: Vec<f32> = (0..16).map(|i| (i * 7 % 5) as f32).collect();
        let mut b: Vec<f32> = a.iter().map(|v| v * 3.0 + 8.0).collect();
        standardise(&mut a);
        standardise(&mut b);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    }
}
