//! Applies a recipe to batches: bytes in, normalised views out. Texts have no recipe: their tokens go through as they are.

use std::cell::RefCell;

use rayon::prelude::*;

use super::moves::{Move, moved};
use super::{LocalViews, Op, Recipe, RecipeError, mix, rand_augment};
use crate::data::{Depth, Images, Located, Modality, NetworkInput, Samples};
use crate::image::{self, Crop, Resizer, Size};
use crate::layers::MapShape;
use crate::rng::Stream;
use crate::text;

/// A recipe with the statistics to normalise by.
#[derive(Clone, Debug)]
pub struct Augmenter {
    recipe: Recipe,
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    size: Size,
    modality: Modality,
    local: Option<Box<Local>>,
}

/// How local views are made.
#[derive(Clone, Debug)]
struct Local {
    views: LocalViews,
    /// Of their size, with the operations that follow their crop.
    augmenter: Augmenter,
}

/// Buffers of one thread, reused from image to image.
#[derive(Default)]
struct Scratch {
    image: Vec<f32>,
    other: Vec<f32>,
    resizer: Resizer,
    /// What the operations did to places.
    moves: Vec<Move>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Augmenter {
    /// For images of `h x w` pixels with the given mean and deviation of each channel.
    ///
    /// # Errors
    /// If the recipe makes no sense for so many channels.
    pub fn new(recipe: &Recipe, mean: &[f32], std: &[f32], h: usize, w: usize) -> Result<Self, RecipeError> {
        recipe.validate(mean.len())?;
        // A channel that never changes is only centred.
        let inverse_std = std.iter().map(|s| if *s > 1e-6 { 1.0 / s } else { 1.0 }).collect();
        let mut whole = Self {
            recipe: recipe.clone(),
            mean: mean.to_vec(),
            inverse_std,
            size: Size { h, w, c: mean.len() },
            modality: Modality::Images,
            local: None,
        };
        whole.local = recipe.local_views().map(|views| Box::new(whole.local(views)));
        Ok(whole)
    }

    fn local(&self, views: LocalViews) -> Local {
        let replaced = |op: &Op| matches!(op, Op::MultiCrop { .. } | Op::RandomResizedCrop { .. });
        let ops = self.recipe.ops.iter().filter(|op| !replaced(op)).cloned().collect();
        let MapShape { h, w, c } = views.shape(self.input().shape);
        let augmenter = Self {
            recipe: Recipe { ops },
            size: Size { h, w, c },
            ..self.clone()
        };
        Local { views, augmenter }
    }

    /// The local views that the recipe asks for, if it does.
    pub fn local_views(&self) -> Option<LocalViews> {
        self.local.as_ref().map(|local| local.views)
    }

    /// One local view of each image at `indices`, normalised, `[indices][h][w][c]` of their shape; the view at place `i` draws from
    /// `stream.index(i)`. Nothing where the recipe makes none, or of texts.
    pub fn local_batch(&self, samples: &Samples, indices: &[u32], stream: &Stream, out: &mut [f32]) {
        let (Some(local), Samples::Images(images)) = (&self.local, samples) else {
            return;
        };
        let Local { views, augmenter } = &**local;
        let each = out.par_chunks_mut(augmenter.size.len()).zip(indices).enumerate();
        each.for_each(|(place, (out, index))| {
            let mut stream = stream.index(place as u64);
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.load(images, *index as usize);
                let crop = any_crop(self.size, views.scale, views.ratio, &mut stream);
                scratch.cut(crop, self.size, augmenter.size);
                augmenter.run_recipe(&mut stream, scratch);
                augmenter.normalize(scratch.image.iter().copied(), out);
            });
        });
    }

    /// For texts of `length` tokens, whose bytes a network is given as they are.
    pub fn texts(length: usize, modality: Modality) -> Self {
        Self {
            recipe: Recipe::default(),
            mean: vec![0.0; text::BYTES],
            inverse_std: vec![1.0; text::BYTES],
            size: Size {
                h: length,
                w: 1,
                c: text::BYTES,
            },
            modality,
            local: None,
        }
    }

    /// What a network takes of what this makes.
    pub fn input(&self) -> NetworkInput {
        let Size { h, w, c } = self.size;
        NetworkInput {
            shape: MapShape { h, w, c },
            modality: self.modality,
        }
    }

    /// Views of the images at `indices`, normalised, `[indices][h][w][c]`; the view at place `i` draws from `stream.index(i)`. Texts have no
    /// views: they are given as they are.
    pub fn augment_batch(&self, samples: &Samples, indices: &[u32], stream: &Stream, out: &mut [f32]) {
        let Samples::Images(images) = samples else {
            return self.plain_batch(samples, indices, out);
        };
        out.par_chunks_mut(self.size.len())
            .zip(indices)
            .enumerate()
            .for_each(|(place, (out, index))| {
                SCRATCH.with_borrow_mut(|scratch| {
                    self.view((images, *index as usize), &mut stream.index(place as u64), scratch);
                    self.normalize(scratch.image.iter().copied(), out);
                });
            });
    }

    /// [`Augmenter::augment_batch`] of images with what is where in them, which moves with the pixels: `located` of each view.
    pub fn augment_located(
        &self,
        images: &Images,
        located: impl Fn(usize) -> Located + Sync,
        indices: &[u32],
        stream: &Stream,
        out: &mut [f32],
    ) -> Vec<Located> {
        let places = out.par_chunks_mut(self.size.len()).zip(indices).enumerate();
        let view = |(place, (out, index)): (usize, (&mut [f32], &u32))| {
            SCRATCH.with_borrow_mut(|scratch| {
                let index = *index as usize;
                self.view((images, index), &mut stream.index(place as u64), scratch);
                self.normalize(scratch.image.iter().copied(), out);
                moved(located(index), &scratch.moves, self.size)
            })
        };
        places.map(view).collect()
    }

    /// Mixes views of a batch, `[batch][h][w][c]`, and their targets, `[batch][classes]`, where the recipe says so.
    pub fn mix_batch(&self, views: &mut [f32], targets: &mut [f32], stream: &Stream) {
        for op in &self.recipe.ops {
            match op {
                Op::Mixup { alpha } => mix::mixup(views, targets, self.size, *alpha, &mut stream.child("mixup")),
                Op::Cutmix { alpha } => mix::cutmix(views, targets, self.size, *alpha, &mut stream.child("cutmix")),
                _ => {}
            }
        }
    }

    /// The images as they are, normalised; the tokens of texts as [`text::token`] reads them.
    pub fn plain_batch(&self, samples: &Samples, indices: &[u32], out: &mut [f32]) {
        out.par_chunks_mut(self.size.len())
            .zip(indices)
            .for_each(|(out, index)| match samples {
                Samples::Images(images) if images.depth == Depth::Eight => {
                    let pixels = images.pixels_of(*index as usize);
                    self.normalize(pixels.iter().map(|v| f32::from(*v) / 255.0), out);
                }
                Samples::Images(images) => self.normalize(images.values_of(*index as usize), out),
                Samples::Texts(texts) => {
                    let tokens = out.chunks_exact_mut(text::BYTES).zip(texts.ids_of(*index as usize));
                    tokens.for_each(|(bytes, id)| text::set_token(bytes, usize::from(*id)));
                }
            });
    }

    /// One value in `[0, 1]`, normalised as that of `channel`.
    pub fn normalized(&self, value: f32, channel: usize) -> f32 {
        (value - self.mean[channel]) * self.inverse_std[channel]
    }

    /// Normalised values back to `[0, 1]`.
    pub fn denormalize(&self, values: &mut [f32]) {
        let channels = self.mean.len();
        for (i, v) in values.iter_mut().enumerate() {
            *v = *v / self.inverse_std[i % channels] + self.mean[i % channels];
        }
    }

    fn normalize(&self, values: impl Iterator<Item = f32>, out: &mut [f32]) {
        if let ([mean], [scale]) = (&self.mean[..], &self.inverse_std[..]) {
            out.iter_mut().zip(values).for_each(|(o, v)| *o = (v - mean) * scale);
            return;
        }
        let channels = self.mean.len();
        for (i, (o, v)) in out.iter_mut().zip(values).enumerate() {
            *o = (v - self.mean[i % channels]) * self.inverse_std[i % channels];
        }
    }

    /// Runs the recipe; the view is left in `scratch.image`.
    fn view(&self, (images, index): (&Images, usize), stream: &mut Stream, scratch: &mut Scratch) {
        scratch.load(images, index);
        self.run_recipe(stream, scratch);
    }

    fn run_recipe(&self, stream: &mut Stream, scratch: &mut Scratch) {
        for op in &self.recipe.ops {
            self.apply(op, stream, scratch);
        }
    }

    fn apply(&self, op: &Op, stream: &mut Stream, scratch: &mut Scratch) {
        let (size, c) = (self.size, self.size.c);
        let Scratch { image, moves, .. } = scratch;
        match op {
            Op::RandomResizedCrop { scale, ratio } => {
                let crop = any_crop(size, *scale, *ratio, stream);
                scratch.moved(Move::Crop(crop), size);
            }
            Op::ScaleJitter { scale } => {
                let window = random_window(size, *scale, stream);
                scratch.moved(window, size);
            }
            Op::HorizontalFlip { p } => {
                if stream.bernoulli(*p) {
                    scratch.moved(Move::Flip, size);
                }
            }
            Op::ColorJitter {
                p,
                brightness,
                contrast,
                saturation,
                hue,
            } => {
                let spreads = [*brightness, *contrast, *saturation, *hue];
                jitter(image, c, *p, spreads, stream);
            }
            Op::Grayscale { p } => {
                if stream.bernoulli(*p) {
                    image::grayscale(image, c);
                }
            }
            Op::GaussianBlur { p, sigma } => {
                let (chosen, sigma) = (stream.bernoulli(*p), stream.range(sigma[0], sigma[1]));
                if chosen {
                    *image = image::gaussian_blur(image, size, kernel_of(sigma, size), sigma);
                }
            }
            Op::Solarize { p, threshold } => {
                if stream.bernoulli(*p) {
                    image::solarize(image, *threshold);
                }
            }
            Op::Posterize { p, bits } => {
                if stream.bernoulli(*p) {
                    image::posterize(image, *bits);
                }
            }
            Op::Rotate { p, degrees } => {
                let (chosen, angle) = (stream.bernoulli(*p), stream.range(-degrees, *degrees));
                if chosen {
                    *image = image::rotate(image, size, angle, 0.0);
                    moves.push(Move::rotation(angle));
                }
            }
            Op::Shift { pixels } => {
                let mut by = || stream.below(2 * pixels + 1) as isize - *pixels as isize;
                let (down, right) = (by(), by());
                scratch.moved(Move::Shift { down, right }, size);
            }
            Op::Erase { p, scale } => {
                let chosen = stream.bernoulli(*p);
                let area = random_crop(size, *scale, [0.3, 3.3], stream);
                if let Some(area) = area.filter(|_| chosen) {
                    image::erase(image, size, area, 0.0);
                }
            }
            Op::RandAugment { count, magnitude } => rand_augment(image, moves, size, *count, *magnitude, stream),
            Op::Cutout { p, size: share } => {
                let chosen = stream.bernoulli(*p);
                let area = square(size, stream.range(share[0], share[1]), stream);
                if chosen {
                    image::erase(image, size, area, 0.5);
                }
            }
            // Of batches, and of views of their own: see `mix_batch` and `local_batch`.
            Op::Mixup { .. } | Op::Cutmix { .. } | Op::MultiCrop { .. } => {}
        }
    }
}

/// Width of a kernel with two deviations to each side, as far as the image has them.
fn kernel_of(sigma: f32, size: Size) -> usize {
    let largest = size.h.min(size.w).saturating_sub(1) / 2;
    2 * ((2.0 * sigma).ceil() as usize).min(largest) + 1
}

impl Scratch {
    /// Takes an image as it is.
    fn load(&mut self, images: &Images, index: usize) {
        let Self { image, moves, .. } = self;
        moves.clear();
        image.clear();
        match images.depth {
            Depth::Eight => image.extend(images.pixels_of(index).iter().map(|v| f32::from(*v) * (1.0 / 255.0))),
            Depth::Sixteen => image.extend(images.values_of(index)),
        }
    }

    /// Cuts a part out of the image, at another size.
    fn cut(&mut self, crop: Crop, from: Size, to: Size) {
        self.other.resize(to.len(), 0.0);
        let Self {
            image, other, resizer, ..
        } = self;
        resizer.crop(image, from, crop, false, other, (to.h, to.w));
        std::mem::swap(image, other);
    }

    /// Moves the pixels, and remembers how.
    fn moved(&mut self, by: Move, size: Size) {
        let Self {
            image,
            other,
            resizer,
            moves,
        } = self;
        moves.push(by);
        other.resize(image.len(), 0.0);
        match by {
            Move::Crop(crop) => resizer.crop(image, size, crop, false, other, (size.h, size.w)),
            Move::Flip => return image::horizontal_flip(image, size),
            Move::Shift { down, right } => image::shift_reflect(image, size, down, right, other),
            Move::Window { to, top, left } => image::window(image, size, to, (top, left), other),
            Move::Affine(_) => return,
        }
        std::mem::swap(image, other);
    }
}

/// A random scale, and a random place of the window in the image, or of the image in the window.
fn random_window(size: Size, scale: [f32; 2], stream: &mut Stream) -> Move {
    let factor = stream.range(scale[0], scale[1]);
    let scaled = |long: usize| ((long as f32 * factor).round() as usize).max(1);
    let to = (scaled(size.h), scaled(size.w));
    let mut place = |resized: usize, long: usize| {
        let least = (resized as isize - long as isize).min(0);
        least + stream.below(resized.abs_diff(long) + 1) as isize
    };
    let (top, left) = (place(to.0, size.h), place(to.1, size.w));
    Move::Window { to, top, left }
}

/// With probability `p`: brightness, contrast, saturation and hue by random factors, each within its spread.
fn jitter(image: &mut [f32], channels: usize, p: f32, spreads: [f32; 4], stream: &mut Stream) {
    // Always drawn, so that what follows does not depend on the outcome.
    let chosen = stream.bernoulli(p);
    let [b, k, s, h] = spreads.map(|spread| 1.0 + stream.range(-spread, spread));
    if !chosen {
        return;
    }
    image::brightness(image, b);
    image::contrast(image, channels, k);
    if spreads[2] > 0.0 {
        image::saturation(image, channels, s);
    }
    if spreads[3] > 0.0 {
        image::hue(image, channels, h - 1.0);
    }
}

/// [`random_crop`], or the largest one where there is none.
fn any_crop(size: Size, scale: [f32; 2], ratio: [f32; 2], stream: &mut Stream) -> Crop {
    random_crop(size, scale, ratio, stream).unwrap_or_else(|| largest_crop(size, ratio))
}

/// A rectangle with a random share of the area and a random aspect (log-uniform), at a random place; `None` if ten tries give
/// none that fits, as in torchvision.
fn random_crop(size: Size, scale: [f32; 2], ratio: [f32; 2], stream: &mut Stream) -> Option<Crop> {
    let area = (size.h * size.w) as f32;
    for _ in 0..10 {
        let target = area * stream.range(scale[0], scale[1]);
        let aspect = stream.range(ratio[0].ln(), ratio[1].ln()).exp();
        let width = (target * aspect).sqrt().round() as usize;
        let height = (target / aspect).sqrt().round() as usize;
        if (1..=size.w).contains(&width) && (1..=size.h).contains(&height) {
            let top = stream.below(size.h - height + 1);
            let left = stream.below(size.w - width + 1);
            return Some(Crop {
                top,
                left,
                height,
                width,
            });
        }
    }
    None
}

/// A square whose side is a share of the shorter side, around a random pixel, cut at the border.
fn square(size: Size, share: f32, stream: &mut Stream) -> Crop {
    let side = (share * size.h.min(size.w) as f32).round() as usize;
    let mut place = |length: usize| {
        let centre = stream.below(length);
        let from = centre.saturating_sub(side / 2);
        (from, (centre + side - side / 2).min(length) - from)
    };
    let ((top, height), (left, width)) = (place(size.h), place(size.w));
    Crop {
        top,
        left,
        height: if side == 0 { 0 } else { height },
        width,
    }
}

/// The largest rectangle in the middle whose aspect lies within `ratio`.
fn largest_crop(size: Size, ratio: [f32; 2]) -> Crop {
    let width = size.w.min((size.h as f32 * ratio[1]).round() as usize).max(1);
    let height = size.h.min((size.w as f32 / ratio[0]).round() as usize).max(1);
    Crop {
        top: (size.h - height) / 2,
        left: (size.w - width) / 2,
        height,
        width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Images, Tokens};

    fn images() -> Samples {
        let pixels = (0..6 * 12 * 10 * 3u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        Images::new(12, 10, 3, pixels, vec![0; 6]).expect("sizes fit").into()
    }

    fn augmenter() -> Augmenter {
        let mut recipe = Recipe::named("strong").expect("shipped");
        recipe.ops.extend([
            Op::Rotate { p: 0.5, degrees: 20.0 },
            Op::GaussianBlur {
                p: 0.5,
                sigma: [0.1, 2.0],
            },
        ]);
        Augmenter::new(&recipe, &[0.5; 3], &[0.25; 3], 12, 10).expect("valid")
    }

    #[test]
    fn views_do_not_depend_on_the_number_of_threads() {
        let (images, augmenter) = (images(), augmenter());
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            let mut out = vec![0.0; 6 * 360];
            pool.install(|| augmenter.augment_batch(&images, &[0, 1, 2, 3, 4, 5], &Stream::new(1, "views"), &mut out));
            out
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn views_of_the_same_image_differ_by_place_and_by_stream() {
        let (images, augmenter) = (images(), augmenter());
        let view = |name: &str| {
            let mut out = vec![0.0; 2 * 360];
            augmenter.augment_batch(&images, &[3, 3], &Stream::new(1, name), &mut out);
            out
        };
        let a = view("a");
        assert_ne!(a[..360], a[360..]);
        assert_ne!(a, view("b"));
    }

    #[test]
    fn an_erasure_too_small_to_fit_erases_nothing() {
        let images = images();
        let recipe = Recipe {
            ops: vec![Op::Erase {
                p: 1.0,
                scale: [0.0001, 0.0002],
            }],
        };
        let augmenter = Augmenter::new(&recipe, &[0.5; 3], &[0.25; 3], 12, 10).expect("valid");
        let (mut erased, mut plain) = (vec![0.0; 360], vec![0.0; 360]);
        augmenter.augment_batch(&images, &[1], &Stream::new(1, "erase"), &mut erased);
        augmenter.plain_batch(&images, &[1], &mut plain);
        assert!(erased.iter().zip(&plain).all(|(e, p)| (e - p).abs() < 1e-5));
    }

    #[test]
    fn tokens_of_texts_go_through_to_the_bit() {
        let ids: Vec<u16> = (0..128).map(|i| i * 513).collect();
        let texts = Tokens::new(128, text::LARGEST, ids.clone(), vec![0]).expect("sizes fit");
        let modality = Modality::Texts {
            vocabulary: text::LARGEST,
            fingerprint: 0,
        };
        let augmenter = Augmenter::texts(128, modality);
        let mut view = vec![0.0; 256];
        augmenter.augment_batch(&texts.into(), &[0], &Stream::new(1, "texts"), &mut view);
        let tokens: Vec<usize> = view.chunks_exact(text::BYTES).map(text::token).collect();
        assert!(tokens.iter().zip(&ids).all(|(token, id)| *token == usize::from(*id)));
    }

    #[test]
    fn plain_images_are_only_normalised() {
        let (images, augmenter) = (images(), augmenter());
        let mut out = vec![0.0; 360];
        augmenter.plain_batch(&images, &[2], &mut out);
        let pixels = images.images().expect("images").pixels_of(2);
        for (o, p) in out.iter().zip(pixels) {
            assert!((o - (f32::from(*p) / 255.0 - 0.5) * 4.0).abs() < 1e-5);
        }
    }
}
