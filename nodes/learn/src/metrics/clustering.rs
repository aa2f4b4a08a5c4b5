//! How well clusters agree with classes.

use std::collections::BTreeMap;

/// How often each pair of groups, and each group, occurs.
struct Table {
    pairs: BTreeMap<(usize, usize), f64>,
    a: BTreeMap<usize, f64>,
    b: BTreeMap<usize, f64>,
    n: f64,
}

impl Table {
    fn new(a: &[usize], b: &[usize]) -> Self {
        let mut table = Self {
            pairs: BTreeMap::new(),
            a: BTreeMap::new(),
            b: BTreeMap::new(),
            n: a.len() as f64,
        };
        for (x, y) in a.iter().zip(b) {
            *table.pairs.entry((*x, *y)).or_default() += 1.0;
            *table.a.entry(*x).or_default() += 1.0;
            *table.b.entry(*y).or_default() += 1.0;
        }
        table
    }
}

/// Normalised mutual information: information over the mean of the entropies. 1 for two trivial groupings.
pub fn nmi(a: &[usize], b: &[usize]) -> f64 {
    let table = Table::new(a, b);
    if table.a.len() <= 1 && table.b.len() <= 1 {
        return 1.0;
    }
    let information: f64 = table
        .pairs
        .iter()
        .map(|((x, y), count)| count / table.n * (count * table.n / (table.a[x] * table.b[y])).ln())
        .sum();
    let entropy =
        |counts: &BTreeMap<usize, f64>| -> f64 { counts.values().map(|c| -c / table.n * (c / table.n).ln()).sum() };
    let mean = f64::midpoint(entropy(&table.a), entropy(&table.b));
    if information <= 0.0 { 0.0 } else { information / mean }
}

/// Adjusted Rand index: agreement of pairs, 0 by chance (Hubert & Arabie 1985). 1 where there is no pair.
pub fn ari(a: &[usize], b: &[usize]) -> f64 {
    let table = Table::new(a, b);
    if table.n < 2.0 {
        return 1.0;
    }
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let both: f64 = table.pairs.values().map(|c| pairs(*c)).sum();
    let in_a: f64 = table.a.values().map(|c| pairs(*c)).sum();
    let in_b: f64 = table.b.values().map(|c| pairs(*c)).sum();
    let chance = in_a * in_b / pairs(table.n);
    let most = f64::midpoint(in_a, in_b);
    if most == chance {
        1.0
    } else {
        (both - chance) / (most - chance)
    }
}

/// Accuracy under the best one-to-one assignment of clusters to classes.
pub fn hungarian_accuracy(truth: &[usize], clusters: &[usize], classes: usize) -> f64 {
    let class_of = hungarian_classes(truth, clusters, classes);
    let right = truth.iter().zip(clusters).filter(|(t, c)| class_of[**c] == **t).count();
    right as f64 / truth.len().max(1) as f64
}

/// The class that each of as many clusters stands for, under the one-to-one assignment by which most items are right.
pub fn hungarian_classes(truth: &[usize], clusters: &[usize], classes: usize) -> Vec<usize> {
    let counts = super::confusion(truth, clusters, classes);
    let cost: Vec<f64> = counts.iter().map(|c| -(*c as f64)).collect();
    assign(&cost, classes)
}

/// The row that each column of a square matrix is assigned to, each to one of its own, at the least total cost: shortest
/// augmenting paths with potentials (Jonker & Volgenant 1987), O(n^3).
fn assign(cost: &[f64], n: usize) -> Vec<usize> {
    // Row 0 and column 0 stand for "nothing yet".
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0usize; n + 1];
    for row in 1..=n {
        let (mut least, mut used, mut way) = (vec![f64::INFINITY; n + 1], vec![false; n + 1], vec![0usize; n + 1]);
        row_of[0] = row;
        let mut column = 0;
        while row_of[column] != 0 {
            used[column] = true;
            let (i, mut delta, mut next) = (row_of[column], f64::INFINITY, 0);
            for j in 1..=n {
                if used[j] {
                    continue;
                }
                let reduced = cost[(i - 1) * n + j - 1] - u[i] - v[j];
                if reduced < least[j] {
                    (least[j], way[j]) = (reduced, column);
                }
                if least[j] < delta {
                    (delta, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if used[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[way[column]];
            column = way[column];
        }
    }
    row_of[1..].iter().map(|row| row - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brute_force(cost: &[f64], n: usize, row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == n {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for j in 0..n {
            if !taken[j] {
                taken[j] = true;
                best = best.min(cost[row * n + j] + brute_force(cost, n, row + 1, taken));
                taken[j] = false;
            }
        }
        best
    }

    #[test]
    fn groupings_without_a_pair_agree() {
        assert_eq!(ari(&[], &[]), 1.0);
        assert_eq!(ari(&[0], &[3]), 1.0);
    }

    proptest! {
        #[test]
        fn assignment_is_the_best_of_all(n in 1usize..6, values in proptest::collection::vec(-20i32..20, 25)) {
            let cost: Vec<f64> = values[..n * n].iter().map(|v| f64::from(*v)).collect();
            let total: f64 = assign(&cost, n).iter().enumerate().map(|(column, row)| cost[row * n + column]).sum();
            prop_assert_eq!(total, brute_force(&cost, n, 0, &mut vec![false; n]));
        }

        #[test]
        fn renaming_clusters_changes_nothing(labels in proptest::collection::vec(0usize..4, 2..40)) {
            let renamed: Vec<usize> = labels.iter().map(|l| (l + 1) % 4).collect();
            prop_assert!((nmi(&labels, &renamed) - 1.0).abs() < 1e-12);
            prop_assert!((ari(&labels, &renamed) - 1.0).abs() < 1e-12);
            prop_assert_eq!(hungarian_accuracy(&labels, &renamed, 4), 1.0);
        }
    }
}
