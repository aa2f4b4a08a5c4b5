//! Sinkhorn-Knopp (Cuturi 2013): soft assignments of rows to clusters that use every cluster alike.
//!
//! `Q = diag(u) exp(S / eps) diag(v)`, scaled until columns sum to `n / clusters` and rows to one. SwAV (2006.09882, eq. 3) runs a few
//! iterations, SeLA (1911.05371) runs to convergence. In the log domain and in f64, so that a small `eps` neither over- nor underflows.

/// Assignments, `[n][clusters]`, whose rows sum to one, from scores of the same shape. Each of the `iterations` scales columns
/// (clusters), then rows.
///
/// # Panics
/// With `BUG:` if `epsilon` is not above zero or the scores are not whole rows.
pub fn sinkhorn(scores: &[f32], clusters: usize, epsilon: f32, iterations: usize) -> Vec<f32> {
    balance(scores, clusters, epsilon, iterations, 0.0)
}

/// [`sinkhorn`] until no column's share is off by more than `tolerance` of what it should be, at most `iterations` times.
///
/// # Panics
/// As [`sinkhorn`].
pub fn sinkhorn_until(scores: &[f32], clusters: usize, epsilon: f32, tolerance: f32, iterations: usize) -> Vec<f32> {
    balance(scores, clusters, epsilon, iterations, f64::from(tolerance))
}

fn balance(scores: &[f32], clusters: usize, epsilon: f32, iterations: usize, tolerance: f64) -> Vec<f32> {
    assert!(
        epsilon > 0.0 && clusters > 0 && scores.len().is_multiple_of(clusters),
        "BUG: Sinkhorn-Knopp needs whole rows and a positive epsilon"
    );
    let share = ((scores.len() / clusters) as f64 / clusters as f64).ln();
    let mut log: Vec<f64> = scores.iter().map(|s| f64::from(*s) / f64::from(epsilon)).collect();
    for iteration in 0..iterations {
        let sums = column_sums(&log, clusters);
        // Rows sum to one after the first round, so columns can be judged by their sums alone.
        if iteration > 0 && sums.iter().all(|sum| (sum - share).exp_m1().abs() <= tolerance) {
            break;
        }
        for row in log.chunks_exact_mut(clusters) {
            row.iter_mut().zip(&sums).for_each(|(v, sum)| *v -= sum);
            let sum = log_sum(row.iter().copied());
            row.iter_mut().for_each(|v| *v -= sum);
        }
    }
    log.into_iter().map(|v| v.exp() as f32).collect()
}

/// The logarithm of each column's sum.
fn column_sums(log: &[f64], clusters: usize) -> Vec<f64> {
    let mut most = vec![f64::NEG_INFINITY; clusters];
    for row in log.chunks_exact(clusters) {
        most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(*v));
    }
    let mut sums = vec![0.0; clusters];
    for row in log.chunks_exact(clusters) {
        for ((sum, most), v) in sums.iter_mut().zip(&most).zip(row) {
            *sum += (v - most).exp();
        }
    }
    sums.iter().zip(most).map(|(sum, most)| sum.ln() + most).collect()
}

/// The logarithm of a sum of exponentials.
fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    values.map(|v| (v - most).exp()).sum::<f64>().ln() + most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn every_cluster_is_used_alike_and_rows_sum_to_one() {
        let mut stream = Stream::new(1, "sinkhorn");
        // All rows prefer cluster 0, which a plain softmax would give everything to.
        let scores: Vec<f32> = (0..60 * 5)
            .map(|i| stream.normal() * 0.1 + if i % 5 == 0 { 1.0 } else { 0.0 })
            .collect();
        let q = sinkhorn(&scores, 5, 0.05, 100);
        for row in q.chunks_exact(5) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        for cluster in 0..5 {
            let share: f32 = q.iter().skip(cluster).step_by(5).sum();
            assert!((share - 12.0).abs() < 0.05, "cluster {cluster} has {share} of 12 rows");
        }
    }

    #[test]
    fn it_stops_once_columns_are_even_enough() {
        let scores: Vec<f32> = (0..40).map(|i| f32::from(u8::from(i % 4 == 0))).collect();
        let q = sinkhorn_until(&scores, 4, 0.5, 1e-3, 1000);
        for cluster in 0..4 {
            let share: f32 = q.iter().skip(cluster).step_by(4).sum();
            assert!((share - 2.5).abs() < 0.01, "{share}");
        }
    }

    #[test]
    fn huge_scores_stay_numbers() {
        let q = sinkhorn(&[1e4, -1e4, 1e4, 0.0], 2, 0.01, 3);
        assert!(q.iter().all(|v| v.is_finite()), "{q:?}");
    }
}
