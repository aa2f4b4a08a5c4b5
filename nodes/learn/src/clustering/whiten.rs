//! PCA-whitening: the strongest directions of centred rows, each scaled to variance one, as DeepCluster clusters (1807.05520, section 4.2).

use crate::kernels::conv::{self, ConvShape};
use crate::metrics::symmetric_eigenvectors;
use crate::rng::Stream;

/// Rounds of subspace iteration; the weakest kept directions need not be exact.
const ROUNDS: usize = 10;

/// Rows `[n][dim]` along their `keep` (at most `dim`) strongest directions, `[n][keep]`, each of mean 0 and variance 1.
pub fn pca_whiten(rows: &[f32], dim: usize, keep: usize, stream: &mut Stream) -> Vec<f32> {
    let (n, keep) = (rows.len() / dim, keep.min(dim));
    let centred = centre(rows, dim);
    let mut covariance = vec![0.0f32; dim * dim];
    let shape = ConvShape::matrix(n, dim, dim);
    conv::backward_weight(&shape, &centred, &centred, &mut covariance, None);
    covariance.iter_mut().for_each(|v| *v /= n.max(1) as f32);

    let product = |columns: &[f32]| {
        let mut out = vec![0.0f32; dim * keep];
        conv::forward(&ConvShape::matrix(dim, dim, keep), &covariance, columns, None, &mut out);
        out
    };
    let mut basis: Vec<f32> = (0..dim * keep).map(|_| stream.normal()).collect();
    orthonormalise(&mut basis, keep);
    for _ in 0..ROUNDS {
        basis = product(&basis);
        orthonormalise(&mut basis, keep);
    }
    // Within the subspace the directions are those of the small matrix B' C B.
    let (along, mut small) = (product(&basis), vec![0.0f64; keep * keep]);
    for (b, c) in basis.chunks_exact(keep).zip(along.chunks_exact(keep)) {
        for (line, b) in small.chunks_exact_mut(keep).zip(b) {
            line.iter_mut()
                .zip(c)
                .for_each(|(s, c)| *s += f64::from(*b) * f64::from(*c));
        }
    }
    let (variances, directions) = symmetric_eigenvectors(small, keep);
    let least = variances.first().copied().unwrap_or(0.0).max(0.0) * 1e-5 + 1e-12;
    let mut projection = vec![0.0f32; dim * keep];
    for (to, b) in projection.chunks_exact_mut(keep).zip(basis.chunks_exact(keep)) {
        for (k, to) in to.iter_mut().enumerate() {
            let direction = &directions[k * keep..(k + 1) * keep];
            let along: f64 = direction.iter().zip(b).map(|(d, b)| d * f64::from(*b)).sum();
            *to = (along / variances[k].max(least).sqrt()) as f32;
        }
    }
    let mut whitened = vec![0.0f32; n * keep];
    conv::forward(
        &ConvShape::matrix(n, dim, keep),
        &centred,
        &projection,
        None,
        &mut whitened,
    );
    whitened
}

fn centre(rows: &[f32], dim: usize) -> Vec<f32> {
    let n = (rows.len() / dim).max(1) as f64;
    let mut mean = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n);
    }
    let values = rows.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean));
    values.map(|(v, m)| (f64::from(*v) - m) as f32).collect()
}

/// Makes the columns of `[dim][keep]` orthogonal and of length one (modified Gram-Schmidt); a column that vanishes becomes zero.
fn orthonormalise(columns: &mut [f32], keep: usize) {
    let dim = columns.len() / keep;
    let mut rows: Vec<Vec<f64>> = (0..keep)
        .map(|k| (0..dim).map(|d| f64::from(columns[d * keep + k])).collect())
        .collect();
    for k in 0..keep {
        let (done, rest) = rows.split_at_mut(k);
        let row = &mut rest[0];
        for other in done {
            let dot: f64 = row.iter().zip(&*other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * *b);
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = if norm > 1e-30 { 1.0 / norm } else { 0.0 };
        row.iter_mut().for_each(|v| *v *= scale);
    }
    for (k, row) in rows.iter().enumerate() {
        row.iter()
            .enumerate()
            .for_each(|(d, v)| columns[d * keep + k] = *v as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_rows_are_uncorrelated_with_variance_one_and_keep_the_strong_directions() {
        let mut stream = Stream::new(1, "whiten");
        // Two strong directions, mixed over six dimensions, and a little noise.
        let rows: Vec<f32> = (0..400)
            .flat_map(|_| {
                let (a, b) = (stream.normal() * 9.0, stream.normal() * 3.0);
                let mixed = [a + b, a - b, a, 5.0 + b, -a, 2.0 * b];
                mixed.map(|v| v + stream.normal() * 0.01)
            })
            .collect();
        let white = pca_whiten(&rows, 6, 2, &mut stream);
        assert_eq!(white.len(), 800);
        let moment = |f: &dyn Fn(&[f32]) -> f32| white.chunks_exact(2).map(f).sum::<f32>() / 400.0;
        assert!(moment(&|r| r[0]).abs() < 1e-3 && moment(&|r| r[1]).abs() < 1e-3);
        assert!((moment(&|r| r[0] * r[0]) - 1.0).abs() < 1e-2);
        assert!((moment(&|r| r[1] * r[1]) - 1.0).abs() < 1e-2);
        assert!(moment(&|r| r[0] * r[1]).abs() < 1e-2);
    }

    #[test]
    fn equal_rows_stay_numbers() {
        let white = pca_whiten(&[3.0; 40], 4, 4, &mut Stream::new(1, "whiten"));
        assert!(white.iter().all(|v| v.is_finite()), "{white:?}");
    }
}
