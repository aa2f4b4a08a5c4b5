//! Learnt positions of a vision transformer for images of another size.

use std::ops::Range;

/// Positions of a grid of patches, `[rows][columns][dim]`, at another grid: bicubic, with a kernel that widens where the grid becomes smaller, as timm's
/// `resample_abs_pos_embed` does it (that is PyTorch's `interpolate` with `antialias=True`, whose kernel is Pillow's, `a = -1/2`).
///
/// # Panics
/// With `BUG:` if the values are not those of the grid.
pub fn resampled_positions(
    values: &[f32],
    dim: usize,
    (rows, columns): (usize, usize),
    (to_rows, to_columns): (usize, usize),
) -> Vec<f32> {
    assert_eq!(values.len(), rows * columns * dim, "BUG: not the values of this grid");
    let (down, across) = (taps(rows, to_rows), taps(columns, to_columns));
    let mut resampled = Vec::with_capacity(to_rows * to_columns * dim);
    for (y, from_rows) in &down {
        for (x, from_columns) in &across {
            for channel in 0..dim {
                let mut sum = 0.0;
                for (row, by_row) in from_rows.clone().zip(y) {
                    for (column, by_column) in from_columns.clone().zip(x) {
                        sum += by_row * by_column * f64::from(values[(row * columns + column) * dim + channel]);
                    }
                }
                resampled.push(sum as f32);
            }
        }
    }
    resampled
}

/// For each of `to` places, which of `from` places it is made of and with which weights, which sum to one.
fn taps(from: usize, to: usize) -> Vec<(Vec<f64>, Range<usize>)> {
    let scale = from as f64 / to as f64;
    let widened = scale.max(1.0);
    let tap = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let first = (centre - 2.0 * widened + 0.5).max(0.0) as usize;
        let end = ((centre + 2.0 * widened + 0.5) as usize).min(from);
        let weights: Vec<f64> = (first..end)
            .map(|i| cubic((i as f64 - centre + 0.5) / widened))
            .collect();
        let sum: f64 = weights.iter().sum();
        (weights.iter().map(|weight| weight / sum).collect(), first..end)
    };
    (0..to).map(tap).collect()
}

/// Keys' kernel (1981) with `a = -1/2`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_has_the_same_positions() {
        let values: Vec<f32> = (0..3 * 4 * 2).map(|i| (i * i % 11) as f32).collect();
        let same = resampled_positions(&values, 2, (3, 4), (3, 4));
        assert!(values.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-6), "{same:?}");
    }

    #[test]
    fn what_is_equal_everywhere_stays_so_at_any_size() {
        for to in [(1, 1), (2, 7), (9, 3)] {
            let values = resampled_positions(&[1.5; 20], 1, (5, 4), to);
            assert!(values.len() == to.0 * to.1 && values.iter().all(|v| (v - 1.5).abs() < 1e-6));
        }
    }
}
