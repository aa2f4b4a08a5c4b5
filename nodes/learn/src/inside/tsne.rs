//! t-SNE (van der Maaten & Hinton 2008), exact: for some hundred rows. The same for the same stream, whatever the number of threads.

use rayon::prelude::*;

use crate::clustering::pca_whiten;
use crate::rng::Stream;

/// Steps in which rows that are near are pulled together harder, and all steps.
const EARLY: usize = 120;
const STEPS: usize = 500;
/// How much harder.
const EXAGGERATION: f64 = 12.0;

/// Rows `[n][dim]` in the plane, `[n][2]`: what is near stays near. `perplexity` is about the number of neighbours that count, fewer than a third of `n`.
pub fn tsne(rows: &[f32], dim: usize, perplexity: f64, stream: &mut Stream) -> Vec<[f64; 2]> {
    let n = rows.len() / dim.max(1);
    if n < 4 {
        return vec![[0.0; 2]; n];
    }
    let perplexity = perplexity.min((n - 1) as f64 / 3.0);
    let near = joint(rows, dim, n, perplexity);
    // It begins with the two strongest directions, small.
    let begin = pca_whiten(rows, dim, 2, stream);
    let width = begin.len() / n;
    let mut at: Vec<[f64; 2]> = begin
        .chunks_exact(width)
        .map(|row| {
            [
                1e-4 * f64::from(row[0]),
                1e-4 * f64::from(row.get(1).copied().unwrap_or(0.0)),
            ]
        })
        .collect();
    let mut speed = vec![[0.0_f64; 2]; n];
    let rate = (n as f64 / EXAGGERATION / 4.0).max(50.0);
    for step in 0..STEPS {
        let early = step < EARLY;
        let (pull, inertia) = if early { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        for (i, push) in gradient(&near, &at, pull).into_iter().enumerate() {
            for ((at, speed), push) in at[i].iter_mut().zip(&mut speed[i]).zip(push) {
                *speed = inertia * *speed - rate * push;
                *at += *speed;
            }
        }
    }
    at
}

fn kernel(a: [f64; 2], b: [f64; 2]) -> f64 {
    1.0 / (1.0 + (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2))
}

fn gradient(near: &[f32], at: &[[f64; 2]], pull: f64) -> Vec<[f64; 2]> {
    let n = at.len();
    let of_row = |i: usize| (0..n).filter(|j| *j != i).map(|j| kernel(at[i], at[j])).sum::<f64>();
    // Added up in the order of the rows: the number of threads does not show.
    let sums: Vec<f64> = (0..n).into_par_iter().map(of_row).collect();
    let all: f64 = sums.iter().sum();
    let push = |i: usize| {
        let mut push = [0.0; 2];
        for j in (0..n).filter(|j| *j != i) {
            let q = kernel(at[i], at[j]);
            let force = 4.0 * (pull * f64::from(near[i * n + j]) - q / all) * q;
            push[0] += force * (at[i][0] - at[j][0]);
            push[1] += force * (at[i][1] - at[j][1]);
        }
        push
    };
    (0..n).into_par_iter().map(push).collect()
}

/// How near rows are to each other, `[n][n]`; adds up to 1.
fn joint(rows: &[f32], dim: usize, n: usize, perplexity: f64) -> Vec<f32> {
    let of_row = |i: usize| {
        let own = &rows[i * dim..][..dim];
        let far = |j: usize| {
            let other = &rows[j * dim..][..dim];
            own.iter()
                .zip(other)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .sum::<f64>()
        };
        let far: Vec<f64> = (0..n).map(far).collect();
        conditional(&far, i, perplexity)
    };
    let given: Vec<Vec<f64>> = (0..n).into_par_iter().map(of_row).collect();
    let both = |place: usize| {
        let (i, j) = (place / n, place % n);
        ((given[i][j] + given[j][i]) / (2 * n) as f64).max(1e-12) as f32
    };
    (0..n * n).map(both).collect()
}

/// The chance of each other row to be a neighbour of this one, with the wanted perplexity (found by bisection).
fn conditional(far: &[f64], own: usize, perplexity: f64) -> Vec<f64> {
    let others = || far.iter().enumerate().filter(|(j, _)| *j != own);
    let nearest = others().map(|(_, d)| *d).fold(f64::INFINITY, f64::min);
    let (mut low, mut high, mut sharp) = (0.0, f64::INFINITY, 1.0);
    let mut chances = vec![0.0; far.len()];
    for _ in 0..60 {
        others().for_each(|(j, d)| chances[j] = (-sharp * (d - nearest)).exp());
        let sum: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|p| *p /= sum);
        let entropy: f64 = chances.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        if (entropy - perplexity.ln()).abs() < 1e-5 {
            break;
        }
        if entropy > perplexity.ln() {
            low = sharp;
            sharp = if high.is_finite() {
                f64::midpoint(low, high)
            } else {
                2.0 * sharp
            };
        } else {
            high = sharp;
            sharp = f64::midpoint(low, high);
        }
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_stays_near_and_the_number_of_threads_does_not_show() {
        let mut stream = Stream::new(1, "rows");
        let rows: Vec<f32> = (0..90)
            .flat_map(|i| {
                let middle = (i % 3) as f32 * 10.0;
                [
                    middle + stream.normal(),
                    stream.normal(),
                    middle - stream.normal(),
                    stream.normal(),
                ]
            })
            .collect();
        let mapped = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| tsne(&rows, 4, 10.0, &mut Stream::new(2, "map")))
        };
        let map = mapped(1);
        assert_eq!(map, mapped(3));
        let far = |i: usize, j: usize| (map[i][0] - map[j][0]).hypot(map[i][1] - map[j][1]);
        for i in 0..90 {
            let nearest = (0..90)
                .filter(|j| *j != i)
                .min_by(|a, b| far(i, *a).total_cmp(&far(i, *b)))
                .unwrap();
            assert_eq!(i % 3, nearest % 3, "row {i} lies in another group");
        }
    }
}
