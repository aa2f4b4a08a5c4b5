//! Linear probe: multinomial logistic regression on frozen features.
//!
//! Features are standardised by the labelled examples' statistics. The L2 strength is chosen from a grid by stratified
//! cross-validation among the labelled examples, so no label outside the budget is looked at. The optimum is found by L-BFGS
//! (Liu & Nocedal 1989) from zero, so the result has no seed.

use crate::kernels::conv::{self, ConvShape};
use crate::rng::Stream;

/// Penalties tried, on the mean loss: `|w|^2 * strength / 2`.
pub const STRENGTHS: [f32; 5] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// Folds of the cross-validation; fewer where a class has fewer examples.
pub const FOLDS: usize = 5;

const ITERATIONS: usize = 100;
const MEMORY: usize = 8;

/// A fitted probe.
#[derive(Clone, Debug)]
pub struct Probe {
    dim: usize,
    classes: usize,
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    /// `[dim][classes]`, then `[classes]` biases.
    weights: Vec<f32>,
    /// The strength that was chosen.
    pub strength: f32,
}

impl Probe {
    /// Fits features `[n][dim]` with a class for each row.
    ///
    /// # Panics
    /// With `BUG:` if there are no examples or the sizes do not fit.
    pub fn fit(features: &[f32], labels: &[usize], dim: usize, classes: usize) -> Self {
        let n = labels.len();
        assert!(
            n > 0 && features.len() == n * dim,
            "BUG: features and labels of the probe do not fit"
        );
        let (mean, inverse_std) = statistics(features, dim);
        let x = standardise(features, &mean, &inverse_std);
        let strength = choose_strength(&x, labels, dim, classes);
        let weights = minimise(&Problem {
            x: &x,
            labels,
            dim,
            classes,
            strength,
        });
        Self {
            dim,
            classes,
            mean,
            inverse_std,
            weights,
            strength,
        }
    }

    /// The probe as a linear layer on features that are not standardised: weights `[dim][classes]` and biases.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let (mut weight, mut bias) = (
            self.weights[..self.dim * self.classes].to_vec(),
            self.weights[self.dim * self.classes..].to_vec(),
        );
        for (row, (mean, scale)) in weight
            .chunks_exact_mut(self.classes)
            .zip(self.mean.iter().zip(&self.inverse_std))
        {
            for (w, b) in row.iter_mut().zip(&mut bias) {
                *w *= scale;
                *b -= *w * mean;
            }
        }
        (weight, bias)
    }

    /// The class of each row of `features`, `[n][dim]`.
    pub fn predict(&self, features: &[f32]) -> Vec<usize> {
        let x = standardise(features, &self.mean, &self.inverse_std);
        predict(&x, &self.weights, self.dim, self.classes)
    }
}

fn statistics(features: &[f32], dim: usize) -> (Vec<f32>, Vec<f32>) {
    let n = (features.len() / dim) as f64;
    let (mut sum, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for row in features.chunks_exact(dim) {
        for ((s, q), v) in sum.iter_mut().zip(&mut squares).zip(row) {
            *s += f64::from(*v);
            *q += f64::from(*v).powi(2);
        }
    }
    let variance: Vec<f64> = sum
        .iter()
        .zip(&squares)
        .map(|(s, q)| (q / n - (s / n).powi(2)).max(0.0))
        .collect();
    // Features that hardly ever change in a few examples would be blown up to the size of the others, and with them every
    // image that does show them; a feature is not enlarged more than ten times over the typical one.
    let least = (variance.iter().sum::<f64>() / variance.len().max(1) as f64).sqrt() / 10.0;
    let inverse = |v: f64| {
        if v.sqrt().max(least) > 0.0 {
            (1.0 / v.sqrt().max(least)) as f32
        } else {
            0.0
        }
    };
    sum.iter()
        .zip(&variance)
        .map(|(s, v)| ((s / n) as f32, inverse(*v)))
        .unzip()
}

fn standardise(features: &[f32], mean: &[f32], inverse_std: &[f32]) -> Vec<f32> {
    let rows = features.chunks_exact(mean.len());
    rows.flat_map(|row| row.iter().zip(mean).zip(inverse_std).map(|((v, m), s)| (v - m) * s))
        .collect()
}

fn logits(x: &[f32], weights: &[f32], dim: usize, classes: usize) -> Vec<f32> {
    let n = x.len() / dim;
    let mut out = vec![0.0; n * classes];
    conv::forward(
        &ConvShape::matrix(n, dim, classes),
        x,
        &weights[..dim * classes],
        Some(&weights[dim * classes..]),
        &mut out,
    );
    out
}

fn predict(x: &[f32], weights: &[f32], dim: usize, classes: usize) -> Vec<usize> {
    crate::metrics::argmaxes(&logits(x, weights, dim, classes), classes).collect()
}

/// The strength with the best cross-validated accuracy; the stronger of equal ones.
fn choose_strength(x: &[f32], labels: &[usize], dim: usize, classes: usize) -> f32 {
    let count = |class: usize| labels.iter().filter(|l| **l == class).count();
    let folds = (0..classes).map(count).filter(|n| *n > 0).min().unwrap_or(0).min(FOLDS);
    if folds < 2 {
        return STRENGTHS[STRENGTHS.len() / 2];
    }
    // Members of a class are dealt out in turn, in an order that is the same for every probe.
    let mut fold_of = vec![0usize; labels.len()];
    let mut next = vec![0usize; classes];
    for i in Stream::new(0, "probe folds").permutation(labels.len()) {
        let label = labels[i as usize];
        fold_of[i as usize] = next[label] % folds;
        next[label] += 1;
    }
    let mut right = [0usize; STRENGTHS.len()];
    for fold in 0..folds {
        let pick = |inside: bool| -> (Vec<f32>, Vec<usize>) {
            let rows: Vec<usize> = (0..labels.len()).filter(|i| (fold_of[*i] == fold) == inside).collect();
            let x = rows.iter().flat_map(|i| &x[i * dim..(i + 1) * dim]).copied().collect();
            (x, rows.iter().map(|i| labels[*i]).collect())
        };
        let ((fit_x, fit_labels), (held_x, held_labels)) = (pick(false), pick(true));
        for (right, strength) in right.iter_mut().zip(STRENGTHS) {
            let weights = minimise(&Problem {
                x: &fit_x,
                labels: &fit_labels,
                dim,
                classes,
                strength,
            });
            let guesses = predict(&held_x, &weights, dim, classes);
            *right += guesses.iter().zip(&held_labels).filter(|(g, t)| g == t).count();
        }
    }
    let best = right.iter().copied().max().unwrap_or(0);
    let place = right.iter().rposition(|r| *r == best).unwrap_or(0);
    STRENGTHS[place]
}

/// Mean cross-entropy plus the penalty on the weights (not the biases).
struct Problem<'a> {
    x: &'a [f32],
    labels: &'a [usize],
    dim: usize,
    classes: usize,
    strength: f32,
}

impl Problem<'_> {
    fn value_and_gradient(&self, weights: &[f32]) -> (f64, Vec<f32>) {
        let n = self.labels.len();
        let mut scores = logits(self.x, weights, self.dim, self.classes);
        let mut loss = 0.0f64;
        for (row, label) in scores.chunks_exact_mut(self.classes).zip(self.labels) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let true_score = row[*label];
            row.iter_mut().for_each(|v| *v = (*v - most).exp());
            let sum: f32 = row.iter().sum();
            loss += f64::from(sum.ln() + most - true_score);
            row.iter_mut().for_each(|v| *v /= sum * n as f32);
            row[*label] -= 1.0 / n as f32;
        }
        let mut gradient = vec![0.0f32; weights.len()];
        let (dw, db) = gradient.split_at_mut(self.dim * self.classes);
        conv::backward_weight(
            &ConvShape::matrix(n, self.dim, self.classes),
            self.x,
            &scores,
            dw,
            Some(db),
        );
        let mut penalty = 0.0f64;
        for (g, w) in dw.iter_mut().zip(weights) {
            *g += self.strength * w;
            penalty += f64::from(*w).powi(2);
        }
        (loss / n as f64 + penalty * f64::from(self.strength) / 2.0, gradient)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// L-BFGS with a backtracking line search.
fn minimise(problem: &Problem<'_>) -> Vec<f32> {
    let mut w = vec![0.0f32; (problem.dim + 1) * problem.classes];
    let (mut value, mut gradient) = problem.value_and_gradient(&w);
    let mut memory: std::collections::VecDeque<(Vec<f32>, Vec<f32>, f64)> = std::collections::VecDeque::new();
    for _ in 0..ITERATIONS {
        if dot(&gradient, &gradient).sqrt() < 1e-4 {
            break;
        }
        let direction = descent(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        let mut step = if memory.is_empty() {
            1.0 / dot(&gradient, &gradient).sqrt().max(1.0)
        } else {
            1.0
        };
        let mut found = None;
        for _ in 0..20 {
            let there: Vec<f32> = w.iter().zip(&direction).map(|(w, d)| w + step as f32 * d).collect();
            let (v, g) = problem.value_and_gradient(&there);
            if v <= value + 1e-4 * step * slope {
                found = Some((there, v, g));
                break;
            }
            step *= 0.5;
        }
        let Some((there, v, g)) = found else { break };
        let s: Vec<f32> = there.iter().zip(&w).map(|(a, b)| a - b).collect();
        let y: Vec<f32> = g.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&s, &y);
        if curvature > 1e-10 {
            memory.push_back((s, y, 1.0 / curvature));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        let gain = value - v;
        (w, value, gradient) = (there, v, g);
        if gain < 1e-7 * value.abs().max(1e-3) {
            break;
        }
    }
    w
}

/// The quasi-Newton direction (Nocedal's two-loop recursion).
fn descent(gradient: &[f32], memory: &std::collections::VecDeque<(Vec<f32>, Vec<f32>, f64)>) -> Vec<f32> {
    let mut q: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for (s, y, rho) in memory.iter().rev() {
        let alpha = rho * dot(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha as f32 * y);
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = memory.back() {
        let scale = (1.0 / (rho * dot(y, y))) as f32;
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((s, y, rho), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) as f32 * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_classes_are_separated_and_the_gradient_vanishes() {
        let mut stream = Stream::new(1, "probe test");
        let labels: Vec<usize> = (0..90).map(|i| i % 3).collect();
        let features: Vec<f32> = labels
            .iter()
            .flat_map(|l| (0..4).map(|d| if d == *l { 3.0 } else { 0.0 }).collect::<Vec<f32>>())
            .map(|v| v + stream.normal() * 0.3)
            .collect();
        let probe = Probe::fit(&features, &labels, 4, 3);
        assert_eq!(probe.predict(&features), labels);
        let (mean, inverse_std) = statistics(&features, 4);
        let x = standardise(&features, &mean, &inverse_std);
        let problem = Problem {
            x: &x,
            labels: &labels,
            dim: 4,
            classes: 3,
            strength: 1e-2,
        };
        let (_, gradient) = problem.value_and_gradient(&minimise(&problem));
        assert!(dot(&gradient, &gradient).sqrt() < 2e-3, "not at the optimum");
    }

    #[test]
    fn the_affine_form_predicts_the_same() {
        let mut stream = Stream::new(2, "probe test");
        let labels: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let features: Vec<f32> = labels
            .iter()
            .flat_map(|l| [*l as f32 * 5.0 + 100.0, 3.0])
            .map(|v| v + stream.normal())
            .collect();
        let probe = Probe::fit(&features, &labels, 2, 3);
        let (weight, bias) = probe.affine();
        let score =
            |x: &[f32], c: usize| bias[c] + x.iter().enumerate().map(|(d, v)| v * weight[d * 3 + c]).sum::<f32>();
        let guesses: Vec<usize> = features
            .chunks_exact(2)
            .map(|x| crate::metrics::argmax(&[score(x, 0), score(x, 1), score(x, 2)]))
            .collect();
        assert_eq!(guesses, probe.predict(&features));
    }

    #[test]
    fn one_example_per_class_still_gives_a_probe() {
        let probe = Probe::fit(&[0.0, 1.0, 1.0, 0.0], &[0, 1], 2, 2);
        assert_eq!(probe.predict(&[0.1, 0.9, 0.9, 0.2]), [0, 1]);
    }
}
