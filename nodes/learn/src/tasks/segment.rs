//! Semantic segmentation: the class of each pixel, or background.
//!
//! The head is a light decoder with lateral connections (U-Net's shape, Ronneberger et al. 2015, 1505.04597; sums instead of concatenations, as LinkNet's,
//! 1707.03718): from the coarsest map on, a transposed convolution doubles the size, the backbone's map of that size is added through a 1x1 convolution, and a 3x3
//! convolution looks at the sum.

use std::collections::BTreeMap;

use super::{Found, Frame, Guessing, Head, Judged, Needs, Task};
use crate::data::{IGNORE, Located, MOST_MASK_CLASSES};
use crate::layers::{
    Conv2d, ConvNorm, ConvSettings, ConvTranspose2d, Entry, FeatureMap, Layer, MapShape, Pass, Tensors,
    TransposeSettings, Upsample, join,
};
use crate::losses::{LossError, probabilities, soft_segmentation, value_and_grads};
use crate::metrics::{argmax, judge_masks};
use crate::rng::Stream;
use crate::settings::SettingError;

/// The most channels of the decoder.
const WIDEST: usize = 64;

/// What Dice weighs beside cross-entropy.
const DICE: f32 = 1.0;

/// What the class of pixels of no thing is called.
const BACKGROUND: &str = "background";

/// The class of each pixel.
#[derive(Debug)]
pub(super) struct Segment;

/// One doubling of the size.
struct Level {
    up: ConvTranspose2d,
    lateral: ConvNorm,
    merge: ConvNorm,
}

/// From the coarsest map to a score for each class and pixel.
struct Decoder {
    top: ConvNorm,
    /// The coarsest first.
    levels: Vec<Level>,
    scores: Conv2d,
    enlarge: Upsample,
    size: [usize; 2],
}

impl Decoder {
    fn new(frame: &Frame, stages: &[MapShape], stream: &mut Stream) -> Result<Self, SettingError> {
        let Frame {
            height, width, classes, ..
        } = *frame;
        if classes > MOST_MASK_CLASSES {
            let message = format!("{classes} classes found, but a mask tells at most {MOST_MASK_CLASSES} apart");
            return Err(SettingError::new("data", message));
        }
        let [finest, .., coarsest] = stages else {
            let message = "segmentation needs a backbone of convolutions with maps of at least two sizes";
            return Err(SettingError::new("backbone", message));
        };
        let factor = height / finest.h.max(1);
        let doubles = stages
            .windows(2)
            .all(|pair| (pair[0].h, pair[0].w) == (2 * pair[1].h, 2 * pair[1].w));
        if !doubles || (finest.h * factor, finest.w * factor) != (height, width) {
            let multiple = factor.max(1) << (stages.len() - 1);
            let message = format!(
                "its maps of {height}x{width} images do not halve exactly: expected sides that are multiples of {multiple}"
            );
            return Err(SettingError::new("backbone", message));
        }
        let of = |shape: &MapShape| shape.c.min(WIDEST);
        let named = ("conv", "norm");
        let top = ConvNorm::new(ConvSettings::one(coarsest.c, of(coarsest), 1), true, named, stream);
        let mut levels = Vec::new();
        for pair in stages.windows(2).rev() {
            let (fine, coarse) = (&pair[0], &pair[1]);
            levels.push(Level {
                up: ConvTranspose2d::new(TransposeSettings::double(of(coarse), of(fine)), stream),
                lateral: ConvNorm::new(ConvSettings::one(fine.c, of(fine), 1), false, named, stream),
                merge: ConvNorm::new(ConvSettings::three(of(fine), of(fine), 1), true, named, stream),
            });
        }
        Ok(Self {
            top,
            levels,
            scores: Conv2d::new(ConvSettings::one(of(finest), classes + 1, 1), true, stream),
            enlarge: Upsample { factor },
            size: [height, width],
        })
    }
}

impl Head for Decoder {
    fn maps(&self) -> Vec<[usize; 2]> {
        vec![self.size]
    }

    fn forward(&mut self, mut stages: Vec<FeatureMap>, pass: &mut Pass) -> FeatureMap {
        let coarsest = stages.pop().expect("BUG: a decoder has maps");
        let mut y = self.top.forward(coarsest, pass);
        for (level, lateral) in self.levels.iter_mut().zip(stages.into_iter().rev()) {
            y = level.up.forward(y, pass);
            let other = level.lateral.forward(lateral, pass);
            pass.device().add(&mut y.data, &other.data);
            y = level.merge.forward(y, pass);
        }
        let y = self.scores.forward(y, pass);
        if self.enlarge.factor == 1 {
            y
        } else {
            self.enlarge.forward(y, pass)
        }
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass) -> Vec<Option<FeatureMap>> {
        let wanted = "BUG: a gradient was asked for";
        if self.enlarge.factor > 1 {
            dy = self.enlarge.backward(dy, pass, true).expect(wanted);
        }
        dy = self.scores.backward(dy, pass, true).expect(wanted);
        let mut gradients = Vec::new();
        for level in self.levels.iter_mut().rev() {
            let sum = level.merge.backward(dy, pass, true).expect(wanted);
            gradients.push(level.lateral.backward(sum.clone(), pass, true));
            dy = level.up.backward(sum, pass, true).expect(wanted);
        }
        gradients.push(self.top.backward(dy, pass, true));
        gradients
    }
}

impl Tensors for Decoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.top.entries(&join(prefix, "top"), out);
        for (i, level) in self.levels.iter_mut().enumerate() {
            let prefix = join(prefix, &format!("levels.{i}"));
            level.up.entries(&join(&prefix, "up"), out);
            level.lateral.entries(&join(&prefix, "lateral"), out);
            level.merge.entries(&join(&prefix, "merge"), out);
        }
        self.scores.entries(&join(prefix, "scores"), out);
    }
}

impl Task for Segment {
    fn name(&self) -> &'static str {
        "segment"
    }

    fn needs(&self) -> Needs {
        Needs::Masks
    }

    fn figure(&self) -> (&'static str, &'static str) {
        ("mean_iou", "mean IoU")
    }

    fn head(&self, frame: &Frame, stages: &[MapShape], stream: &mut Stream) -> Result<Box<dyn Head>, SettingError> {
        Ok(Box::new(Decoder::new(frame, stages, stream)?))
    }

    fn loss(&self, values: &[f32], truths: &[Located], frame: &Frame) -> Result<(f32, Vec<f32>), LossError> {
        let labels: Vec<u8> = truths.iter().flat_map(|truth| &truth.mask).copied().collect();
        let soft = distributions(truths, frame.classes + 1);
        let input = (values.to_vec(), (labels.len(), frame.classes + 1));
        let (loss, [gradient]) = value_and_grads([input], |[logits]| {
            soft_segmentation(logits, &labels, soft.as_deref(), DICE)
        })?;
        Ok((loss, gradient))
    }

    fn decode(&self, values: &[f32], frame: &Frame) -> Found {
        Found {
            mask: values
                .chunks_exact(frame.classes + 1)
                .map(|row| argmax(row) as u8)
                .collect(),
            boxes: Vec::new(),
        }
    }

    fn guess(&self, values: &[f32], frame: &Frame, how: Guessing) -> Option<Located> {
        let rows = probabilities(values, frame.classes + 1, 1.0);
        let sure = |row: &[f32]| {
            let class = argmax(row);
            if row[class] >= how.threshold {
                class as u8
            } else {
                IGNORE
            }
        };
        let mask: Vec<u8> = rows.chunks_exact(frame.classes + 1).map(sure).collect();
        let parts = |temperature| {
            let rows = probabilities(values, frame.classes + 1, temperature);
            rows.iter().map(|p| (p * f32::from(u8::MAX)).round() as u8).collect()
        };
        mask.iter().any(|pixel| *pixel != IGNORE).then(|| Located {
            mask,
            soft: how.soft.map(parts).unwrap_or_default(),
            objects: Vec::new(),
        })
    }

    fn judge(&self, found: &[Found], truths: &[Located], frame: &Frame, class_names: &[String]) -> Judged {
        let pairs: Vec<(&[u8], &[u8])> = found
            .iter()
            .zip(truths)
            .map(|(f, t)| (&f.mask[..], &t.mask[..]))
            .collect();
        let scores = judge_masks(&pairs, [frame.height, frame.width], frame.classes + 1);
        let mut metrics = BTreeMap::from([
            ("mean_iou".to_owned(), scores.mean_iou),
            ("pixel_accuracy".to_owned(), scores.pixel_accuracy),
            ("boundary_f".to_owned(), scores.boundary_f),
        ]);
        // A class of things that is called so is the one that is told.
        let names = std::iter::once(BACKGROUND).chain(class_names.iter().map(String::as_str));
        let by_class = names.zip(&scores.iou).filter(|(_, iou)| !iou.is_nan());
        metrics.extend(by_class.map(|(class, iou)| (format!("iou_by_class.{class}"), *iou)));
        let known = |iou: &f64| if iou.is_nan() { 0.0 } else { *iou };
        Judged {
            metrics,
            by_class: scores.iou[1..].iter().map(known).collect(),
            contributions: scores.contributions,
        }
    }

    fn right(&self, guess: &Located, truth: &Located) -> (f64, f64) {
        let told = guess
            .mask
            .iter()
            .zip(&truth.mask)
            .filter(|(g, t)| **g != IGNORE && **t != IGNORE);
        let (right, all) = told.fold((0u64, 0u64), |(right, all), (g, t)| {
            (right + u64::from(g == t), all + 1)
        });
        (right as f64, all as f64)
    }
}

/// The distribution of each pixel, if any of these images has soft guesses: those of other images are sure.
fn distributions(truths: &[Located], classes: usize) -> Option<Vec<f32>> {
    truths.iter().any(|truth| !truth.soft.is_empty()).then(|| {
        let mut all = Vec::with_capacity(truths.iter().map(|truth| truth.mask.len() * classes).sum());
        for truth in truths {
            if truth.soft.is_empty() {
                for pixel in &truth.mask {
                    all.extend((0..classes).map(|class| f32::from(u8::from(class == usize::from(*pixel)))));
                }
            }
            for row in truth.soft.chunks_exact(classes) {
                let sum: f32 = row.iter().map(|v| f32::from(*v)).sum();
                all.extend(row.iter().map(|v| f32::from(*v) / sum.max(1.0)));
            }
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an image of one row and one class.
    fn row(width: usize) -> Frame {
        Frame {
            height: 1,
            width,
            classes: 1,
            maps: vec![[1, width]],
        }
    }

    #[test]
    fn a_guess_says_nothing_of_pixels_below_the_threshold() {
        let frame = row(3);
        let values = [4.0, 0.0, 0.0, 4.0, 0.1, 0.0];
        let hard = |threshold| Guessing { threshold, soft: None };
        let guess = Segment.guess(&values, &frame, hard(0.9)).expect("two pixels are sure");
        assert_eq!(guess.mask, [0, 1, IGNORE]);
        assert_eq!(Segment.guess(&values, &frame, hard(0.999)), None);
        let truth = Located {
            mask: vec![0, 0, 1],
            ..Located::default()
        };
        assert_eq!(Segment.right(&guess, &truth), (1.0, 2.0));
    }

    #[test]
    fn a_soft_guess_tells_how_sure_the_teacher_is_of_each_class_and_true_masks_beside_it_stay_sure() {
        let frame = row(2);
        let how = |temperature| Guessing {
            threshold: 0.6,
            soft: Some(temperature),
        };
        let values = [1.0, 0.0, 0.0, 0.1];
        let guess = Segment.guess(&values, &frame, how(1.0)).expect("a pixel is sure");
        // 1 / (1 + e^-1) of 255, and the rest.
        assert_eq!((&guess.mask[..], &guess.soft[..2]), (&[0, IGNORE][..], &[186, 69][..]));
        let sharp = Segment.guess(&values, &frame, how(0.5)).expect("a pixel is sure");
        assert!(sharp.soft[0] > guess.soft[0]);
        let truth = Located {
            mask: vec![1, 0],
            ..Located::default()
        };
        let rows = distributions(&[truth.clone(), guess], 2).expect("one is soft");
        assert_eq!(rows[..4], [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(rows[4] + rows[5], 1.0);
        assert_eq!(distributions(&[truth], 2), None);
    }

    #[test]
    fn images_whose_maps_do_not_halve_are_refused() {
        let stages = [15, 8].map(|side| MapShape { h: side, w: side, c: 4 });
        let frame = Frame {
            height: 15,
            width: 15,
            classes: 2,
            maps: Vec::new(),
        };
        let error = Segment
            .head(&frame, &stages, &mut Stream::new(1, "test"))
            .err()
            .expect("15 is odd");
        assert!(error.message.contains("multiples of 2"), "{error}");
    }
}
