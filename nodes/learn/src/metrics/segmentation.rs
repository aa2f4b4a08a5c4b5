//! Agreement of masks. What the truth says nothing of ([`IGNORE`]) counts nowhere.

use rayon::prelude::*;

use crate::data::IGNORE;

/// Intersection over union of each class; `NaN` for a class that occurs in neither.
pub fn iou(predicted: &[usize], truth: &[usize], classes: usize) -> Vec<f64> {
    (0..classes)
        .map(|class| {
            let pairs = || predicted.iter().zip(truth);
            let both = pairs().filter(|(p, t)| **p == class && **t == class).count();
            let either = pairs().filter(|(p, t)| **p == class || **t == class).count();
            both as f64 / either as f64
        })
        .collect()
}

/// Mean of [`iou`] over the classes that occur.
pub fn mean_iou(predicted: &[usize], truth: &[usize], classes: usize) -> f64 {
    mean(&iou(predicted, truth, classes))
}

/// Mean of the numbers among some values, 0 if there are none.
fn mean(values: &[f64]) -> f64 {
    let known: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    known.iter().sum::<f64>() / known.len().max(1) as f64
}

/// How well masks agree.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskScores {
    /// Over all pixels of all images, of each class; `NaN` for a class that occurs in neither.
    pub iou: Vec<f64>,
    /// Mean over the classes that occur.
    pub mean_iou: f64,
    /// Share of the pixels that are right.
    pub pixel_accuracy: f64,
    /// Mean of [`boundary_f`] over images and the classes that occur in each.
    pub boundary_f: f64,
    /// What each image contributes to the mean IoU: the figure and its influence on it (as in [`crate::stats::Metric::contributions`]).
    pub contributions: Vec<f64>,
}

/// Pixels of each class in both masks, in the predicted and in the true one.
struct Counts {
    both: Vec<f64>,
    either: Vec<f64>,
    right: f64,
    pixels: f64,
    boundary: Vec<f64>,
}

/// Judges predicted against true masks, `[height][width]` each, of `classes` classes, background being one.
pub fn judge_masks(pairs: &[(&[u8], &[u8])], size: [usize; 2], classes: usize) -> MaskScores {
    let of = |(predicted, truth): &(&[u8], &[u8])| Counts::of(predicted, truth, size, classes);
    let images: Vec<Counts> = pairs.par_iter().map(of).collect();
    let sum = |of: &dyn Fn(&Counts) -> f64| images.iter().map(of).sum::<f64>();
    let both: Vec<f64> = (0..classes).map(|c| sum(&|image| image.both[c])).collect();
    let either: Vec<f64> = (0..classes).map(|c| sum(&|image| image.either[c])).collect();
    let iou: Vec<f64> = both.iter().zip(&either).map(|(both, either)| both / either).collect();
    let mean_iou = mean(&iou);
    let known = either.iter().filter(|either| **either > 0.0).count().max(1) as f64;
    let n = images.len() as f64;
    let influence = |image: &Counts| {
        let of_class = |c: usize| (image.both[c] - iou[c] * image.either[c]) / either[c];
        n * (0..classes).filter(|c| either[*c] > 0.0).map(of_class).sum::<f64>() / known
    };
    let boundaries: Vec<f64> = images.iter().flat_map(|image| &image.boundary).copied().collect();
    MaskScores {
        mean_iou,
        pixel_accuracy: sum(&|image| image.right) / sum(&|image| image.pixels).max(1.0),
        boundary_f: mean(&boundaries),
        contributions: images.iter().map(|image| mean_iou + influence(image)).collect(),
        iou,
    }
}

impl Counts {
    fn of(predicted: &[u8], truth: &[u8], size: [usize; 2], classes: usize) -> Self {
        let mut counts = Self {
            both: vec![0.0; classes],
            either: vec![0.0; classes],
            right: 0.0,
            pixels: 0.0,
            boundary: Vec::new(),
        };
        let told = |(p, t): &(&u8, &u8)| **t != IGNORE && usize::from(**p) < classes;
        for (p, t) in predicted.iter().zip(truth).filter(told) {
            counts.pixels += 1.0;
            counts.either[usize::from(*t)] += 1.0;
            if p == t {
                counts.both[usize::from(*t)] += 1.0;
                counts.right += 1.0;
            } else {
                counts.either[usize::from(*p)] += 1.0;
            }
        }
        let of_class = |class: usize| boundary_f(predicted, truth, size, class as u8);
        counts.boundary = (0..classes).map(of_class).collect();
        counts
    }
}

/// How well the boundary of a class is met: the F measure of the shares of predicted and true boundary pixels that lie within a distance of the other's
/// (Csurka et al. 2013; 0.75 % of the diagonal, at least a pixel). A boundary pixel has a neighbour, of four, of something else. `NaN` if the class occurs in
/// neither.
pub fn boundary_f(predicted: &[u8], truth: &[u8], [height, width]: [usize; 2], class: u8) -> f64 {
    let judged: Vec<u8> = predicted
        .iter()
        .zip(truth)
        .map(|(p, t)| if *t == IGNORE { IGNORE } else { *p })
        .collect();
    let occurs = |mask: &[u8]| mask.contains(&class);
    if !occurs(&judged) && !occurs(truth) {
        return f64::NAN;
    }
    let diagonal = (height as f64).hypot(width as f64);
    let reach = (0.0075 * diagonal).round().max(1.0);
    let edges = |mask: &[u8]| -> Vec<bool> {
        let differs = |at: usize, other: Option<usize>| other.is_some_and(|other| mask[other] != mask[at]);
        let is_edge = |at: usize| {
            let (y, x) = (at / width, at % width);
            let beside = [
                (y > 0).then(|| at - width),
                (y + 1 < height).then(|| at + width),
                (x > 0).then(|| at - 1),
                (x + 1 < width).then(|| at + 1),
            ];
            mask[at] == class && beside.into_iter().any(|other| differs(at, other))
        };
        (0..mask.len()).map(is_edge).collect()
    };
    let (found, true_edges) = (edges(&judged), edges(truth));
    let met = |of: &[bool], by: &[bool]| {
        let near = |at: usize| {
            let (y, x) = ((at / width) as f64, (at % width) as f64);
            let range = |centre: f64, long: usize| {
                (centre - reach).max(0.0) as usize..=((centre + reach) as usize).min(long - 1)
            };
            range(y, height)
                .any(|v| range(x, width).any(|u| by[v * width + u] && (v as f64 - y).hypot(u as f64 - x) <= reach))
        };
        let all = of.iter().filter(|edge| **edge).count();
        let hits = of.iter().enumerate().filter(|(at, edge)| **edge && near(*at)).count();
        (hits as f64, all as f64)
    };
    let ((hit, found), (recalled, truly)) = (met(&found, &true_edges), met(&true_edges, &found));
    match (found > 0.0, truly > 0.0) {
        // A class that fills the whole image has no boundary.
        (false, false) => 1.0,
        (true, true) if hit + recalled > 0.0 => {
            let (precision, recall) = (hit / found, recalled / truly);
            2.0 * precision * recall / (precision + recall)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn the_mean_of_what_images_contribute_is_the_mean_iou() {
        let mut stream = Stream::new(1, "masks");
        let mut masks = |noise: f32| -> Vec<Vec<u8>> {
            (0..20)
                .map(|i| {
                    (0..64)
                        .map(|p| {
                            if stream.bernoulli(noise) {
                                2
                            } else {
                                ((p + i) / 16 % 3) as u8
                            }
                        })
                        .collect()
                })
                .collect()
        };
        let (predicted, mut truth) = (masks(0.2), masks(0.0));
        truth[3][..10].fill(IGNORE);
        let pairs: Vec<(&[u8], &[u8])> = predicted.iter().zip(&truth).map(|(p, t)| (&p[..], &t[..])).collect();
        let scores = judge_masks(&pairs, [8, 8], 4);
        let mean = scores.contributions.iter().sum::<f64>() / 20.0;
        assert!((mean - scores.mean_iou).abs() < 1e-12, "{mean} {}", scores.mean_iou);
        assert!(scores.iou[3].is_nan() && scores.mean_iou < 1.0);
        let right: Vec<(&[u8], &[u8])> = truth.iter().map(|t| (&t[..], &t[..])).collect();
        let perfect = judge_masks(&right, [8, 8], 4);
        assert_eq!(
            (perfect.mean_iou, perfect.pixel_accuracy, perfect.boundary_f),
            (1.0, 1.0, 1.0)
        );
    }
}
