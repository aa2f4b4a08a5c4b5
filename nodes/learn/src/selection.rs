//! Which images to label next.

use rayon::prelude::*;

/// How much more probable the first class is than the second, in [0, 1]: the smaller, the less certain (Scheffer et al. 2001).
pub fn margin(probabilities: &[f32]) -> f32 {
    let (mut first, mut second) = (0.0f32, 0.0f32);
    for p in probabilities {
        if *p > first {
            (first, second) = (*p, first);
        } else {
            second = second.max(*p);
        }
    }
    first - second
}

/// `count` rows of `features` (`[n][dim]`), each as far as can be from those of `known` (`[m][dim]`) and those chosen before it, with that
/// distance: greedy k-centre (Sener & Savarese 2018, 1708.00489). Without known ones the first is that which is farthest from the mean.
pub fn k_centre(features: &[f32], known: &[f32], dim: usize, count: usize) -> Vec<(usize, f32)> {
    let rows = features.len() / dim.max(1);
    if rows == 0 {
        return Vec::new();
    }
    let mean = mean(features, dim);
    let start = if known.is_empty() { &mean[..] } else { known };
    let mut nearest: Vec<f32> = features
        .par_chunks_exact(dim)
        .map(|row| {
            start
                .chunks_exact(dim)
                .map(|k| squared(row, k))
                .fold(f32::INFINITY, f32::min)
        })
        .collect();
    let mut chosen = Vec::with_capacity(count.min(rows));
    let mut open = vec![true; rows];
    while chosen.len() < count.min(rows) {
        // The first of the farthest ones; a distance that is no number counts as none.
        let mut farthest: Option<usize> = None;
        for at in (0..rows).filter(|at| open[*at]) {
            if farthest.is_none_or(|best| nearest[at] > nearest[best]) {
                farthest = Some(at);
            }
        }
        let Some(at) = farthest else { break };
        open[at] = false;
        chosen.push((at, nearest[at].sqrt()));
        let centre = &features[at * dim..(at + 1) * dim];
        nearest
            .par_iter_mut()
            .zip(features.par_chunks_exact(dim))
            .for_each(|(nearest, row)| *nearest = nearest.min(squared(row, centre)));
    }
    chosen
}

fn mean(features: &[f32], dim: usize) -> Vec<f32> {
    let rows = (features.len() / dim).max(1) as f64;
    let sum = |c: usize| -> f64 { features.iter().skip(c).step_by(dim).map(|v| f64::from(*v)).sum() };
    (0..dim).map(|c| (sum(c) / rows) as f32).collect()
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_between_the_two_most_probable() {
        assert_eq!(margin(&[0.25, 0.5, 0.25]), 0.25);
        assert_eq!(margin(&[0.5, 0.5]), 0.0);
        assert_eq!(margin(&[1.0]), 1.0);
    }

    #[test]
    fn centres_are_far_from_what_is_known_and_from_each_other() {
        let line = [0.0, 1.0, 2.0, 10.0, 11.0, 20.0];
        let places = |known: &[f32], n| {
            k_centre(&line, known, 1, n)
                .into_iter()
                .map(|c| c.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(places(&[0.0], 3), [5, 3, 2]);
        assert_eq!(places(&[], 2), [5, 0]);
        assert_eq!(places(&[], 100).len(), 6, "each once");
        assert_eq!(k_centre(&line, &[0.0], 1, 1), [(5, 20.0)]);
        assert!(k_centre(&[], &[], 3, 4).is_empty());
    }
}
