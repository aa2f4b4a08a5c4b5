//! Weighted nearest neighbours on features (Wu et al. 2018, 1805.01978): cosine similarity, weight `exp(s / T)`.

use rayon::prelude::*;

use super::argmax;
use crate::kernels::conv::{self, ConvShape};

/// What the neighbours say.
#[derive(Clone, Debug, PartialEq)]
pub struct Votes {
    /// Summed weights, `[queries][classes]`.
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
                let mut sums = vec![0.0f32; classes];
                for i in order {
                    sums[bank_labels[i as usize]] += (row[i as usize] / temperature).exp();
                }
                sums
            })
            .collect();
        votes.extend(of_rows.into_iter().flatten());
    }
    let predicted = votes.chunks_exact(classes).map(argmax).collect();
    Votes { votes, predicted }
}

#[cfg(test)]
mod tests {
    use super::weighted_knn;

    #[test]
    fn the_nearer_neighbours_win_and_length_does_not_count() {
        let bank = [10.0, 0.0, 0.0, 0.1, 0.2, 2.0];
        let votes = weighted_knn(&bank, &[0, 1, 1], &[1.0, 0.1, 0.0, 5.0], 2, 2, 2, 0.1);
        assert_eq!(votes.predicted, [0, 1]);
    }
}
