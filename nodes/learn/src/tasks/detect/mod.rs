//! Detection: a box and a class for each thing, any number an image.
//!
//! FCOS (Tian et al. 2019, 1904.01355): each place of a small feature pyramid (Lin et al. 2017, 1612.03144) tells for each class whether a thing is there, how far it
//! reaches in the four directions, and how near its centre is. It was taken and not CenterNet (1904.07850), because its pyramid looks at maps that every
//! convolutional backbone has, while CenterNet wants one fine map of its own, and because touching things of one class stay apart by their reach. As is usual
//! since its second version, only places near a thing's centre learn it, and boxes are learnt by their generalised overlap.

mod assign;
mod decode;
mod head;

pub use assign::{Place, assign};
pub use decode::suppress;

use std::collections::BTreeMap;

use super::{Detection, Found, Frame, Guessing, Head, Judged, Needs, Task};
use crate::data::{Located, Object};
use crate::layers::MapShape;
use crate::losses::{LossError, binary_cross_entropy, focal, giou, value_and_grads, weighted_sum};
use crate::metrics::BoxJudgement;
use crate::rng::Stream;
use crate::settings::SettingError;

/// Boxes of things.
pub(super) struct Detect;

/// Values of a place beside those of the classes: four reaches and the centre.
const OTHERS: usize = 5;

/// How sure a teacher must be of a box, as a share of the threshold, for what lies in it to be left out.
const DOUBTFUL: f32 = 0.5;

/// Overlap from which on a guess is right.
const RIGHT: f64 = 0.5;

/// The largest exponent of a reach, either way.
const STEEPEST: f32 = 6.0;

/// What a place's value of a reach means, in pixels.
fn reach(value: f32, stride: f32) -> f32 {
    2.0 * stride * value.clamp(-STEEPEST, STEEPEST).exp()
}

/// How sure a guess is at a temperature, `p^(1/T)` of both answers.
fn sharpened(p: f32, temperature: f32) -> f32 {
    let [yes, no] = [p, 1.0 - p].map(|p| p.powf(1.0 / temperature));
    (yes / (yes + no)).max(f32::MIN_POSITIVE)
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The places of a batch that are things, in columns.
#[derive(Default)]
struct Things {
    rows: Vec<usize>,
    /// Left, up, right and down: exponents.
    reaches: [Vec<f32>; 4],
    centres: Vec<f32>,
    truth: Vec<f32>,
    nearness: Vec<f32>,
}

impl Task for Detect {
    fn name(&self) -> &'static str {
        "detect"
    }

    fn needs(&self) -> Needs {
        Needs::Boxes
    }

    fn figure(&self) -> (&'static str, &'static str) {
        ("ap", "average precision")
    }

    fn head(&self, frame: &Frame, stages: &[MapShape], stream: &mut Stream) -> Result<Box<dyn Head>, SettingError> {
        Ok(Box::new(head::Pyramid::new(frame, stages, stream)?))
    }

    fn loss(&self, values: &[f32], truths: &[Located], frame: &Frame) -> Result<(f32, Vec<f32>), LossError> {
        let (classes, width) = (frame.classes, frame.classes + OTHERS);
        let places = values.len() / width;
        let (mut logits, mut targets) = (Vec::with_capacity(places * classes), vec![0.0; places * classes]);
        let (mut counted, mut things) = (vec![1.0; places], Things::default());
        let assigned = truths.iter().flat_map(|truth| assign(&truth.objects, frame));
        for (row, (value, (place, stride))) in values.chunks_exact(width).zip(assigned).enumerate() {
            logits.extend_from_slice(&value[..classes]);
            match place {
                Place::Nothing => {}
                Place::LeftOut => counted[row] = 0.0,
                Place::Thing {
                    class,
                    reach,
                    nearness,
                    sure,
                } => {
                    targets[row * classes + usize::from(class)] = sure;
                    things.rows.push(row);
                    for (column, value) in things.reaches.iter_mut().zip(&value[classes..]) {
                        column.push(value.clamp(-STEEPEST, STEEPEST));
                    }
                    things.centres.push(value[width - 1]);
                    things.truth.extend(reach.map(|reach| reach / (2.0 * stride)));
                    things.nearness.push(nearness);
                }
            }
        }
        let positives = things.rows.len();
        let mut gradient = vec![0.0; values.len()];
        let input = (logits, (places, classes));
        let of_classes = |logits| focal(logits, &targets, &counted, positives as f32);
        let (mut loss, [of_logits]) = value_and_grads([input], |[logits]| of_classes(logits))?;
        for (to, from) in gradient.chunks_exact_mut(width).zip(of_logits.chunks_exact(classes)) {
            to[..classes].copy_from_slice(from);
        }
        if positives > 0 {
            let (others, columns) = of_things(&things)?;
            loss += others;
            for (at, row) in things.rows.iter().enumerate() {
                let to = &mut gradient[row * width + classes..][..OTHERS];
                to.iter_mut().zip(&columns).for_each(|(to, column)| *to = column[at]);
            }
        }
        Ok((loss, gradient))
    }

    fn decode(&self, values: &[f32], frame: &Frame) -> Found {
        Found {
            mask: Vec::new(),
            boxes: decode::boxes(values, frame),
        }
    }

    fn guess(&self, values: &[f32], frame: &Frame, Guessing { threshold, soft }: Guessing) -> Option<Located> {
        let boxes = decode::boxes(values, frame);
        let object = |one: &Detection| {
            let [left, top, right, bottom] = one.bounds;
            Object {
                class: one.class,
                bounds: one.bounds,
                area: (right - left) * (bottom - top),
                ignore: one.score < threshold,
                sure: soft.map_or(1.0, |temperature| sharpened(one.score, temperature)),
            }
        };
        let objects: Vec<Object> = boxes
            .iter()
            .filter(|one| one.score >= DOUBTFUL * threshold)
            .map(object)
            .collect();
        objects.iter().any(|object| !object.ignore).then(|| Located {
            objects,
            ..Located::default()
        })
    }

    fn judge(&self, found: &[Found], truths: &[Located], frame: &Frame, class_names: &[String]) -> Judged {
        let found: Vec<Vec<Detection>> = found.iter().map(|one| one.boxes.clone()).collect();
        let truths: Vec<Vec<Object>> = truths.iter().map(|one| one.objects.clone()).collect();
        let judgement = BoxJudgement::new(&found, &truths, frame.classes);
        let scores = judgement.scores();
        let mut metrics = BTreeMap::from([("ap", scores.ap), ("ap50", scores.ap50), ("ap75", scores.ap75)]);
        metrics.extend(["ap_small", "ap_medium", "ap_large"].into_iter().zip(scores.ap_by_size));
        metrics.extend(["ar1", "ar10", "ar100"].into_iter().zip(scores.ar));
        metrics.extend(["ar_small", "ar_medium", "ar_large"].into_iter().zip(scores.ar_by_size));
        let named = metrics.into_iter().map(|(name, value)| (name.to_owned(), value));
        let of_classes = judgement.by_class();
        let by_class = class_names.iter().zip(&of_classes);
        let by_class = by_class.map(|(class, ap)| (format!("ap_by_class.{class}"), *ap));
        Judged {
            metrics: named.chain(by_class).filter(|(_, value)| !value.is_nan()).collect(),
            by_class: of_classes
                .iter()
                .map(|ap| if ap.is_nan() { 0.0 } else { *ap })
                .collect(),
            contributions: judgement.contributions(),
        }
    }

    fn right(&self, guess: &Located, truth: &Located) -> (f64, f64) {
        let mut left: Vec<&Object> = truth.objects.iter().filter(|object| !object.ignore).collect();
        let (mut right, mut all) = (0.0, 0.0);
        for one in guess.objects.iter().filter(|object| !object.ignore) {
            all += 1.0;
            let fits =
                |truth: &&Object| truth.class == one.class && decode::overlap(&one.bounds, &truth.bounds) >= RIGHT;
            if let Some(place) = left.iter().position(fits) {
                left.swap_remove(place);
                right += 1.0;
            }
        }
        (right, all)
    }
}

/// Loss of what places of things tell beside the class, and its gradients, a column each: four reaches and the centre.
fn of_things(things: &Things) -> Result<(f32, [Vec<f32>; OTHERS]), LossError> {
    let shape = (things.rows.len(), 1);
    let [left, up, right, down] = things.reaches.clone().map(|column| (column, shape));
    let inputs = [left, up, right, down, (things.centres.clone(), shape)];
    value_and_grads(inputs, |[left, up, right, down, centre]| {
        let reaches = [left.exp(), up.exp(), right.exp(), down.exp()];
        let boxes = giou(reaches, &things.truth, &things.nearness)?;
        weighted_sum(boxes, binary_cross_entropy(centre, &things.nearness)?, 1.0)
    })
}
