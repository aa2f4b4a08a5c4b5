//! What several methods do with rows of probabilities.

/// Keeps a share that was never guessed from a division by zero.
const LITTLE: f32 = 1e-6;

/// `to = momentum to + (1 - momentum) now`.
pub(super) fn follow(to: &mut [f32], now: &[f32], momentum: f32) {
    for (to, now) in to.iter_mut().zip(now) {
        *to = momentum * *to + (1.0 - momentum) * now;
    }
}

/// The mean of the rows.
pub(super) fn mean_row(rows: &[f32], columns: usize) -> Vec<f32> {
    let n = (rows.len() / columns).max(1) as f32;
    let mut mean = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
    }
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// The largest value of each row.
pub(super) fn largest(rows: &[f32], columns: usize) -> Vec<f32> {
    let largest = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    rows.chunks_exact(columns).map(largest).collect()
}

/// Rows of probabilities, `[n][classes]`, scaled so that classes whose mean guess is `shares` become even; they sum to one again.
pub(super) fn even_out(rows: &mut [f32], shares: &[f32]) {
    let even = 1.0 / shares.len() as f32;
    for row in rows.chunks_exact_mut(shares.len()) {
        for (p, share) in row.iter_mut().zip(shares) {
            *p *= (even + LITTLE) / (share + LITTLE);
        }
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
}
