//! How good probabilities are.

use super::argmax;

/// Mean negative log-probability of the true class; probabilities are clipped at the smallest step of a float.
pub fn log_loss(truth: &[usize], probabilities: &[f32], classes: usize) -> f64 {
    let eps = f64::from(f32::EPSILON);
    let rows = probabilities.chunks_exact(classes);
    let sum: f64 = rows
        .zip(truth)
        .map(|(row, t)| -f64::from(row[*t]).clamp(eps, 1.0 - eps).ln())
        .sum();
    sum / truth.len().max(1) as f64
}

/// Share of rows whose true class is among the `k` likeliest; equal probabilities count for the later class, as scikit-learn.
pub fn top_k_accuracy(truth: &[usize], probabilities: &[f32], classes: usize, k: usize) -> f64 {
    let rows = probabilities.chunks_exact(classes).zip(truth);
    let hits = rows.filter(|(row, t)| {
        let before = (0..classes)
            .filter(|c| row[*c] > row[**t] || (row[*c] == row[**t] && c > *t))
            .count();
        before < k
    });
    hits.count() as f64 / truth.len().max(1) as f64
}

/// Expected calibration error (Guo et al. 2017, 1706.04599): mean over equal bins of the confidence, weighted by their size, of the
/// difference between accuracy and mean confidence. Bins are open below and closed above.
pub fn ece(truth: &[usize], probabilities: &[f32], classes: usize, bins: usize) -> f64 {
    let mut sums = vec![(0.0f64, 0.0f64); bins];
    for (row, t) in probabilities.chunks_exact(classes).zip(truth) {
        let class = argmax(row);
        let confidence = f64::from(row[class]);
        let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        sums[bin].0 += confidence;
        sums[bin].1 += f64::from(u8::from(class == *t));
    }
    sums.iter()
        .map(|(confidence, right)| (confidence - right).abs())
        .sum::<f64>()
        / truth.len().max(1) as f64
}
