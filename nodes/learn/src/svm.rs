//! A support vector machine with a Gaussian kernel: the control that a network with few labels has to beat.
//!
//! One machine for each pair of classes, which vote. Each is the dual of Cortes & Vapnik (1995), solved by sequential minimal optimisation with
//! second-order choice of the pair (Fan, Chen & Lin 2005, as in LIBSVM: Chang & Lin 2011), to LIBSVM's tolerance: no seed.

use rayon::prelude::*;

use crate::kernels::conv::{self, ConvShape};

/// The largest violation of the optimality conditions that is left.
const TOLERANCE: f64 = 1e-3;
/// Steps, for each example.
const STEPS: usize = 1000;
/// What a pair's curvature is at least, where two examples are the same.
const LEAST_CURVATURE: f64 = 1e-12;
/// Rows whose kernel values are held at once.
const ROWS: usize = 512;

/// Penalty and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmSettings {
    /// What an example within the margin costs (`C`), above 0.
    pub penalty: f32,
    /// The kernel is `exp(-gamma |a - b|^2)`, with this multiple of `1 / (features * variance)`, above 0: 1 is `gamma="scale"` of scikit-learn.
    pub gamma: f32,
}

/// A fitted machine.
#[derive(Clone, Debug)]
pub struct Svm {
    dim: usize,
    classes: usize,
    gamma: f32,
    /// `[n][dim]`.
    support: Vec<f32>,
    /// `[n][pairs]`.
    coefficients: Vec<f32>,
    /// `[pairs]`.
    offsets: Vec<f32>,
}

/// The pairs of classes, in the order in which they vote.
fn pairs(classes: usize) -> Vec<(usize, usize)> {
    (0..classes)
        .flat_map(|a| (a + 1..classes).map(move |b| (a, b)))
        .collect()
}

impl Svm {
    /// Fits features `[n][dim]` with a class for each row.
    ///
    /// # Panics
    /// With `BUG:` if there are no examples or the sizes do not fit.
    pub fn fit(features: &[f32], labels: &[usize], dim: usize, classes: usize, settings: SvmSettings) -> Self {
        assert!(
            !labels.is_empty() && features.len() == labels.len() * dim,
            "BUG: features and labels of the support vector machine do not fit"
        );
        let variance = variance(features);
        let gamma = if variance > 0.0 {
            settings.gamma / (dim as f32 * variance)
        } else {
            1.0
        };
        let kernel = kernel(features, features, dim, gamma);
        let pairs = pairs(classes);
        let fit_pair = |(a, b): &(usize, usize)| {
            let of_pair = |i: &usize| labels[*i] == *a || labels[*i] == *b;
            let rows: Vec<usize> = (0..labels.len()).filter(of_pair).collect();
            let signs: Vec<f64> = rows.iter().map(|i| if labels[*i] == *a { 1.0 } else { -1.0 }).collect();
            let value = |i: usize, j: usize| f64::from(kernel[rows[i] * labels.len() + rows[j]]);
            let solution = Problem::new(&value, &signs, f64::from(settings.penalty)).solve();
            (rows, solution)
        };
        let fitted: Vec<(Vec<usize>, Solution)> = pairs.par_iter().map(fit_pair).collect();
        let mut coefficients = vec![0.0; labels.len() * pairs.len()];
        for (pair, (rows, solution)) in fitted.iter().enumerate() {
            for (row, coefficient) in rows.iter().zip(&solution.coefficients) {
                coefficients[row * pairs.len() + pair] = *coefficient as f32;
            }
        }
        Self {
            dim,
            classes,
            gamma,
            support: features.to_vec(),
            coefficients,
            offsets: fitted.iter().map(|(_, solution)| solution.offset as f32).collect(),
        }
    }

    /// The class of each row of `features`, `[n][dim]`: most votes, the first of equal ones.
    pub fn predict(&self, features: &[f32]) -> Vec<usize> {
        let pairs = pairs(self.classes);
        if pairs.is_empty() {
            return vec![0; features.len() / self.dim];
        }
        let n = self.support.len() / self.dim;
        let mut predicted = Vec::with_capacity(features.len() / self.dim);
        for rows in features.chunks(ROWS * self.dim) {
            let values = kernel(rows, &self.support, self.dim, self.gamma);
            let count = rows.len() / self.dim;
            let mut decisions = vec![0.0; count * pairs.len()];
            let shape = ConvShape::matrix(count, n, pairs.len());
            conv::forward(&shape, &values, &self.coefficients, None, &mut decisions);
            for decisions in decisions.chunks_exact(pairs.len()) {
                let mut votes = vec![0usize; self.classes];
                for (((a, b), decision), offset) in pairs.iter().zip(decisions).zip(&self.offsets) {
                    votes[if decision + offset > 0.0 { *a } else { *b }] += 1;
                }
                let most = votes.iter().copied().max().unwrap_or(0);
                predicted.push(votes.iter().position(|v| *v == most).unwrap_or(0));
            }
        }
        predicted
    }
}

fn variance(values: &[f32]) -> f32 {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n) as f32
}

/// `[rows of a][rows of b]`.
fn kernel(a: &[f32], b: &[f32], dim: usize, gamma: f32) -> Vec<f32> {
    let (m, n) = (a.len() / dim, b.len() / dim);
    let mut columns = vec![0.0; b.len()];
    for (i, row) in b.chunks_exact(dim).enumerate() {
        for (d, value) in row.iter().enumerate() {
            columns[d * n + i] = *value;
        }
    }
    let mut values = vec![0.0; m * n];
    conv::forward(&ConvShape::matrix(m, dim, n), a, &columns, None, &mut values);
    let squares = |x: &[f32]| {
        let rows = x.chunks_exact(dim);
        rows.map(|row| row.iter().map(|v| v * v).sum::<f32>())
            .collect::<Vec<_>>()
    };
    let (of_a, of_b) = (squares(a), squares(b));
    for (row, a) in values.chunks_exact_mut(n).zip(&of_a) {
        for (value, b) in row.iter_mut().zip(&of_b) {
            *value = (-gamma * (a + b - 2.0 * *value).max(0.0)).exp();
        }
    }
    values
}

/// `sign * alpha` of each example, and what is added to their sum of kernel values.
struct Solution {
    coefficients: Vec<f64>,
    offset: f64,
}

/// Minimise `0.5 a'Qa - sum(a)` over `0 <= a <= penalty` with `signs'a = 0`, where `Q[i][j] = signs[i] signs[j] kernel(i, j)`.
struct Problem<'a, K: Fn(usize, usize) -> f64> {
    kernel: &'a K,
    signs: &'a [f64],
    penalty: f64,
    alphas: Vec<f64>,
    /// `Qa - 1`.
    gradient: Vec<f64>,
}

impl<'a, K: Fn(usize, usize) -> f64> Problem<'a, K> {
    fn new(kernel: &'a K, signs: &'a [f64], penalty: f64) -> Self {
        Self {
            kernel,
            signs,
            penalty,
            alphas: vec![0.0; signs.len()],
            gradient: vec![-1.0; signs.len()],
        }
    }

    /// Whether `alpha[i]` may move so that `sign * alpha` rises.
    fn may_rise(&self, i: usize) -> bool {
        if self.signs[i] > 0.0 {
            self.alphas[i] < self.penalty
        } else {
            self.alphas[i] > 0.0
        }
    }

    fn may_fall(&self, i: usize) -> bool {
        if self.signs[i] > 0.0 {
            self.alphas[i] > 0.0
        } else {
            self.alphas[i] < self.penalty
        }
    }

    fn curvature(&self, i: usize, j: usize) -> f64 {
        let kernel = self.kernel;
        (kernel(i, i) + kernel(j, j) - 2.0 * kernel(i, j)).max(LEAST_CURVATURE)
    }

    /// The pair that promises most, or `None` where the optimality conditions hold.
    fn pair(&self) -> Option<(usize, usize)> {
        let slope = |i: usize| -self.signs[i] * self.gradient[i];
        let n = self.signs.len();
        let i = (0..n)
            .filter(|i| self.may_rise(*i))
            .max_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
        let mut best: Option<(usize, f64)> = None;
        let mut least = f64::INFINITY;
        for j in (0..n).filter(|j| self.may_fall(*j)) {
            least = least.min(slope(j));
            let gap = slope(i) - slope(j);
            if gap > 0.0 {
                let gain = gap * gap / self.curvature(i, j);
                if best.is_none_or(|(_, most)| gain > most) {
                    best = Some((j, gain));
                }
            }
        }
        let violated = slope(i) - least >= TOLERANCE;
        best.filter(|_| violated).map(|(j, _)| (i, j))
    }

    fn solve(mut self) -> Solution {
        for _ in 0..STEPS * self.signs.len() {
            let Some((i, j)) = self.pair() else { break };
            self.step(i, j);
        }
        let offset = self.offset();
        Solution {
            coefficients: self
                .alphas
                .iter()
                .zip(self.signs)
                .map(|(alpha, sign)| alpha * sign)
                .collect(),
            offset,
        }
    }

    /// Moves the pair to its optimum along the line that keeps `signs'a`, as far as the box goes.
    fn step(&mut self, i: usize, j: usize) {
        let (si, sj) = (self.signs[i], self.signs[j]);
        let wanted = (sj * self.gradient[j] - si * self.gradient[i]) / self.curvature(i, j);
        let room = |alpha: f64, direction: f64| if direction > 0.0 { self.penalty - alpha } else { alpha };
        let by = wanted.min(room(self.alphas[i], si)).min(room(self.alphas[j], -sj));
        // Ends of the box are met exactly, so that they are told from what lies within.
        let moved = |alpha: f64, change: f64| {
            let to = alpha + change;
            if to < 1e-12 * self.penalty {
                0.0
            } else if to > (1.0 - 1e-12) * self.penalty {
                self.penalty
            } else {
                to
            }
        };
        let (to_i, to_j) = (moved(self.alphas[i], si * by), moved(self.alphas[j], -sj * by));
        let (by_i, by_j) = (to_i - self.alphas[i], to_j - self.alphas[j]);
        for k in 0..self.signs.len() {
            let change = si * by_i * (self.kernel)(i, k) + sj * by_j * (self.kernel)(j, k);
            self.gradient[k] += self.signs[k] * change;
        }
        (self.alphas[i], self.alphas[j]) = (to_i, to_j);
    }

    /// The mean of what the examples on the margin ask for, or the middle of what the others allow.
    fn offset(&self) -> f64 {
        let slope = |i: usize| -self.signs[i] * self.gradient[i];
        let all = || 0..self.signs.len();
        let free: Vec<f64> = all()
            .filter(|i| self.may_rise(*i) && self.may_fall(*i))
            .map(slope)
            .collect();
        if !free.is_empty() {
            return free.iter().sum::<f64>() / free.len() as f64;
        }
        let low = all()
            .filter(|i| self.may_rise(*i))
            .map(slope)
            .fold(f64::NEG_INFINITY, f64::max);
        let high = all()
            .filter(|i| self.may_fall(*i))
            .map(slope)
            .fold(f64::INFINITY, f64::min);
        if low.is_finite() && high.is_finite() {
            0.5 * (low + high)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Rings around a centre: no line tells them apart.
    fn rings(n: usize, name: &str) -> (Vec<f32>, Vec<usize>) {
        let mut stream = Stream::new(1, name);
        let labels: Vec<usize> = (0..n).map(|i| i % 3).collect();
        let point = |label: &usize| {
            let (angle, radius) = (
                std::f32::consts::TAU * stream.uniform(),
                *label as f32 + 0.3 * stream.uniform(),
            );
            [radius * angle.cos(), radius * angle.sin()]
        };
        (labels.iter().flat_map(point).collect(), labels)
    }

    const SETTINGS: SvmSettings = SvmSettings {
        penalty: 10.0,
        gamma: 1.0,
    };

    #[test]
    fn rings_are_told_apart_which_no_line_does() {
        let ((x, y), (tx, ty)) = (rings(150, "fit"), rings(300, "test"));
        let predicted = Svm::fit(&x, &y, 2, 3, SETTINGS).predict(&tx);
        let right = predicted.iter().zip(&ty).filter(|(a, b)| a == b).count();
        assert!(right >= 290, "{right} of 300");
    }

    #[test]
    fn what_is_the_same_in_both_classes_or_in_one_alone_is_no_failure() {
        let same = Svm::fit(&[1.0, 1.0, 1.0, 1.0], &[0, 1, 0, 1], 1, 2, SETTINGS).predict(&[1.0]);
        assert!(same[0] < 2);
        let one_class_only = Svm::fit(&[0.0, 1.0], &[2, 2], 1, 3, SETTINGS).predict(&[0.5]);
        assert_eq!(one_class_only.len(), 1);
    }

    #[test]
    fn the_optimality_conditions_hold() {
        let (x, y) = rings(60, "fit");
        let rows: Vec<usize> = (0..60).filter(|i| y[*i] < 2).collect();
        let signs: Vec<f64> = rows.iter().map(|i| if y[*i] == 0 { 1.0 } else { -1.0 }).collect();
        let x: Vec<f32> = rows.iter().flat_map(|i| [x[2 * i], x[2 * i + 1]]).collect();
        let n = signs.len();
        let kernel = kernel(&x, &x, 2, 0.2);
        let value = |i: usize, j: usize| f64::from(kernel[i * n + j]);
        let Solution { coefficients, offset } = Problem::new(&value, &signs, 1.0).solve();
        assert!(
            coefficients.iter().sum::<f64>().abs() < 1e-9,
            "the alphas of both classes are as large"
        );
        for (i, sign) in signs.iter().enumerate() {
            let output: f64 = (0..n).map(|j| coefficients[j] * value(i, j)).sum::<f64>() + offset;
            let (alpha, margin) = (coefficients[i] * sign, sign * output);
            let holds = if alpha <= 0.0 {
                margin >= 0.998
            } else if alpha >= 1.0 {
                margin <= 1.002
            } else {
                (margin - 1.0).abs() < 2e-3
            };
            assert!(holds, "alpha {alpha}, margin {margin}");
        }
    }
}
