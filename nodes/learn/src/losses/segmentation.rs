//! Cross-entropy and Dice of pixels, each of a class or of none that counts (Milletari et al. 2016, 1606.04797; the sum as in nnU-Net, Isensee et al.
//! 2021).
//!
//! `L = CE + (1 - mean_c (2 sum_i p_ic t_ic + 1) / (sum_i p_ic + sum_i t_ic + 1))`, both over the pixels that count; the mean is over the classes that
//! these pixels have. Without any such pixel it is 0. `t` is 1 of a pixel's class, or a teacher's probabilities.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::rows::check_constant;
use super::{LossError, Traced, TracedScalar, closed_form, invalid};
use crate::data::IGNORE;

/// Added to both sides of the fraction, so that a class of a few pixels is no cliff.
const SMOOTH: f64 = 1.0;

/// Pixels whose sums are made together; the sums are added in order, so that a result does not depend on the threads.
const PIXELS: usize = 1024;

/// Of some pixels.
struct Sums {
    /// Cross-entropy.
    entropy: f64,
    /// For each class what Dice is made of.
    classes: Vec<Dice>,
}

/// What some pixels should be.
struct Targets<'a> {
    labels: &'a [u8],
    soft: Option<&'a [f32]>,
}

impl Targets<'_> {
    /// Writes the distribution of a pixel; false if the pixel does not count.
    fn read(&self, pixel: usize, to: &mut [f32]) -> bool {
        let label = self.labels[pixel];
        match self.soft {
            _ if label == IGNORE => return false,
            Some(soft) => to.copy_from_slice(&soft[pixel * to.len()..][..to.len()]),
            None => {
                to.fill(0.0);
                to[usize::from(label)] = 1.0;
            }
        }
        true
    }
}

#[derive(Clone, Copy, Default)]
struct Dice {
    /// Pixels of the class.
    pixels: f64,
    /// Probability given to the class, by all pixels that count.
    guessed: f64,
    /// And by those of the class.
    both: f64,
}

/// Loss of `logits`, `(pixels, classes)`, with a class for each pixel; [`IGNORE`] where none counts. `dice` is what the second part weighs.
///
/// # Errors
/// If there is not one class below `classes`, or [`IGNORE`], for each pixel.
pub fn segmentation(logits: Traced, labels: &[u8], dice: f32) -> Result<TracedScalar, LossError> {
    soft_segmentation(logits, labels, None, dice)
}

/// The same with a distribution for each pixel that counts, `[pixels][classes]`, where one is given; each has a sum of 1.
///
/// # Errors
/// As [`segmentation`], and if there is not one for each pixel.
pub fn soft_segmentation(
    logits: Traced,
    labels: &[u8],
    soft: Option<&[f32]>,
    dice: f32,
) -> Result<TracedScalar, LossError> {
    let (n, classes) = *logits.shape();
    let known = |label: &u8| usize::from(*label) < classes || *label == IGNORE;
    if labels.len() != n || !labels.iter().all(known) {
        let message = format!(
            "{} classes found for {n} pixels, expected one below {classes} for each",
            labels.len()
        );
        return invalid("segmentation", message);
    }
    if let Some(soft) = soft {
        check_constant("segmentation", "the distributions", soft.len(), (n, classes))?;
    }
    let targets = |part: usize| Targets {
        labels: labels.chunks(PIXELS).nth(part).unwrap_or_default(),
        soft: soft.and_then(|soft| soft.chunks(PIXELS * classes).nth(part)),
    };
    // Logits, then probabilities, then the gradient.
    let mut rows = logits.as_vec();
    let parts = rows.par_chunks_mut(PIXELS * classes.max(1)).enumerate();
    let parts: Vec<Sums> = parts
        .map(|(part, rows)| softmax(rows, &targets(part), classes))
        .collect();
    let entropy: f64 = parts.iter().map(|part| part.entropy).sum();
    let of_class = |class: usize| {
        parts.iter().fold(Dice::default(), |sum, part| Dice {
            pixels: sum.pixels + part.classes[class].pixels,
            guessed: sum.guessed + part.classes[class].guessed,
            both: sum.both + part.classes[class].both,
        })
    };
    let sums: Vec<Dice> = (0..classes).map(of_class).collect();
    let pixels = sums.iter().map(|class| class.pixels).sum::<f64>().max(1.0);
    let present = sums.iter().filter(|class| class.pixels > 0.0).count();
    let mut loss = entropy / pixels;
    // The derivative of Dice by the probability of each class: at any pixel that counts, and what is added at those of the class.
    let mut slopes = vec![[0.0f32; 2]; classes];
    if present > 0 {
        let weight = f64::from(dice) / present as f64;
        for (slopes, class) in slopes.iter_mut().zip(&sums).filter(|(_, class)| class.pixels > 0.0) {
            let [above, below] = [2.0 * class.both + SMOOTH, class.guessed + class.pixels + SMOOTH];
            loss += weight * (1.0 - above / below);
            *slopes = [weight * above / (below * below), -2.0 * weight / below].map(|slope| slope as f32);
        }
    }
    let weight = 1.0 / pixels as f32;
    rows.par_chunks_mut(PIXELS * classes.max(1))
        .enumerate()
        .for_each(|(part, rows)| differentiate(rows, &targets(part), &slopes, weight));
    closed_form(logits, loss as f32, rows)
}

/// Makes logits into probabilities, and sums what counts.
fn softmax(rows: &mut [f32], targets: &Targets<'_>, classes: usize) -> Sums {
    let mut sums = Sums {
        entropy: 0.0,
        classes: vec![Dice::default(); classes],
    };
    let mut target = vec![0.0; classes];
    for (pixel, row) in rows.chunks_exact_mut(classes).enumerate() {
        if !targets.read(pixel, &mut target) {
            continue;
        }
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let meant: f32 = row.iter().zip(&target).map(|(x, t)| t * (x - most)).sum();
        row.iter_mut().for_each(|v| *v = (*v - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
        sums.entropy += f64::from(sum.ln() - meant);
        for (dice, (p, t)) in sums.classes.iter_mut().zip(row.iter().zip(&target)) {
            dice.guessed += f64::from(*p);
            dice.both += f64::from(p * t);
            dice.pixels += f64::from(*t);
        }
    }
    sums
}

/// Makes probabilities into the gradient by the logits: of cross-entropy `(p - t) / n`, and of Dice's slope `s` by the softmax `p (s - sum s p)`.
fn differentiate(rows: &mut [f32], targets: &Targets<'_>, slopes: &[[f32; 2]], weight: f32) {
    let mut target = vec![0.0; slopes.len()];
    for (pixel, row) in rows.chunks_exact_mut(slopes.len()).enumerate() {
        if !targets.read(pixel, &mut target) {
            row.fill(0.0);
            continue;
        }
        let of_class = row
            .iter()
            .zip(&target)
            .zip(slopes)
            .map(|((p, t), slope)| t * p * slope[1]);
        let mean = of_class.sum::<f32>() + row.iter().zip(slopes).map(|(p, slope)| p * slope[0]).sum::<f32>();
        for ((p, t), slope) in row.iter_mut().zip(&target).zip(slopes) {
            *p = *p * (slope[0] - mean + weight) + t * (*p * slope[1] - weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::value_and_grads;
    use crate::rng::Stream;

    #[test]
    fn distributions_that_are_sure_are_labels() {
        let (n, classes) = (5, 3);
        let logits: Vec<f32> = (0..n * classes).map(|i| (i as f32 * 0.7).sin()).collect();
        let labels = [0, 2, IGNORE, 1, 1];
        let mut soft = vec![0.0; n * classes];
        let counted = labels.iter().enumerate().filter(|(_, label)| **label != IGNORE);
        counted.for_each(|(pixel, label)| soft[pixel * classes + usize::from(*label)] = 1.0);
        let of = |soft: Option<&[f32]>| {
            let input = (logits.clone(), (n, classes));
            value_and_grads([input], |[x]| soft_segmentation(x, &labels, soft, 1.0)).expect("sizes fit")
        };
        assert_eq!(of(Some(&soft)), of(None));
        // A teacher that cannot tell two classes apart teaches both alike.
        soft[..classes].copy_from_slice(&[0.5, 0.5, 0.0]);
        let even = value_and_grads([(vec![1.0, 1.0, -9.0], (1, 3))], |[x]| {
            soft_segmentation(x, &labels[..1], Some(&soft[..classes]), 1.0)
        });
        let (_, [gradient]) = even.expect("sizes fit");
        assert_eq!(gradient[0], gradient[1]);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss_and_pixels_that_do_not_count_have_none() {
        let mut stream = Stream::new(3, "test");
        let (n, classes) = (PIXELS + 7, 4);
        let logits: Vec<f32> = (0..n * classes).map(|_| stream.normal()).collect();
        let labels: Vec<u8> = (0..n).map(|i| [0, 2, IGNORE, 3, 2][i % 5]).collect();
        let loss = |logits: Vec<f32>| {
            value_and_grads([(logits, (n, classes))], |[x]| segmentation(x, &labels, 1.0)).expect("sizes fit")
        };
        let (_, [gradient]) = loss(logits.clone());
        assert!(gradient[2 * classes..3 * classes].iter().all(|slope| *slope == 0.0));
        // Along the gradient itself a small step changes the loss by its length squared.
        let step = 10.0;
        let moved = |by: f32| {
            let along = |(x, slope): (&f32, &f32)| x + by * slope;
            f64::from(loss(logits.iter().zip(&gradient).map(along).collect()).0)
        };
        let found = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        let length: f64 = gradient.iter().map(|slope| f64::from(*slope).powi(2)).sum();
        assert!(
            (found / length - 1.0).abs() < 1e-2,
            "{found} along a gradient of {length}"
        );
    }
}
