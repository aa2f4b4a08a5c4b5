//! What results are judged by. Discrete metrics are exact; definitions are scikit-learn's unless said otherwise.

mod calibration;
mod classification;
mod clustering;
mod detection;
mod embedding;
mod knn;
mod segmentation;
mod spectrum;

pub use calibration::{ece, log_loss, top_k_accuracy};
pub use classification::{accuracy, balanced_accuracy, confusion, macro_f1};
pub use clustering::{ari, hungarian_accuracy, hungarian_classes, nmi};
pub use detection::{BoxJudgement, BoxScores};
pub use embedding::{embedding_deviation, rank_me};
pub use knn::normalised;
pub use knn::{Votes, weighted_knn};
pub use segmentation::{MaskScores, boundary_f, iou, judge_masks, mean_iou};
pub(crate) use spectrum::symmetric_eigenvectors;

/// The place of the largest value of each row of `width` values; the first of equal ones.
pub fn argmaxes(rows: &[f32], width: usize) -> impl Iterator<Item = usize> {
    rows.chunks_exact(width).map(argmax)
}

/// The place of the largest value; the first of equal ones.
pub fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
