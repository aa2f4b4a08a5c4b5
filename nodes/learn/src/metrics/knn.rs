//! Weighted nearest neighbours on features (Wu et al. 2018, 1805.01978): cosine similarity, weight `exp(s / T)`.
//!
//! At low temperatures that is more than an `f32` holds. Only the weights' ratios decide, so they are then taken as multiples of the
//! nearest neighbour's: `exp((s - s_nearest) / T)`.

use rayon::prelude::*;

use super::argmaxes;
use crate::kernels::conv::{self, ConvShape};

/// What the neighbours say.
#[derive(Clone, Debug, PartialEq)]
pub struct Votes {
    /// Summed weights, `[queries][classes]`: finite, and in each row above zero for some class. Where `exp(s / T)` over- or underflows, they
    /// are multiples of the nearest neighbour's.
    pub votes: Vec<f32>,
    /// The class with most weight.
    pub predicted: Vec<usize>,
}

/// Rows scaled to length one; a row of zeros stays.
pub fn normalised(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut out = rows.to_vec();
    for row in out.chunks_exact_mut(dim) {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        row.iter_mut().for_each(|v| *v /= norm);
    }
    out
}

/// Votes of the `k` nearest of `bank`, `[n][dim]`, with `bank_labels`, for each of `queries`, `[queries][dim]`. Equal
/// similarities are decided by place.
///
/// # Panics
/// With `BUG:` if the bank is empty or `k` or the temperature is not above zero.
pub fn weighted_knn(
    bank: &[f32],
    bank_labels: &[usize],
    queries: &[f32],
    dim: usize,
    classes: usize,
    k: usize,
    temperature: f32,
) -> Votes {
    assert!(
        !bank_labels.is_empty() && k > 0 && temperature > 0.0,
        "BUG: kNN needs a bank, neighbours and a temperature"
    );
    let n = bank_labels.len();
    let k = k.min(n);
    let unit_bank = normalised(bank, dim);
    // The bank's transpose, so that similarities are a matrix product.
    let mut weight = vec![0.0f32; dim * n];
    for (i, row) in unit_bank.chunks_exact(dim).enumerate() {
        row.iter().enumerate().for_each(|(d, v)| weight[d * n + i] = *v);
    }
    let mut votes = Vec::with_capacity(queries.len() / dim * classes);
    for block in normalised(queries, dim).chunks(dim * 256) {
        let rows = block.len() / dim;
        let mut similarity = vec![0.0f32; rows * n];
        conv::forward(&ConvShape::matrix(rows, dim, n), block, &weight, None, &mut similarity);
        let of_rows: Vec<Vec<f32>> = similarity
            .par_chunks(n)
            .map(|row| {
                let mut order: Vec<u32> = (0..n as u32).collect();
                let nearer = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
                order.select_nth_unstable_by(k - 1, nearer);
                order.truncate(k);
                order.sort_unstable_by(nearer);
                let base = base(row[order[0] as usize], temperature, k);
                let mut sums = vec![0.0f32; classes];
                for i in order {
                    sums[bank_labels[i as usize]] += ((row[i as usize] - base) / temperature).exp();
                }
                sums
            })
            .collect();
        votes.extend(of_rows.into_iter().flatten());
    }
    let predicted = argmaxes(&votes, classes).collect();
    Votes { votes, predicted }
}

/// What is taken from similarities before they are divided: nothing, unless `k` weights as large as that of the `nearest` overflow, or even
/// that one vanishes.
fn base(nearest: f32, temperature: f32, k: usize) -> f32 {
    let most = (nearest / temperature).exp() * k as f32;
    if most.is_finite() && most >= f32::MIN_POSITIVE * k as f32 {
        0.0
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::weighted_knn;
    use crate::rng::Stream;

    #[test]
    fn a_low_temperature_neither_overflows_nor_changes_what_is_said() {
        let mut stream = Stream::new(1, "knn");
        let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal()).collect() };
        let (bank, queries) = (normals(40 * 6), normals(30 * 6));
        let labels: Vec<usize> = (0..40).map(|i| i * 7 % 3).collect();
        let vote = |temperature| weighted_knn(&bank, &labels, &queries, 6, 3, 10, temperature);
        let nearest = weighted_knn(&bank, &labels, &queries, 6, 3, 1, 0.1).predicted;
        for temperature in [0.01, 0.005, 0.001, 1e-6, f32::MIN_POSITIVE] {
            let votes = vote(temperature);
            assert!(votes.votes.iter().all(|v| v.is_finite()), "{temperature}");
            assert!(
                votes.votes.chunks_exact(3).all(|row| row.iter().any(|v| *v > 0.0)),
                "{temperature}"
            );
        }
        // The colder, the more the nearest alone decides; and the plain formula's weights stay what they were.
        assert_eq!(vote(1e-6).predicted, nearest);
        let (warm, cold) = (vote(0.07), vote(0.02));
        let plain = |t: f32| -> Vec<f32> {
            let unit = |rows: &[f32]| super::normalised(rows, 6);
            let (bank, queries) = (unit(&bank), unit(&queries));
            let similar = |q: &[f32], b: &[f32]| q.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
            let rows = queries.chunks_exact(6).flat_map(|q| {
                let mut all: Vec<(f32, usize)> = bank
                    .chunks_exact(6)
                    .map(|b| similar(q, b))
                    .zip(labels.clone())
                    .collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0));
                let mut sums = [0.0f32; 3];
                all[..10].iter().for_each(|(s, label)| sums[*label] += (s / t).exp());
                sums
            });
            rows.collect()
        };
        for (votes, temperature) in [(warm, 0.07), (cold, 0.02)] {
            for (found, expected) in votes.votes.iter().zip(plain(temperature)) {
                assert!(
                    (found - expected).abs() <= 1e-3 * expected,
                    "{temperature}: {found}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn neighbours_that_all_point_away_still_vote() {
        let votes = weighted_knn(&[-1.0, 0.1, -1.0, 0.9], &[1, 0], &[1.0, 0.0], 2, 2, 2, 0.001);
        assert_eq!(votes.predicted, [0]);
        assert!(votes.votes[0] > 0.0, "{votes:?}");
    }

    #[test]
    fn the_nearer_neighbours_win_and_length_does_not_count() {
        let bank = [10.0, 0.0, 0.0, 0.1, 0.2, 2.0];
        let votes = weighted_knn(&bank, &[0, 1, 1], &[1.0, 0.1, 0.0, 5.0], 2, 2, 2, 0.1);
        assert_eq!(votes.predicted, [0, 1]);
    }
}
