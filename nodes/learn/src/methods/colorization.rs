//! Colorization (Zhang et al. 2016, 1603.08511): tell the colours of a gray image.
//!
//! The input is the lightness in all three channels, as that of a gray image; the target is each place's colour as a distribution `z` over bins of the a*b* plane: its five
//! nearest bins, weighted by a Gaussian of deviation 5 (section 2.2). `L = -1/n sum v(z) sum_q z_q log p_q` (eq. 2) with rebalancing weights `v ~ ((1 -
//! lambda) p + lambda / Q)^-1` of the nearest bin, of mean 1 over the training images (eq. 4), or rare colours grey out.
//!
//! Colours are predicted at a quarter of the image's height and width; `colour_error` is how far the annealed mean of the prediction (eq. 5) is from the
//! colour, in units of a*b*.
//!
//! Traps: a squared error, or bins that all weigh the same, greys out. Images of one channel have nothing to tell. The encoder
//! has seen three equal channels only: downstream, gray images suit it better than those in colour. Where colour has nothing to do with what
//! is asked for later, there is nothing to learn.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{backward, forward};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::palette::Palette;
use super::shown::Shown;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::image::{Size, lab_to_rgb, resize, rgb_to_lab};
use crate::layers::{
    BatchNorm, Conv2d, ConvSettings, FeatureMap, Linear, MapShape, NormSettings, Pass, Sequential, Unflatten, tensors,
};
use crate::losses::{soft_cross_entropy, value_and_grads};
use crate::metrics::argmax;
use crate::rng::Stream;
use crate::settings::{SHARE, WIDTH, settings};

settings! {
    /// Hyper-parameters.
    pub struct ColorizationSettings {
        /// Width of a bin on both colour axes. The paper has 10 for photographs; 20 suits small images and costs a quarter.
        bin: f32 = 20.0, in 5.0..=40.0;
        /// `lambda`: share of the uniform distribution in the rebalancing; .5 in the paper.
        rebalance: f32 = 0.5, in SHARE;
        /// Channels of the map that colours are predicted from.
        width: usize = 64, in WIDTH;
    }
}

/// How much smaller than the image the map of colours is.
const SHRUNK: usize = 4;

/// Temperature of the annealed mean that colours are read with; .38 in the paper (section 2.3).
const ANNEALED: f32 = 0.38;

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

    fn check(&self, constraints: &MethodConstraints) -> Result<(), MethodError> {
        let MapShape { h, w, c } = constraints.image;
        if c != 3 {
            let message = format!(
                "colorization needs images in colour, these have {c} channel(s): there is no colour to predict"
            );
            return Err(MethodError::setting("method", message));
        }
        if !h.is_multiple_of(SHRUNK) || !w.is_multiple_of(SHRUNK) {
            let message =
                format!("colorization needs images whose sides are multiples of {SHRUNK}, these have {h}x{w}");
            return Err(MethodError::setting("method", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let MapShape { h, w, .. } = setup.encoder.input;
        let map = MapShape {
            h: h / SHRUNK,
            w: w / SHRUNK,
            c: self.width,
        };
        let Some(images) = setup.images.images() else {
            return Err(MethodError::setting("method", "BUG: colorization was given texts"));
        };
        let palette = Palette::of_screen(self.bin).rebalanced_by(images, self.rebalance);
        let mut stream: Stream = setup.stream.child("head");
        let head = Sequential::default()
            .with("0", Linear::new(setup.encoder.dim, map.len(), false, &mut stream))
            .with("", Unflatten { shape: map })
            .with("1", BatchNorm::new(map.c, true, NormSettings::default()))
            .with(
                "2",
                Conv2d::new(ConvSettings::three(map.c, palette.len(), 1), true, &mut stream),
            );
        Ok(Box::new(Colorization { palette, head }))
    }
}

struct Colorization {
    palette: Palette,
    head: Sequential,
}

impl Method for Colorization {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut view = batch.view("view", encoder, pass);
        let colours = take_colours(&mut view, batch);
        let targets = self.palette.targets(&colours);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let (n, shape, bins) = (logits.n, logits.shape, self.palette.len());
        let of_place = logits.data.chunks_exact(bins).zip(targets.chunks_exact(bins));
        let right = of_place.filter(|(row, target)| argmax(row) == argmax(target)).count();
        let places = logits.rows();
        let distance = |(row, colour): (&[f32], &[f32; 2])| {
            let [a, b] = self.palette.annealed_mean(row, ANNEALED);
            f64::from((a - colour[0]).hypot(b - colour[1]))
        };
        let off: f64 = logits.data.chunks_exact(bins).zip(&colours).map(distance).sum();
        let (loss, [dlogits]) = value_and_grads([(logits.data.to_vec(), (places, bins))], |[logits]| {
            soft_cross_entropy(logits, &targets)
        })?;
        backward(&mut [encoder, &mut self.head], FeatureMap::new(n, shape, dlogits), pass);
        Ok(StepOutcome {
            loss,
            metrics: vec![
                Metric::accuracy(right, places),
                Metric::new("colour_error", (off / places.max(1) as f64) as f32),
            ],
        })
    }

    fn pictures(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Vec<Shown> {
        let mut view = batch.view("view", encoder, pass);
        let whole = Shown::of_images("view", view.data.to_vec(), view.shape, batch);
        take_colours(&mut view, batch);
        let gray = Shown::of_images("without colour", view.data.to_vec(), view.shape, batch);
        let logits = forward(&mut [encoder, &mut self.head], view, pass);
        let coloured = self.coloured(&gray, &logits);
        vec![whole, gray, coloured]
    }
}

impl Colorization {
    /// Gray pictures in the colours that logits tell, which are made as large by bilinear interpolation.
    fn coloured(&self, gray: &Shown, logits: &FeatureMap) -> Shown {
        let MapShape { h, w, .. } = logits.shape;
        let mut values = gray.values.clone();
        let of_image = logits.data.chunks_exact(logits.shape.len());
        for (image, logits) in values.chunks_exact_mut(gray.shape.len()).zip(of_image) {
            let rows = logits.chunks_exact(self.palette.len());
            let coarse: Vec<f32> = rows.flat_map(|row| self.palette.annealed_mean(row, ANNEALED)).collect();
            let colours = resize(&coarse, Size { h, w, c: 2 }, (gray.shape.h, gray.shape.w));
            for (pixel, colour) in image.chunks_exact_mut(3).zip(colours.chunks_exact(2)) {
                pixel.copy_from_slice(&lab_to_rgb([100.0 * pixel[0], colour[0], colour[1]]));
            }
        }
        Shown {
            name: "colours told".into(),
            shape: gray.shape,
            values,
        }
    }
}

/// Takes the colour out of the views, which keep their lightness in all channels, and gives back its a*b*, `[views][h / 4][w / 4]`.
fn take_colours(view: &mut FeatureMap, batch: &Batch<'_>) -> Vec<[f32; 2]> {
    let MapShape { h, w, .. } = view.shape;
    let (rows, columns) = (h / SHRUNK, w / SHRUNK);
    let mut colours = vec![[0.0f32; 2]; view.n * rows * columns];
    let images = view.data.chunks_exact_mut(view.shape.len());
    for (image, colours) in images.zip(colours.chunks_exact_mut(rows * columns)) {
        batch.augmenter.denormalize(image);
        for (p, pixel) in image.chunks_exact_mut(3).enumerate() {
            let [l, a, b] = rgb_to_lab([pixel[0], pixel[1], pixel[2]]);
            let colour = &mut colours[p / w / SHRUNK * columns + p % w / SHRUNK];
            colour[0] += a / (SHRUNK * SHRUNK) as f32;
            colour[1] += b / (SHRUNK * SHRUNK) as f32;
            // A gray of this lightness, normalised as images are downstream.
            for (channel, v) in pixel.iter_mut().enumerate() {
                *v = batch.augmenter.normalized(l / 100.0, channel);
            }
        }
    }
    colours
}

tensors!(Colorization: head);
