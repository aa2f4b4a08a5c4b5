//! From the values of places to boxes.

use super::{OTHERS, logistic, reach};
use crate::tasks::{Detection, Frame};

/// The least score of a box.
const LEAST: f32 = 0.05;
/// Overlap from which on the less sure box of a class goes.
const OVERLAP: f64 = 0.6;
/// Boxes that are compared, and the most of an image.
const COMPARED: usize = 300;
const MOST: usize = 100;

/// The boxes of one image, the surest first.
pub(super) fn boxes(values: &[f32], frame: &Frame) -> Vec<Detection> {
    let (classes, width) = (frame.classes, frame.classes + OTHERS);
    let (size, mut rows) = ((frame.width as f32, frame.height as f32), values.chunks_exact(width));
    let mut found = Vec::new();
    for [h, w] in &frame.maps {
        let stride = frame.height as f32 / *h as f32;
        for (at, row) in rows.by_ref().take(h * w).enumerate() {
            let centre = logistic(row[width - 1]);
            let (x, y) = (((at % w) as f32 + 0.5) * stride, ((at / w) as f32 + 0.5) * stride);
            let reaches: [f32; 4] = std::array::from_fn(|i| reach(row[classes + i], stride));
            let bounds = [
                (x - reaches[0]).max(0.0),
                (y - reaches[1]).max(0.0),
                (x + reaches[2]).min(size.0),
                (y + reaches[3]).min(size.1),
            ];
            for (class, logit) in row[..classes].iter().enumerate() {
                let score = (logistic(*logit) * centre).sqrt();
                if score > LEAST && bounds[0] < bounds[2] && bounds[1] < bounds[3] {
                    let class = class as u16;
                    found.push(Detection { class, bounds, score });
                }
            }
        }
    }
    // Stable: equal scores are decided by place.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(COMPARED);
    let mut kept = suppress(&found, OVERLAP);
    kept.truncate(MOST);
    kept
}

/// Overlap of two boxes over their union.
pub(super) fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f64 {
    let [a, b] = [a, b].map(|bounds| bounds.map(f64::from));
    let (width, height) = (a[2].min(b[2]) - a[0].max(b[0]), a[3].min(b[3]) - a[1].max(b[1]));
    let both = width.max(0.0) * height.max(0.0);
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left) * (bottom - top);
    both / (area(a) + area(b) - both).max(f64::MIN_POSITIVE)
}

/// The boxes, given the surest first, without those that overlap a surer one of their class by more than `most` (non-maximum suppression).
pub fn suppress(boxes: &[Detection], most: f64) -> Vec<Detection> {
    let mut kept: Vec<Detection> = Vec::new();
    for one in boxes {
        let covered = |surer: &Detection| surer.class == one.class && overlap(&surer.bounds, &one.bounds) > most;
        if !kept.iter().any(covered) {
            kept.push(*one);
        }
    }
    kept
}
