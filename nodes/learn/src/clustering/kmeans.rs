//! k-means (Lloyd 1982) from k-means++ seeds (Arthur & Vassilvitskii 2007).

use crate::kernels::conv::{self, ConvShape};
use crate::rng::Stream;

/// Rows in groups around their means.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of each row.
    pub of: Vec<usize>,
    /// `[clusters][dim]`.
    pub centres: Vec<f32>,
    /// Squared distances of all rows to their centres, together.
    pub spread: f64,
}

impl Clusters {
    /// The cluster whose centre is nearest, for each of other rows `[n][dim]`.
    pub fn assign(&self, rows: &[f32], dim: usize) -> Vec<usize> {
        nearest(rows, &self.centres, dim).0
    }
}

/// The tightest of several [`kmeans`] from seeds of their own.
///
/// # Panics
/// As [`kmeans`].
pub fn best_kmeans(
    rows: &[f32],
    dim: usize,
    clusters: usize,
    iterations: usize,
    restarts: usize,
    stream: &Stream,
) -> Clusters {
    let found = |i: usize| kmeans(rows, dim, clusters, iterations, &mut stream.index(i as u64));
    let first = found(0);
    (1..restarts)
        .map(found)
        .fold(first, |best, next| if next.spread < best.spread { next } else { best })
}

/// Groups rows `[n][dim]` into `clusters` by squared distance, in at most `iterations` rounds. A cluster that loses all its rows takes the
/// row that lies farthest from its centre, so none is empty as long as there are as many different rows.
///
/// # Panics
/// With `BUG:` if there are fewer rows than clusters, or none are asked for.
pub fn kmeans(rows: &[f32], dim: usize, clusters: usize, iterations: usize, stream: &mut Stream) -> Clusters {
    let n = rows.len() / dim.max(1);
    assert!(
        clusters > 0 && n >= clusters,
        "BUG: k-means needs a row for each cluster"
    );
    let mut centres = seeds(rows, dim, clusters, stream);
    let (mut of, mut distance) = nearest(rows, &centres, dim);
    for _ in 0..iterations {
        fill_empty(&mut of, &mut distance, clusters);
        centres = means(rows, &of, dim, clusters);
        let (next, next_distance) = nearest(rows, &centres, dim);
        let settled = next == of;
        (of, distance) = (next, next_distance);
        if settled {
            break;
        }
    }
    fill_empty(&mut of, &mut distance, clusters);
    let spread = distance.iter().sum();
    Clusters { of, centres, spread }
}

/// Rows, each drawn with a probability that grows with the squared distance to those drawn before.
fn seeds(rows: &[f32], dim: usize, clusters: usize, stream: &mut Stream) -> Vec<f32> {
    let n = rows.len() / dim;
    let row = |i: usize| &rows[i * dim..(i + 1) * dim];
    let mut centres = row(stream.below(n)).to_vec();
    let mut distance = vec![f64::INFINITY; n];
    while centres.len() < clusters * dim {
        let newest = &centres[centres.len() - dim..];
        for (i, least) in distance.iter_mut().enumerate() {
            *least = least.min(squared_distance(row(i), newest));
        }
        let total: f64 = distance.iter().sum();
        let mut left = f64::from(stream.uniform()) * total;
        let drawn = distance.iter().position(|d| {
            left -= d;
            left < 0.0
        });
        // All rows are centres already, or rounding ran over the end: any row will do.
        let drawn = drawn.unwrap_or_else(|| stream.below(n));
        centres.extend_from_slice(row(drawn));
    }
    centres
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The nearest centre of each row, and the squared distance to it; the first of equally near ones.
fn nearest(rows: &[f32], centres: &[f32], dim: usize) -> (Vec<usize>, Vec<f64>) {
    let (n, clusters) = (rows.len() / dim, centres.len() / dim);
    let mut weight = vec![0.0f32; dim * clusters];
    for (c, centre) in centres.chunks_exact(dim).enumerate() {
        centre
            .iter()
            .enumerate()
            .for_each(|(d, v)| weight[d * clusters + c] = *v);
    }
    // |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2): the largest product less half the square is the nearest.
    let half: Vec<f32> = centres
        .chunks_exact(dim)
        .map(|c| c.iter().map(|v| v * v).sum::<f32>() / -2.0)
        .collect();
    let mut scores = vec![0.0f32; n * clusters];
    conv::forward(
        &ConvShape::matrix(n, dim, clusters),
        rows,
        &weight,
        Some(&half),
        &mut scores,
    );
    let of: Vec<usize> = crate::metrics::argmaxes(&scores, clusters).collect();
    let centre = |c: usize| &centres[c * dim..(c + 1) * dim];
    let distance = rows
        .chunks_exact(dim)
        .zip(&of)
        .map(|(row, c)| squared_distance(row, centre(*c)))
        .collect();
    (of, distance)
}

/// Gives each cluster without rows the one that lies farthest from its own centre, unless it lies on it.
fn fill_empty(of: &mut [usize], distance: &mut [f64], clusters: usize) {
    let mut sizes = vec![0usize; clusters];
    of.iter().for_each(|c| sizes[*c] += 1);
    for empty in 0..clusters {
        if sizes[empty] > 0 {
            continue;
        }
        let far = (0..of.len())
            .filter(|i| sizes[of[*i]] > 1 && distance[*i] > 0.0)
            .max_by(|a, b| distance[*a].total_cmp(&distance[*b]).then(b.cmp(a)));
        if let Some(i) = far {
            sizes[of[i]] -= 1;
            (of[i], distance[i], sizes[empty]) = (empty, 0.0, 1);
        }
    }
}

fn means(rows: &[f32], of: &[usize], dim: usize, clusters: usize) -> Vec<f32> {
    let (mut sums, mut sizes) = (vec![0.0f64; clusters * dim], vec![0usize; clusters]);
    for (row, c) in rows.chunks_exact(dim).zip(of) {
        sizes[*c] += 1;
        sums[c * dim..(c + 1) * dim]
            .iter_mut()
            .zip(row)
            .for_each(|(s, v)| *s += f64::from(*v));
    }
    let size = |i: usize| sizes[i / dim].max(1) as f64;
    sums.iter().enumerate().map(|(i, sum)| (sum / size(i)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_separated_groups_are_found() {
        let mut stream = Stream::new(1, "kmeans");
        let truth: Vec<usize> = (0..200).map(|i| i % 5).collect();
        let rows: Vec<f32> = truth
            .iter()
            .flat_map(|c| [(*c as f32 * 1.3).cos() * 10.0, (*c as f32 * 1.3).sin() * 10.0])
            .map(|v| v + stream.normal() * 0.3)
            .collect();
        let found = kmeans(&rows, 2, 5, 20, &mut stream);
        assert_eq!(crate::metrics::ari(&truth, &found.of), 1.0);
    }

    #[test]
    fn of_several_the_tightest_is_taken_and_other_rows_go_to_the_nearest_centre() {
        let mut stream = Stream::new(2, "kmeans");
        let rows: Vec<f32> = (0..240).map(|i| (i % 12) as f32 * 9.0 + stream.normal()).collect();
        let restarts = Stream::new(3, "restarts");
        let one = |i: u64| kmeans(&rows, 1, 12, 30, &mut restarts.index(i)).spread;
        let best = best_kmeans(&rows, 1, 12, 30, 6, &restarts);
        assert_eq!(best.spread, (0..6).map(one).fold(f64::INFINITY, f64::min));
        assert!(
            (1..6).any(|i| one(i) != one(0)),
            "all starts end alike: nothing to choose"
        );
        assert_eq!(best.assign(&rows, 1), best.of);
    }

    #[test]
    fn no_cluster_is_empty_while_there_are_different_rows() {
        // Nearly all rows are the same: seeds can only lie on a handful of places.
        let mut rows = vec![1.0f32; 100];
        for (i, v) in rows.iter_mut().take(6).enumerate() {
            *v = i as f32 * 5.0;
        }
        let found = kmeans(&rows, 1, 6, 10, &mut Stream::new(3, "kmeans"));
        let used: std::collections::BTreeSet<usize> = found.of.iter().copied().collect();
        assert_eq!(used.len(), 6, "{:?}", &found.of[..10]);
    }

    #[test]
    fn equal_rows_are_no_endless_loop() {
        let found = kmeans(&[2.0; 30], 3, 4, 5, &mut Stream::new(1, "kmeans"));
        assert!(found.of.iter().all(|c| *c < 4));
    }
}
