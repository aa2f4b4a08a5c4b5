//! MixUp and CutMix: images of a batch are mixed with others of it, and so are their targets. One share for the batch, as published.

use crate::image::Size;
use crate::rng::Stream;

/// `x' = l x + (1 - l) x_other`, targets alike, with `l ~ Beta(alpha, alpha)` (Zhang et al. 2018, 1710.09412).
pub(super) fn mixup(views: &mut [f32], targets: &mut [f32], size: Size, alpha: f32, stream: &mut Stream) {
    let n = views.len() / size.len();
    let (share, order) = (stream.beta(alpha, alpha), stream.permutation(n));
    blend(views, &order, share);
    blend(targets, &order, share);
}

/// A rectangle of a share `1 - l` of the area comes from another image, with `l ~ Beta(alpha, alpha)`; targets are mixed by the area that
/// lies in the image (Yun et al. 2019, 1905.04899).
pub(super) fn cutmix(views: &mut [f32], targets: &mut [f32], size: Size, alpha: f32, stream: &mut Stream) {
    let Size { h, w, c } = size;
    let (share, order) = (stream.beta(alpha, alpha), stream.permutation(views.len() / size.len()));
    let side = (1.0 - share).sqrt();
    let mut span = |length: usize| {
        let (centre, half) = (stream.below(length), (side * length as f32) as usize / 2);
        (centre.saturating_sub(half), (centre + half).min(length))
    };
    let ((top, bottom), (left, right)) = (span(h), span(w));
    let before = views.to_vec();
    for (view, other) in views.chunks_exact_mut(size.len()).zip(&order) {
        let other = &before[*other as usize * size.len()..][..size.len()];
        for y in top..bottom {
            let line = (y * w + left) * c..(y * w + right) * c;
            view[line.clone()].copy_from_slice(&other[line]);
        }
    }
    let moved = ((bottom - top) * (right - left)) as f32 / (h * w) as f32;
    blend(targets, &order, 1.0 - moved);
}

/// Each row becomes `share` of itself and the rest of the row that `order` gives.
fn blend(rows: &mut [f32], order: &[u32], share: f32) {
    let width = rows.len() / order.len().max(1);
    let before = rows.to_vec();
    for (row, other) in rows.chunks_exact_mut(width.max(1)).zip(order) {
        let other = &before[*other as usize * width..][..width];
        row.iter_mut()
            .zip(other)
            .for_each(|(v, o)| *v = share * *v + (1.0 - share) * o);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one value each, with the target that says which.
    fn mixed(mix: fn(&mut [f32], &mut [f32], Size, f32, &mut Stream)) -> (Vec<f32>, Vec<f32>) {
        let size = Size { h: 6, w: 5, c: 1 };
        let mut views: Vec<f32> = (0..4 * 30).map(|i| (i / 30) as f32).collect();
        let mut targets: Vec<f32> = (0..16).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect();
        mix(&mut views, &mut targets, size, 1.0, &mut Stream::new(3, "mix"));
        (views, targets)
    }

    #[test]
    fn targets_say_how_much_of_each_image_there_is() {
        for mix in [mixup, cutmix] {
            let (views, targets) = mixed(mix);
            for (view, target) in views.chunks_exact(30).zip(targets.chunks_exact(4)) {
                let expected: f32 = target
                    .iter()
                    .enumerate()
                    .map(|(class, share)| class as f32 * share)
                    .sum();
                let mean = view.iter().sum::<f32>() / 30.0;
                assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
                assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }
}
