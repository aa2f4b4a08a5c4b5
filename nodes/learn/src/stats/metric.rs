//! Figures of a classifier as means over test images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{balanced_accuracy, confusion, macro_f1};

/// What arms are compared by; all lie in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of images that are classified right.
    #[default]
    Accuracy,
    /// The mean of the classes' recall: each class counts alike, however many images it has.
    BalancedAccuracy,
    /// The mean of the classes' F1.
    MacroF1,
}

impl Metric {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::MacroF1 => "macro F1",
        }
    }

    /// What is reached without looking at an image, by naming the commonest class for all or any class at random.
    ///
    /// # Panics
    /// With `BUG:` if a class is not below `classes`.
    pub fn by_guessing(self, truth: &[usize], classes: usize) -> f64 {
        let mut counts = vec![0usize; classes];
        for class in truth {
            assert!(*class < classes, "BUG: a class out of range");
            counts[*class] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0) as f64 / truth.len().max(1) as f64;
        let known = counts.iter().filter(|count| **count > 0).count().max(1) as f64;
        let at_random = 1.0 / classes.max(1) as f64;
        match self {
            Self::Accuracy => most.max(at_random),
            Self::BalancedAccuracy => at_random.max(1.0 / known),
            Self::MacroF1 => at_random.max(2.0 * most / (1.0 + most) / known),
        }
    }

    /// What each image contributes: their mean is the figure, and their variance over the number of images the figure's variance, as far as images
    /// are drawn at random. Ratios are taken by their influence function (Hampel 1974), as in the infinitesimal jackknife.
    ///
    /// # Panics
    /// With `BUG:` if a class is not below `classes`.
    pub fn contributions(self, truth: &[usize], predicted: &[usize], classes: usize) -> Vec<f64> {
        let counts = confusion(truth, predicted, classes);
        let n = truth.len() as f64;
        let share = |count: u64| count as f64 / n;
        let truly: Vec<f64> = (0..classes)
            .map(|c| share(counts[c * classes..(c + 1) * classes].iter().sum()))
            .collect();
        let guessed: Vec<f64> = (0..classes)
            .map(|c| share(counts.iter().skip(c).step_by(classes).sum()))
            .collect();
        let hits = |c: usize| share(counts[c * classes + c]);
        let judged = truth.iter().zip(predicted);
        match self {
            Self::Accuracy => judged.map(|(t, p)| f64::from(u8::from(t == p))).collect(),
            Self::BalancedAccuracy => {
                let figure = balanced_accuracy(truth, predicted, classes);
                let known = truly.iter().filter(|share| **share > 0.0).count() as f64;
                let of = |(t, p): (&usize, &usize)| {
                    let right = f64::from(u8::from(t == p));
                    figure + (right - hits(*t) / truly[*t]) / (known * truly[*t])
                };
                judged.map(of).collect()
            }
            Self::MacroF1 => {
                let figure = macro_f1(truth, predicted, classes);
                let both: Vec<f64> = (0..classes).map(|c| truly[c] + guessed[c]).collect();
                let known = both.iter().filter(|share| **share > 0.0).count() as f64;
                let f1 = |c: usize| 2.0 * hits(c) / both[c];
                let of = |(t, p): (&usize, &usize)| {
                    let right = if t == p { 2.0 / both[*t] } else { 0.0 };
                    figure + (right - f1(*p) / both[*p] - f1(*t) / both[*t]) / known
                };
                judged.map(of).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    const ALL: [Metric; 3] = [Metric::Accuracy, Metric::BalancedAccuracy, Metric::MacroF1];

    /// Five classes of which the last never occurs, one image in ten of the fourth, four in ten misjudged.
    fn judged(n: usize, stream: &mut Stream) -> (Vec<usize>, Vec<usize>) {
        let truth: Vec<usize> = (0..n)
            .map(|_| if stream.bernoulli(0.1) { 3 } else { stream.below(3) })
            .collect();
        let predicted = truth
            .iter()
            .map(|t| if stream.bernoulli(0.6) { *t } else { stream.below(4) })
            .collect();
        (truth, predicted)
    }

    fn figure(metric: Metric, truth: &[usize], predicted: &[usize]) -> f64 {
        match metric {
            Metric::Accuracy => crate::metrics::accuracy(truth, predicted),
            Metric::BalancedAccuracy => balanced_accuracy(truth, predicted, 5),
            Metric::MacroF1 => macro_f1(truth, predicted, 5),
        }
    }

    #[test]
    fn guessing_is_the_best_of_one_class_for_all_and_of_any_at_random() {
        let (truth, _) = judged(300, &mut Stream::new(2, "guessing"));
        let one_class = vec![2; 30];
        for (truth, metric) in ALL
            .into_iter()
            .flat_map(|metric| [(&truth, metric), (&one_class, metric)])
        {
            let always = |class: usize| figure(metric, truth, &vec![class; truth.len()]);
            let best = (0..5).map(always).fold(1.0 / 5.0, f64::max);
            let found = metric.by_guessing(truth, 5);
            assert!((found - best).abs() < 1e-12, "{metric:?}: {found} {best}");
        }
    }

    #[test]
    fn the_mean_of_what_images_contribute_is_the_figure() {
        let (truth, predicted) = judged(300, &mut Stream::new(1, "figure"));
        for metric in ALL {
            let mean = metric.contributions(&truth, &predicted, 5).iter().sum::<f64>() / 300.0;
            let expected = figure(metric, &truth, &predicted);
            assert!((mean - expected).abs() < 1e-12, "{metric:?}: {mean} {expected}");
        }
    }

    #[test]
    fn their_variance_is_that_of_the_figure_over_sets_of_images() {
        let n = 400;
        for metric in ALL {
            let figures: Vec<f64> = (0..2000)
                .map(|i| {
                    let (truth, predicted) = judged(n, &mut Stream::new(2, "sets").index(i));
                    figure(metric, &truth, &predicted)
                })
                .collect();
            let variance = |values: &[f64]| {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64
            };
            let (truth, predicted) = judged(20 * n, &mut Stream::new(3, "one"));
            let told = variance(&metric.contributions(&truth, &predicted, 5)) / n as f64;
            let ratio = told / variance(&figures);
            assert!((0.85..1.18).contains(&ratio), "{metric:?}: {ratio}");
        }
    }
}
