//! Bilinear resizing with antialiasing, of a whole image or of a crop, as torchvision's tensor path does it: a triangle filter
//! that widens with the scale, separably, rows of weights that sum to one.

use super::Size;

/// A rectangle of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Crop {
    /// The whole image.
    pub fn whole(size: Size) -> Self {
        Self {
            top: 0,
            left: 0,
            height: size.h,
            width: size.w,
        }
    }
}

/// Weights of one output position: the first input position and its weights' place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tap {
    pub(super) first: usize,
    start: usize,
    pub(super) count: usize,
}

/// Taps of one axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    pub(super) taps: Vec<Tap>,
    weights: Vec<f32>,
}

impl Axis {
    /// Taps that map `from` pixels to `to`.
    pub(super) fn set(&mut self, from: usize, to: usize) {
        self.taps.clear();
        self.weights.clear();
        let scale = from as f32 / to as f32;
        let widened = scale.max(1.0);
        for o in 0..to {
            let centre = (o as f32 + 0.5) * scale;
            let first = (centre - widened + 0.5).max(0.0) as usize;
            let end = ((centre + widened + 0.5) as usize).min(from);
            let start = self.weights.len();
            let mut sum = 0.0;
            for i in first..end {
                let weight = (1.0 - ((i as f32 - centre + 0.5) / widened).abs()).max(0.0);
                self.weights.push(weight);
                sum += weight;
            }
            self.weights[start..].iter_mut().for_each(|w| *w /= sum);
            self.taps.push(Tap {
                first,
                start,
                count: end - first,
            });
        }
    }

    pub(super) fn weights(&self, tap: &Tap) -> &[f32] {
        &self.weights[tap.start..tap.start + tap.count]
    }
}

/// Resizes with buffers that are reused from image to image.
#[derive(Clone, Debug, Default)]
pub struct Resizer {
    rows: Axis,
    columns: Axis,
    between: Vec<f32>,
}

impl Resizer {
    /// Resizes `crop` of `image` to `out`'s size; `flip` mirrors the result from left to right.
    ///
    /// # Panics
    /// With `BUG:` if the crop is empty or reaches outside, or a slice does not fit its size.
    pub fn crop(
        &mut self,
        image: &[f32],
        size: Size,
        crop: Crop,
        flip: bool,
        out: &mut [f32],
        (oh, ow): (usize, usize),
    ) {
        let c = size.c;
        assert!(crop.height > 0 && crop.width > 0, "BUG: an empty crop");
        assert!(
            crop.top + crop.height <= size.h && crop.left + crop.width <= size.w,
            "BUG: a crop outside its image"
        );
        assert!(
            image.len() == size.len() && out.len() == oh * ow * c,
            "BUG: slices do not fit the sizes"
        );
        self.columns.set(crop.width, ow);
        self.rows.set(crop.height, oh);
        self.between.clear();
        self.between.resize(crop.height * ow * c, 0.0);
        for y in 0..crop.height {
            let line = &image[((crop.top + y) * size.w + crop.left) * c..][..crop.width * c];
            let to = &mut self.between[y * ow * c..][..ow * c];
            for (o, tap) in self.columns.taps.iter().enumerate() {
                let at = if flip { ow - 1 - o } else { o };
                for (k, weight) in self.columns.weights(tap).iter().enumerate() {
                    let from = &line[(tap.first + k) * c..][..c];
                    to[at * c..][..c]
                        .iter_mut()
                        .zip(from)
                        .for_each(|(t, v)| *t += v * weight);
                }
            }
        }
        for (tap, to) in self.rows.taps.iter().zip(out.chunks_exact_mut(ow * c)) {
            to.fill(0.0);
            for (k, weight) in self.rows.weights(tap).iter().enumerate() {
                let from = &self.between[(tap.first + k) * ow * c..][..ow * c];
                to.iter_mut().zip(from).for_each(|(t, v)| *t += v * weight);
            }
        }
    }
}

/// The whole image at another size, `[oh][ow][c]`.
pub fn resize(image: &[f32], size: Size, (oh, ow): (usize, usize)) -> Vec<f32> {
    let mut out = vec![0.0; oh * ow * size.c];
    Resizer::default().crop(image, size, Crop::whole(size), false, &mut out, (oh, ow));
    out
}
