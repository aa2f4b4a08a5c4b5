//! Eigenvalues and eigenvectors of symmetric matrices: Householder's tridiagonal form, then implicit QL (Golub & Van Loan, 8.3).

/// The eigenvalues of a symmetric matrix, `[n][n]`, ascending.
pub(crate) fn symmetric_eigenvalues(matrix: Vec<f64>, n: usize) -> Vec<f64> {
    let mut values = decompose(matrix, n, false).0;
    values.sort_by(f64::total_cmp);
    values
}

/// Eigenvalues, descending, and eigenvectors, `[n][n]`, one to a row, of a symmetric matrix.
pub(crate) fn symmetric_eigenvectors(matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let (values, rows) = decompose(matrix, n, true);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    let sorted = order.iter().map(|i| values[*i]).collect();
    (
        sorted,
        order.iter().flat_map(|i| &rows[i * n..(i + 1) * n]).copied().collect(),
    )
}

/// Eigenvalues, and the eigenvectors as rows if asked.
fn decompose(mut a: Vec<f64>, n: usize, vectors: bool) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(a.len(), n * n, "BUG: the matrix is not square");
    let mut rows = vec![0.0; if vectors { n * n } else { 0 }];
    rows.iter_mut().step_by(n + 1).for_each(|v| *v = 1.0);
    // H_k = I - 2 v v' wipes out column k below the subdiagonal; A becomes H A H.
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().copysign(v[0]);
        if norm == 0.0 {
            continue;
        }
        v[0] += norm;
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= length);
        let dot = |row: &[f64]| row.iter().zip(&v).map(|(a, v)| a * v).sum::<f64>();
        // With p = A v and w = 2 p - 2 (v' p) v: A - v w' - w v'.
        let p: Vec<f64> = (k + 1..n).map(|i| dot(&a[i * n + k + 1..(i + 1) * n])).collect();
        let along = dot(&p);
        let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| 2.0 * (p - along * v)).collect();
        for (i, (vi, wi)) in v.iter().zip(&w).enumerate() {
            let row = &mut a[(k + 1 + i) * n + k + 1..(k + 2 + i) * n];
            for (x, (vj, wj)) in row.iter_mut().zip(v.iter().zip(&w)) {
                *x -= vi * wj + wi * vj;
            }
        }
        a[(k + 1) * n + k] = -norm;
        if vectors {
            // Rows of Q' take the same reflection.
            let mut along = vec![0.0; n];
            for (vi, row) in v.iter().zip(rows.chunks_exact(n).skip(k + 1)) {
                along.iter_mut().zip(row).for_each(|(s, r)| *s += 2.0 * vi * r);
            }
            for (vi, row) in v.iter().zip(rows.chunks_exact_mut(n).skip(k + 1)) {
                row.iter_mut().zip(&along).for_each(|(r, s)| *r -= vi * s);
            }
        }
    }
    let mut diagonal: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    let mut below: Vec<f64> = (0..n)
        .map(|i| if i + 1 < n { a[(i + 1) * n + i] } else { 0.0 })
        .collect();
    implicit_ql(&mut diagonal, &mut below, &mut rows);
    (diagonal, rows)
}

/// Diagonalises a tridiagonal matrix; `rows` take the same rotations.
fn implicit_ql(d: &mut [f64], e: &mut [f64], rows: &mut [f64]) {
    let n = d.len();
    for l in 0..n {
        // Convergence is cubic; a matrix of numbers never needs as many.
        for _ in 0..100 {
            let small = |m: usize| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|m| small(*m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                if !rows.is_empty() {
                    let (upper, lower) = rows[i * n..(i + 2) * n].split_at_mut(n);
                    for (x, y) in upper.iter_mut().zip(lower) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
            }
            if !split {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn vectors_and_values_make_the_matrix_again(n in 1usize..12, values in proptest::collection::vec(-3i32..4, 144)) {
            let at = |i: usize, j: usize| f64::from(values[i.min(j) * 12 + i.max(j)]);
            let matrix: Vec<f64> = (0..n * n).map(|p| at(p / n, p % n)).collect();
            let (eigen, rows) = symmetric_eigenvectors(matrix.clone(), n);
            for i in 0..n {
                for j in 0..n {
                    let again: f64 = (0..n).map(|k| eigen[k] * rows[k * n + i] * rows[k * n + j]).sum();
                    prop_assert!((again - matrix[i * n + j]).abs() < 1e-9, "({i}, {j}): {again} for {}", matrix[i * n + j]);
                    let dot: f64 = (0..n).map(|d| rows[i * n + d] * rows[j * n + d]).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-9);
                }
            }
            prop_assert!(eigen.is_sorted_by(|a, b| a >= b));
            let mut ascending = symmetric_eigenvalues(matrix, n);
            ascending.reverse();
            prop_assert!(ascending.iter().zip(&eigen).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }
}
