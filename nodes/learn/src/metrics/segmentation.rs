//! Agreement of masks.

/// Intersection over union of each class; `NaN` for a class that occurs in neither.
pub fn iou(predicted: &[usize], truth: &[usize], classes: usize) -> Vec<f64> {
    (0..classes)
        .map(|class| {
            let pairs = || predicted.iter().zip(truth);
            let both = pairs().filter(|(p, t)| **p == class && **t == class).count();
            let either = pairs().filter(|(p, t)| **p == class || **t == class).count();
            both as f64 / either as f64
        })
        .collect()
}

/// Mean of [`iou`] over the classes that occur.
pub fn mean_iou(predicted: &[usize], truth: &[usize], classes: usize) -> f64 {
    let all: Vec<f64> = iou(predicted, truth, classes)
        .into_iter()
        .filter(|v| !v.is_nan())
        .collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}
