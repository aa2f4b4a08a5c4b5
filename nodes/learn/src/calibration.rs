//! Probabilities that are as often right as they say: one temperature for all logits (Guo et al. 2017, 1706.04599).

/// The range of temperatures that are looked at.
const RANGE: [f64; 2] = [0.02, 50.0];

/// Halvings of the range: the inverse temperature is exact to about 1e-12.
const HALVINGS: usize = 60;

/// The temperature that logits `[n][classes]` are divided by so that the cross entropy with the true classes is least; 1 without images.
///
/// As in Platt's scaling (1999), a target is not 1 but `(n + 1) / (n + 2)`, what is left shared by the other classes: a few
/// images that are all classified right do not make a network certain.
pub fn temperature(logits: &[f32], truth: &[usize], classes: usize) -> f32 {
    if truth.is_empty() || classes < 2 {
        return 1.0;
    }
    let n = truth.len() as f64;
    let (own, other) = ((n + 1.0) / (n + 2.0), 1.0 / (n + 2.0) / (classes - 1) as f64);
    // The loss is convex in the inverse temperature: its slope has one zero.
    let slope = |inverse: f64| -> f64 {
        let rows = logits.chunks_exact(classes).zip(truth);
        let of_row = |(row, class): (&[f32], &usize)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights = row.iter().map(|z| (f64::from(z - most) * inverse).exp());
            let (sum, mean) = weights
                .zip(row)
                .fold((0.0, 0.0), |(sum, mean), (w, z)| (sum + w, mean + w * f64::from(*z)));
            let target: f64 = row.iter().map(|z| other * f64::from(*z)).sum();
            mean / sum - target - (own - other) * f64::from(row[*class])
        };
        rows.map(of_row).sum()
    };
    let [mut low, mut high] = [1.0 / RANGE[1], 1.0 / RANGE[0]];
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        // What is not a number is no slope either way: the network is broken, and its logits stay as they are.
        match slope(middle) {
            slope if slope.is_nan() => return 1.0,
            slope if slope > 0.0 => high = middle,
            _ => low = middle,
        }
    }
    (1.0 / (low * high).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::probabilities;
    use crate::metrics::ece;
    use crate::rng::Stream;

    /// Logits that say what they mean, times `factor`, and classes drawn by them.
    fn drawn(n: usize, factor: f32) -> (Vec<f32>, Vec<usize>) {
        let mut stream = Stream::new(1, "calibration");
        let logits: Vec<f32> = (0..n * 3).map(|_| 1.5 * stream.normal()).collect();
        let rows = probabilities(&logits, 3, 1.0);
        let draw = |row: &[f32]| {
            let at = stream.uniform();
            row.iter()
                .scan(0.0, |sum, p| {
                    *sum += p;
                    Some(*sum)
                })
                .take_while(|sum| *sum <= at)
                .count()
                .min(2)
        };
        let truth = rows.chunks_exact(3).map(draw).collect();
        (logits.iter().map(|z| z * factor).collect(), truth)
    }

    #[test]
    fn a_factor_on_the_logits_is_found_and_confidences_come_true() {
        for factor in [0.5, 1.0, 4.0] {
            let (logits, truth) = drawn(4_000, factor);
            let found = temperature(&logits, &truth, 3);
            assert!((found / factor - 1.0).abs() < 0.1, "{found} for {factor}");
            let before = ece(&truth, &probabilities(&logits, 3, 1.0), 3, 15);
            let after = ece(&truth, &probabilities(&logits, 3, found), 3, 15);
            assert!(after < 0.03 && after <= before + 0.01, "{before} {after}");
        }
    }

    #[test]
    fn a_few_images_that_are_all_right_make_nobody_certain() {
        let logits = [3.0, 0.0, 0.0, 2.0, 4.0, 1.0];
        let found = temperature(&logits, &[0, 1, 0], 2);
        let confidence = probabilities(&logits, 2, found)[0];
        assert!(confidence < 0.95, "{confidence} at {found}");
        assert_eq!(temperature(&[], &[], 2), 1.0);
        assert_eq!(temperature(&[f32::NAN, 0.0], &[0], 2), 1.0);
    }
}
