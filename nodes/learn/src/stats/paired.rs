//! Arms against a baseline over a few label draws, initialisations and a finite set of test images.
//!
//! A run's figure is the mean of what each test image contributes to it: of accuracy, whether it was classified right. The variance of a mean over runs
//! has three sources, each estimated from the runs (a random-effects analysis of variance: Searle, Casella & McCulloch 1992):
//! - *label draws*: the variance of the draws' means, over their number. The seeds of one draw are averaged first, so this holds what initialisation
//!   adds where every draw has seeds of its own.
//! - *seeds*, where draws share them: the variance of the seeds' means, over their number.
//! - *test images*: the variance of the images' mean contributions, over their number, less what differs from run to run, which is in the first.
//!
//! The quantile is Cochran's (Cochran & Cox 1950): that of each source's t distribution, weighted by its share of the variance. So three draws give an
//! interval of `t(2)`, four standard errors to each side, where the draws matter, and one of two where only the images do. Satterthwaite's degrees of
//! freedom come out too many where three draws happen to lie close together (92.5 % coverage in the simulation below). All runs of an arm are paired with
//! the baseline's: what both share cancels.

use std::collections::BTreeSet;

use super::student_t::t_quantile;
use super::{mean, variance};

/// Which label draw and which initialisation a run is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The label draw.
    pub draw: String,
    /// The initialisation; equal names in different draws are the same one.
    pub seed: String,
}

/// Contributions of each test image to an arm's figure, `[run][image]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// In the order of the design's runs.
    pub runs: Vec<Vec<f64>>,
}

/// A mean with the variances that it has from each source.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Over draws, each the mean of its seeds.
    pub mean: f64,
    /// The mean's variance from each source, and its degrees of freedom.
    pub sources: Vec<(f64, f64)>,
}

impl Estimate {
    /// Of the mean.
    pub fn standard_error(&self) -> f64 {
        self.sources.iter().map(|(variance, _)| variance).sum::<f64>().sqrt()
    }

    /// How many standard errors are exceeded with chance `1 - p`, for `p` in (0.5, 1).
    fn quantile(&self, p: f64) -> f64 {
        let all: f64 = self.sources.iter().map(|(variance, _)| variance).sum();
        let of_source = |(variance, df): &(f64, f64)| variance / all * t_quantile(p, *df);
        self.sources
            .iter()
            .filter(|(variance, _)| *variance > 0.0)
            .map(of_source)
            .sum()
    }

    /// Low and high end of the 95 % interval.
    pub fn interval(&self) -> (f64, f64) {
        let half = self.quantile(0.975) * self.standard_error();
        (self.mean - half, self.mean + half)
    }

    /// The chance that the true mean is above 0, as the distribution around the estimate has it.
    pub fn above_zero(&self) -> f64 {
        self.chance_above(0.0)
    }

    /// Two-sided p-value of a mean of 0.
    pub fn p(&self) -> f64 {
        let above = self.above_zero();
        (2.0 * above.min(1.0 - above)).min(1.0)
    }

    /// The p-value of a true mean that is `margin` or more away from 0: small where it is within (two one-sided tests, Schuirmann 1987).
    pub fn p_not_equivalent(&self, margin: f64) -> f64 {
        let (too_low, too_high) = (1.0 - self.chance_above(-margin), self.chance_above(margin));
        too_low.max(too_high)
    }

    fn chance_above(&self, value: f64) -> f64 {
        let error = self.standard_error();
        if error <= 0.0 {
            return match self.mean.total_cmp(&value) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 1.0,
            };
        }
        let t = (self.mean - value) / error;
        let (mut low, mut high) = (0.5, 1.0);
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if self.quantile(middle) < t.abs() {
                low = middle;
            } else {
                high = middle;
            }
        }
        let within = 0.5 * (low + high);
        if t > 0.0 { within } else { 1.0 - within }
    }
}

/// What each run weighs: draws count alike, and so do the seeds of one draw.
fn weights(design: &[Run]) -> Vec<f64> {
    let draws: BTreeSet<&str> = design.iter().map(|run| run.draw.as_str()).collect();
    let of_draw = |draw: &str| design.iter().filter(|run| run.draw == draw).count();
    let weight = |run: &Run| 1.0 / (draws.len() * of_draw(&run.draw)) as f64;
    design.iter().map(weight).collect()
}

/// The mean of an arm's figure.
///
/// # Panics
/// With `BUG:` if there are no runs or images, or not as many as the design has.
pub fn estimate(arm: &Arm, design: &[Run]) -> Estimate {
    estimate_of(&arm.runs, design)
}

/// The mean of what an arm has more than the baseline, run by run and image by image.
///
/// # Panics
/// As [`estimate`].
pub fn difference(arm: &Arm, baseline: &Arm, design: &[Run]) -> Estimate {
    let runs = arm.runs.iter().zip(&baseline.runs);
    let minus = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
    estimate_of(&runs.map(minus).collect::<Vec<Vec<f64>>>(), design)
}

fn estimate_of(runs: &[Vec<f64>], design: &[Run]) -> Estimate {
    let images = runs.first().map_or(0, Vec::len);
    assert!(
        images > 0 && runs.len() == design.len() && runs.iter().all(|run| run.len() == images),
        "BUG: arms must have the same runs and images, at least one of each"
    );
    let figures: Vec<f64> = runs.iter().map(|run| mean(run)).collect();
    let weights = weights(design);
    let mean = figures
        .iter()
        .zip(&weights)
        .map(|(figure, weight)| figure * weight)
        .sum();
    let mut sources: Vec<(f64, f64)> = [draws(&figures, design), seeds(&figures, design)]
        .into_iter()
        .flatten()
        .collect();
    sources.push((of_images(runs, &figures, &weights), (images - 1).max(1) as f64));
    Estimate { mean, sources }
}

/// Variance of the mean from one factor, with its degrees of freedom; `None` with a single level.
fn between(figures: &[f64], levels: &[&str]) -> Option<(f64, f64)> {
    let names: BTreeSet<&str> = levels.iter().copied().collect();
    let of_level = |name: &&str| {
        let those: Vec<f64> = figures
            .iter()
            .zip(levels)
            .filter(|(_, level)| level == &name)
            .map(|(f, _)| *f)
            .collect();
        mean(&those)
    };
    let means: Vec<f64> = names.iter().map(of_level).collect();
    (means.len() > 1).then(|| (variance(&means) / means.len() as f64, (means.len() - 1) as f64))
}

fn draws(figures: &[f64], design: &[Run]) -> Option<(f64, f64)> {
    between(figures, &design.iter().map(|run| run.draw.as_str()).collect::<Vec<_>>())
}

/// Where draws share seeds, or there is one draw only. Where each draw has seeds of its own, they are part of the draws' variance.
fn seeds(figures: &[f64], design: &[Run]) -> Option<(f64, f64)> {
    let levels: Vec<&str> = design.iter().map(|run| run.seed.as_str()).collect();
    let seeds: BTreeSet<&str> = levels.iter().copied().collect();
    let draws: BTreeSet<&str> = design.iter().map(|run| run.draw.as_str()).collect();
    let counts = draws.len() == 1 || seeds.len() < design.len();
    if counts { between(figures, &levels) } else { None }
}

fn of_images(runs: &[Vec<f64>], figures: &[f64], weights: &[f64]) -> f64 {
    let images = runs[0].len();
    let of_image = |i: usize| {
        runs.iter()
            .zip(weights)
            .map(|(run, weight)| run[i] * weight)
            .sum::<f64>()
    };
    let means: Vec<f64> = (0..images).map(of_image).collect();
    let by_run = if runs.len() > 1 {
        let within = |i: usize| variance(&runs.iter().map(|run| run[i]).collect::<Vec<_>>());
        (mean(&(0..images).map(within).collect::<Vec<_>>()) - variance(figures)).max(0.0)
    } else {
        0.0
    };
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    (variance(&means) - by_run * squares).max(0.0) / images as f64
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::rng::Stream;

    fn nested(draws: usize) -> Vec<Run> {
        let run = |d: usize| Run {
            draw: d.to_string(),
            seed: d.to_string(),
        };
        (0..draws).map(run).collect()
    }

    fn crossed(draws: usize, seeds: usize) -> Vec<Run> {
        let runs = (0..draws).flat_map(|d| (0..seeds).map(move |s| (d, s)));
        runs.map(|(d, s)| Run {
            draw: d.to_string(),
            seed: s.to_string(),
        })
        .collect()
    }

    /// The share of simulated experiments whose interval covers the true difference of two arms: each arm is right on an image where its skill,
    /// with an effect of the draw, of the seed and of the run, exceeds the image's difficulty, which both arms share in part.
    fn coverage(design: &[Run], spread: [f64; 2], images: usize) -> f64 {
        const GAP: f64 = 0.03;
        let experiments = 1500;
        let covers = |experiment: &u64| {
            let stream = Stream::new(7, "coverage").index(*experiment);
            let effect = |arm: &str, kind: &str, level: &str, spread: f64| {
                spread * f64::from(stream.child(arm).child(kind).child(level).normal())
            };
            let mut shared = stream.child("images");
            let mut own = [stream.child("first"), stream.child("second")];
            let difficulty: Vec<[f64; 2]> = (0..images)
                .map(|_| {
                    // Half of the images are of one difficulty for both arms.
                    let common = f64::from(shared.uniform());
                    let mut one = |k: usize| {
                        if common < 0.5 {
                            2.0 * common
                        } else {
                            f64::from(own[k].uniform())
                        }
                    };
                    [one(0), one(1)]
                })
                .collect();
            let arm = |k: usize, skill: f64| {
                let name = ["first", "second"][k];
                let run = |run: &Run| {
                    let skill = skill
                        + effect(name, "draw", &run.draw, spread[0])
                        + effect(name, "seed", &run.seed, spread[1])
                        + effect(name, "run", &format!("{} {}", run.draw, run.seed), spread[1]);
                    let mut noise = stream.child(name).child("noise").child(&run.draw).child(&run.seed);
                    // What an image is judged depends on the run as well.
                    let right = |d: &[f64; 2]| f64::from(d[k] + 0.1 * (f64::from(noise.uniform()) - 0.5) < skill);
                    difficulty.iter().map(right).collect()
                };
                Arm {
                    runs: design.iter().map(run).collect(),
                }
            };
            let (low, high) = difference(&arm(1, 0.6 + GAP), &arm(0, 0.6), design).interval();
            low <= GAP && GAP <= high
        };
        (0..experiments).into_par_iter().filter(covers).count() as f64 / experiments as f64
    }

    #[test]
    fn the_interval_covers_the_true_difference_in_95_of_100_experiments() {
        for draws in [3, 5] {
            for spread in [[0.0, 0.0], [0.01, 0.005], [0.04, 0.02]] {
                for design in [nested(draws), crossed(draws, 2)] {
                    let found = coverage(&design, spread, 400);
                    assert!(
                        found >= 0.93,
                        "{draws} draws of {} runs, spread {spread:?}: {found}",
                        design.len()
                    );
                }
            }
        }
    }

    #[test]
    fn an_interval_of_many_draws_is_not_wider_than_it_need_be() {
        let found = coverage(&nested(20), [0.02, 0.01], 400);
        assert!((0.93..0.985).contains(&found), "{found}");
    }

    #[test]
    fn pairing_narrows_the_difference_of_arms_that_fail_on_the_same_images() {
        let mut stream = Stream::new(1, "pairing");
        let base = Arm {
            runs: (0..3)
                .map(|_| (0..1000).map(|_| f64::from(stream.bernoulli(0.7))).collect())
                .collect(),
        };
        let mut other = base.clone();
        for run in &mut other.runs {
            run.iter_mut()
                .filter(|right| **right == 0.0)
                .take(10)
                .for_each(|right| *right = 1.0);
        }
        let design = nested(3);
        let gain = difference(&other, &base, &design);
        assert!(
            (gain.mean - 0.01).abs() < 1e-12 && gain.p() < 0.05 && gain.above_zero() > 0.97,
            "{gain:?}"
        );
        assert!(gain.standard_error() < estimate(&base, &design).standard_error() / 3.0);
    }

    #[test]
    fn equivalence_is_found_only_where_the_interval_lies_within_the_margin() {
        let of = |standard_error: f64| Estimate {
            mean: 0.001,
            sources: vec![(standard_error * standard_error, 4.0)],
        };
        let (within, vague) = (of(0.002), of(0.02));
        assert!(within.p_not_equivalent(0.01) < 0.05 && within.p() > 0.05);
        assert!(
            vague.p_not_equivalent(0.01) > 0.05 && vague.p() > 0.05,
            "neither different nor equivalent"
        );
    }
}
