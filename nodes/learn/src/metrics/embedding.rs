//! Whether features have collapsed: their deviation and their effective rank.

use super::spectrum::symmetric_eigenvalues;

/// Mean over the dimensions of the standard deviation of the L2-normalised rows of `[n][dim]`: about `1 / sqrt(dim)` in health, 0 when
/// all rows are the same (Chen & He 2021, 2011.10566, section 4.1).
pub fn embedding_deviation(rows: &[f32], dim: usize) -> f32 {
    let n = (rows.len() / dim).max(1) as f64;
    let (mut sum, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for row in rows.chunks_exact(dim) {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        for ((s, q), v) in sum.iter_mut().zip(&mut squares).zip(row) {
            let v = f64::from(*v) / norm;
            *s += v;
            *q += v * v;
        }
    }
    let deviations = sum
        .iter()
        .zip(&squares)
        .map(|(s, q)| (q / n - (s / n).powi(2)).max(0.0).sqrt());
    (deviations.sum::<f64>() / dim as f64) as f32
}

/// RankMe (Garrido et al. 2023, 2210.02885, eq. 1): the exponential of the entropy of the normalised singular values of `[n][dim]`, an
/// effective rank between 1 and `min(n, dim)`.
pub fn rank_me(rows: &[f32], dim: usize) -> f64 {
    let n = rows.len() / dim.max(1);
    if n == 0 || dim == 0 {
        return 0.0;
    }
    // The singular values are the roots of the eigenvalues of the smaller of the two Gram matrices.
    let gram = if n <= dim {
        row_products(rows, dim)
    } else {
        column_products(rows, dim)
    };
    let singular: Vec<f64> = symmetric_eigenvalues(gram, n.min(dim))
        .into_iter()
        .map(|v| v.max(0.0).sqrt())
        .collect();
    let sum = singular.iter().sum::<f64>() + 1e-12;
    let entropy: f64 = singular.iter().map(|s| s / sum + 1e-7).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

/// `X X'`, `[n][n]`.
fn row_products(rows: &[f32], dim: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let all: Vec<&[f32]> = rows.chunks_exact(dim).collect();
    all.iter().flat_map(|a| all.iter().map(|b| dot(a, b))).collect()
}

/// `X' X`, `[dim][dim]`.
fn column_products(rows: &[f32], dim: usize) -> Vec<f64> {
    let mut products = vec![0.0f64; dim * dim];
    for row in rows.chunks_exact(dim) {
        for (line, a) in products.chunks_exact_mut(dim).zip(row) {
            line.iter_mut()
                .zip(row)
                .for_each(|(p, b)| *p += f64::from(*a) * f64::from(*b));
        }
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn normals(n: usize, dim: usize) -> Vec<f32> {
        let mut stream = Stream::new(1, "test");
        (0..n * dim).map(|_| stream.normal()).collect()
    }

    #[test]
    fn embedding_deviation_tells_collapse_from_health() {
        assert!((embedding_deviation(&normals(500, 16), 16) - 0.25).abs() < 0.01);
        let collapsed: Vec<f32> = (0..500 * 16).map(|i| (i % 16) as f32).collect();
        assert!(embedding_deviation(&collapsed, 16) < 1e-5);
    }

    #[test]
    fn rank_me_is_the_rank_of_equally_strong_directions() {
        // Three orthogonal directions of equal strength in eight dimensions, whichever way the matrix stands.
        for n in [6, 12] {
            let rows: Vec<f32> = (0..n)
                .flat_map(|i| (0..8).map(move |d| f32::from(u8::from(d == i % 3))))
                .collect();
            assert!((rank_me(&rows, 8) - 3.0).abs() < 1e-3, "{}", rank_me(&rows, 8));
        }
        assert!(rank_me(&normals(400, 16), 16) > 15.5);
    }
}
