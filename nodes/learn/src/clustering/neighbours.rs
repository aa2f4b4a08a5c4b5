//! The nearest other rows of each row, by cosine.

use rayon::prelude::*;

use crate::losses::cosines;
use crate::metrics::normalised;

/// Rows compared at a time: bounds the similarities in memory.
const BLOCK: usize = 256;

/// The `k` nearest other rows of each row of `[n][dim]`, `[n][k]`, nearest first; equally near ones by place.
///
/// # Panics
/// With `BUG:` if there are not more than `k` rows.
pub fn nearest_neighbours(rows: &[f32], dim: usize, k: usize) -> Vec<u32> {
    let n = rows.len() / dim.max(1);
    assert!(n > k && k > 0, "BUG: {k} neighbours among {n} rows");
    let unit = normalised(rows, dim);
    let mut found = Vec::with_capacity(n * k);
    for (block, part) in unit.chunks(BLOCK * dim).enumerate() {
        let similarity = cosines(part, &unit, dim);
        let of_rows: Vec<Vec<u32>> = similarity
            .par_chunks(n)
            .enumerate()
            .map(|(i, row)| {
                let own = (block * BLOCK + i) as u32;
                let nearer = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
                let mut others: Vec<u32> = (0..n as u32).filter(|j| *j != own).collect();
                others.select_nth_unstable_by(k - 1, nearer);
                others.truncate(k);
                others.sort_unstable_by(nearer);
                others
            })
            .collect();
        found.extend(of_rows.into_iter().flatten());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_the_nearest_by_direction_and_never_the_row_itself() {
        let rows: Vec<f32> = (0..300)
            .flat_map(|i| {
                let angle = i as f32 * 0.01;
                [angle.cos() * (1.0 + i as f32), angle.sin() * (1.0 + i as f32)]
            })
            .collect();
        let found = nearest_neighbours(&rows, 2, 2);
        for i in 1..299u32 {
            let mut of = found[2 * i as usize..][..2].to_vec();
            of.sort_unstable();
            assert_eq!(of, [i - 1, i + 1]);
        }
        assert_eq!(&found[..2], [1, 2]);
    }
}
