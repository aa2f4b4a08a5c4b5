//! Average precision and recall of boxes, as COCO's evaluation defines them (pycocotools' `COCOeval` for `bbox`).

use std::ops::Range;

use rayon::prelude::*;

use crate::data::Object;
use crate::tasks::Detection;

/// Overlaps at which a box counts as found: 0.50 to 0.95.
const THRESHOLDS: usize = 10;
/// Recalls at which precision is read off: 0 to 1.
const RECALLS: usize = 101;
/// The most boxes of an image and class that count, for average recall at several numbers.
const MOST: [usize; 3] = [1, 10, 100];
/// Least and largest area of all, small, medium and large things, in pixels.
const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// How well boxes agree; `NaN` where there is nothing of that size to find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxScores {
    /// Average precision: mean over classes and overlaps from 0.50 to 0.95.
    pub ap: f64,
    /// At an overlap of 0.50.
    pub ap50: f64,
    /// At an overlap of 0.75.
    pub ap75: f64,
    /// Of small (below 32 x 32 pixels), medium and large (from 96 x 96) things.
    pub ap_by_size: [f64; 3],
    /// Average recall of at most 1, 10 and 100 boxes an image.
    pub ar: [f64; 3],
    /// Of small, medium and large things.
    pub ar_by_size: [f64; 3],
}

/// What became of the boxes of one class in one image, for things of one range of sizes.
#[derive(Clone, Debug, Default)]
struct Matched {
    /// Of the boxes, the surest first.
    scores: Vec<f32>,
    /// Whether each box is of a thing, at each overlap: `[overlap][box]`.
    hit: Vec<Vec<bool>>,
    /// Whether it counts neither way.
    left_out: Vec<Vec<bool>>,
    /// Things that are to be found.
    things: usize,
}

/// Judged images, of which any part can be scored.
pub struct BoxJudgement {
    classes: usize,
    /// `[image][class][range of sizes]`.
    images: Vec<Vec<[Matched; 4]>>,
}

/// The boxes of one class at one overlap in the order of their scores, and how many things there are to be found.
#[derive(Default)]
struct Ranking {
    /// Place and image of each box that is of a thing.
    hits: Vec<(usize, usize)>,
    /// Places of each image's boxes.
    places: Vec<Vec<usize>>,
    /// Of each image.
    things: Vec<usize>,
}

impl Ranking {
    /// Whether an image has anything to do with it.
    fn has(&self, image: usize) -> bool {
        self.things[image] > 0 || !self.places[image].is_empty()
    }

    /// Mean precision over recalls, and the recall reached, without one image; `None` where there is nothing to find.
    ///
    /// The best precision at or beyond a recall is that of a hit, so only hits are looked at.
    fn curve(&self, without: Option<usize>) -> Option<[f64; 2]> {
        let things = self.things.iter().sum::<usize>() - without.map_or(0, |image| self.things[image]);
        if things == 0 {
            return None;
        }
        let gone: &[usize] = without.map_or(&[], |image| &self.places[image]);
        let (mut before, mut precision) = (0, Vec::with_capacity(self.hits.len()));
        for (place, _) in self.hits.iter().filter(|(_, image)| Some(*image) != without) {
            while gone.get(before).is_some_and(|gone| gone < place) {
                before += 1;
            }
            let rank = (place - before + 1) as f64;
            precision.push((precision.len() + 1) as f64 / (rank + f64::EPSILON));
        }
        for hit in (1..precision.len()).rev() {
            precision[hit - 1] = f64::max(precision[hit - 1], precision[hit]);
        }
        let recall = |hits: usize| hits as f64 / things as f64;
        let (mut hit, mut sum) = (0, 0.0);
        for step in 0..RECALLS {
            while hit < precision.len() && recall(hit + 1) < step as f64 * 0.01 {
                hit += 1;
            }
            sum += precision.get(hit).copied().unwrap_or(0.0);
        }
        Some([sum / RECALLS as f64, recall(precision.len())])
    }
}

/// Means of precisions and of recalls; `NaN` of none.
fn mean(curves: impl Iterator<Item = [f64; 2]>) -> [f64; 2] {
    let curves: Vec<[f64; 2]> = curves.collect();
    [0, 1].map(|part| curves.iter().map(|curve| curve[part]).sum::<f64>() / curves.len() as f64)
}

/// Overlap of two boxes over their union; over the first where the second is a crowd.
fn overlap(found: &[f32; 4], truth: &[f32; 4], crowd: bool) -> f64 {
    let [a, b] = [found, truth].map(|bounds| bounds.map(f64::from));
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left) * (bottom - top);
    let both = width * height;
    both / if crowd { area(a) } else { area(a) + area(b) - both }
}

/// `0.50, 0.55, .., 0.95` as numpy's linspace rounds them.
fn threshold(at: usize) -> f64 {
    match at {
        9 => 0.95,
        _ => 0.5 + at as f64 * ((0.95 - 0.5) / 9.0),
    }
}

/// Matches the boxes of a class, the surest first, with its things.
fn matched(found: &[&Detection], truths: &[&Object], [least, most]: [f64; 2]) -> Matched {
    let outside = |area: f64| area < least || area > most;
    let ignored = |truth: &Object| truth.ignore || outside(f64::from(truth.area));
    let mut truths: Vec<&Object> = truths.to_vec();
    truths.sort_by_key(|truth| ignored(truth));
    let overlaps: Vec<Vec<f64>> = found
        .iter()
        .map(|one| {
            truths
                .iter()
                .map(|truth| overlap(&one.bounds, &truth.bounds, truth.ignore))
                .collect()
        })
        .collect();
    let mut matched = Matched {
        scores: found.iter().map(|one| one.score).collect(),
        things: truths.iter().filter(|truth| !ignored(truth)).count(),
        ..Matched::default()
    };
    for at in 0..THRESHOLDS {
        let mut taken = vec![false; truths.len()];
        let (mut hit, mut left_out) = (vec![false; found.len()], vec![false; found.len()]);
        for (d, one) in found.iter().enumerate() {
            let (mut best, mut least) = (None, threshold(at).min(1.0 - 1e-10));
            for (g, truth) in truths.iter().enumerate() {
                if taken[g] && !truth.ignore {
                    continue;
                }
                if best.is_some_and(|best: usize| !ignored(truths[best])) && ignored(truth) {
                    break;
                }
                if overlaps[d][g] >= least {
                    (best, least) = (Some(g), overlaps[d][g]);
                }
            }
            match best {
                Some(best) => {
                    taken[best] = true;
                    (hit[d], left_out[d]) = (true, ignored(truths[best]));
                }
                None => {
                    let [left, top, right, bottom] = one.bounds.map(f64::from);
                    left_out[d] = outside((right - left) * (bottom - top));
                }
            }
        }
        matched.hit.push(hit);
        matched.left_out.push(left_out);
    }
    matched
}

impl BoxJudgement {
    /// Matches what was found in each image with what is there. A thing that is to be left out takes any number of boxes, which then count neither way.
    pub fn new(found: &[Vec<Detection>], truths: &[Vec<Object>], classes: usize) -> Self {
        let of_image = |(found, truths): (&Vec<Detection>, &Vec<Object>)| {
            let of_class = |class: usize| {
                let mut found: Vec<&Detection> = found.iter().filter(|one| usize::from(one.class) == class).collect();
                let truths: Vec<&Object> = truths
                    .iter()
                    .filter(|truth| usize::from(truth.class) == class)
                    .collect();
                found.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.truncate(MOST[2]);
                AREAS.map(|area| matched(&found, &truths, area))
            };
            (0..classes).map(of_class).collect()
        };
        Self {
            classes,
            images: found.par_iter().zip(truths).map(of_image).collect(),
        }
    }

    /// The boxes that count for a class at one overlap, at most so many of each image.
    fn ranking(&self, class: usize, size: usize, at: usize, most: usize) -> Ranking {
        let (mut boxes, mut ranking) = (Vec::new(), Ranking::default());
        for (image, of_classes) in self.images.iter().enumerate() {
            let matched = &of_classes[class][size];
            ranking.things.push(matched.things);
            for d in 0..matched.scores.len().min(most) {
                if !matched.left_out[at][d] {
                    boxes.push((matched.scores[d], image, matched.hit[at][d]));
                }
            }
        }
        // Stable: of equal scores those of earlier images come first.
        boxes.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranking.places = vec![Vec::new(); self.images.len()];
        for (place, (_, image, hit)) in boxes.into_iter().enumerate() {
            ranking.places[image].push(place);
            if hit {
                ranking.hits.push((place, image));
            }
        }
        ranking
    }

    /// Those of all classes at some overlaps.
    fn rankings(&self, size: usize, overlaps: Range<usize>, most: usize) -> Vec<Ranking> {
        let places: Vec<(usize, usize)> = (0..self.classes)
            .flat_map(|class| overlaps.clone().map(move |at| (class, at)))
            .collect();
        let ranking = |(class, at): &(usize, usize)| self.ranking(*class, size, *at, most);
        places.par_iter().map(ranking).collect()
    }

    /// Mean precision and recall over classes and some overlaps.
    fn mean(&self, size: usize, overlaps: Range<usize>, most: usize) -> [f64; 2] {
        mean(
            self.rankings(size, overlaps, most)
                .iter()
                .filter_map(|ranking| ranking.curve(None)),
        )
    }

    /// The figures over all images.
    pub fn scores(&self) -> BoxScores {
        let all = 0..THRESHOLDS;
        let of_size = |size: usize| self.mean(size, all.clone(), MOST[2]);
        let sizes = [1, 2, 3].map(of_size);
        BoxScores {
            ap: of_size(0)[0],
            ap50: self.mean(0, 0..1, MOST[2])[0],
            ap75: self.mean(0, 5..6, MOST[2])[0],
            ap_by_size: sizes.map(|[precision, _]| precision),
            ar: MOST.map(|most| self.mean(0, all.clone(), most)[1]),
            ar_by_size: sizes.map(|[_, recall]| recall),
        }
    }

    /// Average precision of each class; `NaN` where there is nothing of it.
    pub fn by_class(&self) -> Vec<f64> {
        let of_class = |class: usize| {
            let curves = (0..THRESHOLDS).map(|at| self.ranking(class, 0, at, MOST[2]).curve(None));
            mean(curves.flatten())[0]
        };
        (0..self.classes).map(of_class).collect()
    }

    /// What each image contributes to the average precision, by leaving it out: the jackknife's pseudo-values (Tukey 1958), moved so that their mean is the
    /// figure.
    pub fn contributions(&self) -> Vec<f64> {
        let n = self.images.len() as f64;
        let rankings = self.rankings(0, 0..THRESHOLDS, MOST[2]);
        // An image that has nothing of a class, found or to be found, changes nothing of it.
        let whole: Vec<Option<[f64; 2]>> = rankings.par_iter().map(|ranking| ranking.curve(None)).collect();
        let ap = |without: Option<usize>| {
            let curve = |(ranking, whole): (&Ranking, &Option<[f64; 2]>)| match without {
                Some(image) if ranking.has(image) => ranking.curve(without),
                _ => *whole,
            };
            let [ap, _] = mean(rankings.iter().zip(&whole).filter_map(curve));
            if ap.is_nan() { 0.0 } else { ap }
        };
        let whole_ap = ap(None);
        let left_out: Vec<f64> = (0..self.images.len())
            .into_par_iter()
            .map(|image| ap(Some(image)))
            .collect();
        let mean = left_out.iter().sum::<f64>() / n.max(1.0);
        left_out
            .iter()
            .map(|without| whole_ap + (n - 1.0) * (mean - without))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    const IMAGES: usize = 12;
    const CLASSES: usize = 3;

    /// Things at places of a grid, and boxes that find some of them, at scores of which many are equal.
    fn scene(stream: &mut Stream) -> (Vec<Detection>, Vec<Object>) {
        let bounds = |at: usize, by: f32| [4.0 * at as f32 + by, by, 4.0 * at as f32 + 3.0 + by, 3.0 + by];
        let (mut found, mut truths) = (Vec::new(), Vec::new());
        for at in 0..stream.below(5) {
            let class = stream.below(CLASSES) as u16;
            truths.push(Object {
                class,
                bounds: bounds(at, 0.0),
                area: 9.0,
                ignore: stream.bernoulli(0.1),
                sure: 1.0,
            });
            for _ in 0..stream.below(3) {
                found.push(Detection {
                    class: if stream.bernoulli(0.2) { 0 } else { class },
                    bounds: bounds(at, stream.range(0.0, 0.8)),
                    score: stream.below(6) as f32 / 6.0,
                });
            }
        }
        (found, truths)
    }

    #[test]
    fn an_image_contributes_what_is_missing_where_it_is_left_out() {
        let mut stream = Stream::new(7, "test");
        let (found, truths): (Vec<_>, Vec<_>) = (0..IMAGES).map(|_| scene(&mut stream)).unzip();
        let ap = |without: Option<usize>| {
            let kept = |i: &usize| Some(*i) != without;
            let part = |i: usize| (found[i].clone(), truths[i].clone());
            let (found, truths): (Vec<_>, Vec<_>) = (0..IMAGES).filter(kept).map(part).unzip();
            BoxJudgement::new(&found, &truths, CLASSES).scores().ap
        };
        let whole = ap(None);
        assert!((0.1..0.9).contains(&whole), "{whole}: there is something to lose");
        let left_out: Vec<f64> = (0..IMAGES).map(|image| ap(Some(image))).collect();
        let mean = left_out.iter().sum::<f64>() / IMAGES as f64;
        let told = BoxJudgement::new(&found, &truths, CLASSES).contributions();
        for (told, without) in told.iter().zip(&left_out) {
            let expected = whole + (IMAGES as f64 - 1.0) * (mean - without);
            assert!((told - expected).abs() < 1e-12, "{told} found, expected {expected}");
        }
    }
}
