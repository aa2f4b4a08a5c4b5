//! The one inner loop of all matrix-like work: a register tile of a sum of outer products, read in place.
//!
//! A tile is `C[i][j] += sum_r A(i, r) * B(r, j)` for a few rows `i` and one or two vectors of columns `j`. Nothing is
//! packed: `A(i, r)` is a scalar at `row[i] + a(r)` and `B(r, ..)` a contiguous row at `b(r)`, where `a` and `b` step through
//! [`Run`]s. A convolution's forward pass, both of its backward passes and a linear layer differ only in their runs.
//!
//! Every element of C is one chain of fused multiply-adds in the order of the runs, whatever the tile's shape, so that the
//! bits are the same for every instruction set that has them (AVX-512, AVX2 with FMA, NEON).
//!
//! [`pairs`] has the same tile for factors of 16 bits, two steps at a time.

#![expect(
    clippy::needless_range_loop,
    reason = "register tiles are indexed by rows and vectors alike"
)]

/// The tiles of a kernel for the given numbers of rows, which must count up from 1.
macro_rules! tiles {
    ($tile:ident: $($rows:literal)*) => { &[$(($tile::<$rows, 2>, $tile::<$rows, 1>)),*] };
}

mod pairs;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

pub(crate) use pairs::{has_pairs, pair_product};

/// `len` steps of a reduction: step `t` reads A at `a + t * a_step` and B's row at `b + t * b_step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) a: usize,
    pub(crate) a_step: usize,
    pub(crate) b: usize,
    pub(crate) b_step: usize,
    pub(crate) len: usize,
}

/// A reduction in order, with how far it reaches into A and B, so that a tile's bounds cost two comparisons.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    list: Vec<Run>,
    a_reach: usize,
    b_reach: usize,
}

impl Runs {
    /// Appends a run; one that goes on where the last one ends becomes part of it.
    pub(crate) fn push(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        self.a_reach = self.a_reach.max(run.a + run.a_step * (run.len - 1));
        self.b_reach = self.b_reach.max(run.b + run.b_step * (run.len - 1));
        if let Some(last) = self.list.last_mut() {
            let goes_on = (last.a + last.a_step * last.len, last.b + last.b_step * last.len) == (run.a, run.b);
            if goes_on && (last.a_step, last.b_step) == (run.a_step, run.b_step) {
                last.len += run.len;
                return;
            }
        }
        self.list.push(run);
    }

    /// The same reduction two steps at a time, where both lie side by side in A, and B has a row for both. All runs must have an even
    /// number of steps, of one value of A each.
    pub(crate) fn in_pairs(&self) -> Self {
        let mut pairs = Self::default();
        for run in &self.list {
            assert!(
                run.a_step == 1 && run.len.is_multiple_of(2) && run.b.is_multiple_of(2),
                "BUG: steps without a neighbour"
            );
            pairs.push(Run {
                a: run.a,
                a_step: 2,
                b: run.b / 2,
                b_step: run.b_step,
                len: run.len / 2,
            });
        }
        pairs
    }

    /// The steps of all runs.
    #[cfg(test)]
    fn steps(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.list
            .iter()
            .flat_map(|r| (0..r.len).map(|t| (r.a + t * r.a_step, r.b + t * r.b_step)))
    }
}

/// Where a row of the result comes from and goes to: offsets into A and into C.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) a: usize,
    pub(crate) c: usize,
}

/// What happens to C's old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Overwrite,
    Add,
}

/// One tile's arguments. `rows` holds as many as the tile has.
struct TileArgs<'a, A = f32, B = f32> {
    a: &'a [A],
    b: &'a [B],
    c: *mut f32,
    c_len: usize,
    rows: &'a [Row],
    cols: usize,
    runs: &'a [Run],
    store: Store,
}

impl<A, B> TileArgs<'_, A, B> {
    /// Every offset that a tile's pointers will form, checked in builds with debug assertions: each kernel calls it first. A step reads
    /// `at_once` values of A.
    #[inline(always)]
    fn check(&self, rows: usize, at_once: usize) {
        if cfg!(debug_assertions) {
            assert_eq!(self.rows.len(), rows, "BUG: a tile for another number of rows");
            let last = |start: usize, step: usize, len: usize| start + step * (len - 1);
            for run in self.runs {
                assert!(
                    last(run.b, run.b_step, run.len) + self.cols <= self.b.len(),
                    "BUG: outside the right operand"
                );
                for row in self.rows {
                    assert!(
                        row.a + last(run.a, run.a_step, run.len) + at_once <= self.a.len(),
                        "BUG: outside the left operand"
                    );
                }
            }
            assert!(
                self.rows.iter().all(|row| row.c + self.cols <= self.c_len),
                "BUG: outside the result"
            );
        }
    }
}

type TileFn<A = f32, B = f32> = unsafe fn(&TileArgs<'_, A, B>);
/// A tile of full width, and one of up to half.
type Widths<A, B> = (TileFn<A, B>, TileFn<A, B>);

/// A kernel for one instruction set.
struct Kernel<A: 'static = f32, B: 'static = f32> {
    /// The instruction set's name.
    name: &'static str,
    /// Values of A that a step reads, one after the other.
    at_once: usize,
    /// Columns of a full-width tile.
    cols: usize,
    /// For 1, 2, 3.. rows: a tile of up to `cols` columns, and one of up to half as many.
    tiles: &'static [Widths<A, B>],
}

/// The operands of a product, all of whose offsets are checked before the first tile.
struct Operands<'a, A, B> {
    a: &'a [A],
    b: &'a [B],
    c: &'a mut [f32],
}

/// `c[row.c + j] (+)= sum over runs of a[row.a + ..] * b[.. + j]` for every row and every `j < columns`.
///
/// Rows and columns are tiled for registers; the column tile is the outer loop, so that its part of B stays in the cache.
///
/// # Panics
/// With `BUG:` if a row or run would reach outside `a`, `b` or `c`.
pub(crate) fn product(a: &[f32], b: &[f32], c: &mut [f32], rows: &[Row], columns: usize, runs: &Runs, store: Store) {
    kernel().product(Operands { a, b, c }, rows, columns, runs, store);
}

impl<A, B> Kernel<A, B> {
    fn product(&self, operands: Operands<'_, A, B>, rows: &[Row], columns: usize, runs: &Runs, store: Store) {
        let Operands { a, b, c } = operands;
        if rows.is_empty() || columns == 0 {
            return;
        }
        let (far_a, far_c) = rows.iter().fold((0, 0), |(fa, fc), r| (fa.max(r.a), fc.max(r.c)));
        assert!(far_c + columns <= c.len(), "BUG: a tile would write outside its result");
        if runs.list.is_empty() {
            if store == Store::Overwrite {
                rows.iter().for_each(|r| c[r.c..r.c + columns].fill(0.0));
            }
            return;
        }
        assert!(
            far_a + runs.a_reach + self.at_once <= a.len(),
            "BUG: a tile would read outside its left operand"
        );
        assert!(
            runs.b_reach + columns <= b.len(),
            "BUG: a tile would read outside its right operand"
        );
        // Tiles of nearly equal height: 15 rows make 8 and 7, not 14 and 1.
        let tiles = rows.len().div_ceil(self.tiles.len());
        let (height, higher) = (rows.len() / tiles, rows.len() % tiles);
        let mut column = 0;
        while column < columns {
            let cols = (columns - column).min(self.cols);
            let narrow = cols <= self.cols / 2;
            let mut done = 0;
            for tile in 0..tiles {
                let count = height + usize::from(tile < higher);
                let (full, half) = self.tiles[count - 1];
                let args = TileArgs {
                    a,
                    b: &b[column..],
                    c: c[column..].as_mut_ptr(),
                    c_len: c.len() - column,
                    rows: &rows[done..done + count],
                    cols,
                    runs: &runs.list,
                    store,
                };
                // SAFETY: the asserts above bound every offset that the rows and runs can form (`a`: far_a + a_reach and what a step
                // reads; `b`: b_reach + columns; `c`: far_c + columns; `column + cols <= columns`), the tile is that for `count` rows, and
                // only kernels that this CPU can run are chosen.
                unsafe { (if narrow { half } else { full })(&args) };
                done += count;
            }
            column += cols;
        }
    }
}

/// The vector instructions in use on this machine.
pub(crate) fn instruction_set() -> &'static str {
    kernel().name
}

/// Columns of a tile of full width on this machine.
pub(crate) fn columns() -> usize {
    kernel().cols
}

/// The kernel for this machine, chosen once.
fn kernel() -> &'static Kernel {
    static CHOSEN: OnceLock<&'static Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return &x86::AVX512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return &x86::AVX2;
            }
        }
        &portable::KERNEL
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(a: &[f32], b: &[f32], row: Row, j: usize, runs: &Runs) -> (f64, f64) {
        runs.steps().fold((0.0, 0.0), |(sum, size), (ra, rb)| {
            let term = f64::from(a[row.a + ra]) * f64::from(b[rb + j]);
            (sum + term, size + term.abs())
        })
    }

    proptest! {
        #[test]
        fn every_kernel_matches_an_f64_reference(
            rows in 1usize..40, columns in 1usize..70, depth in 0usize..20, step in 1usize..4, runs in 1usize..4, add in any::<bool>(), seed in any::<u32>(),
        ) {
            let value = |i: usize| (((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32) - 0.5;
            let a: Vec<f32> = (0..rows * 3 + (depth + 1) * step * runs + 8).map(value).collect();
            let b: Vec<f32> = (0..(depth + 1) * runs * columns).map(|i| value(i + 977)).collect();
            let mut list = Runs::default();
            for r in 0..runs {
                list.push(Run { a: r * 2, a_step: step, b: r * depth * columns, b_step: columns, len: depth });
            }
            let places: Vec<Row> = (0..rows).map(|i| Row { a: i * 3, c: i * (columns + 1) }).collect();
            let old: Vec<f32> = (0..rows * (columns + 1)).map(|i| value(i + 31)).collect();
            let store = if add { Store::Add } else { Store::Overwrite };
            let mut c = old.clone();
            product(&a, &b, &mut c, &places, columns, &list, store);
            for row in &places {
                for j in 0..columns {
                    let (sum, size) = reference(&a, &b, *row, j, &list);
                    let start = if add { f64::from(old[row.c + j]) } else { 0.0 };
                    prop_assert!((f64::from(c[row.c + j]) - sum - start).abs() <= 1e-6 * (size + 1.0));
                }
                // What lies between the rows is left alone.
                if let Some(gap) = c.get(row.c + columns) {
                    prop_assert_eq!(*gap, old[row.c + columns]);
                }
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn instruction_sets_agree_to_the_bit() {
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")) {
            return;
        }
        let a: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..50 * 16).map(|i| (i as f32 * 0.11).cos()).collect();
        let rows: [Row; 6] = std::array::from_fn(|i| Row { a: i * 10, c: i * 16 });
        let runs = [Run {
            a: 0,
            a_step: 1,
            b: 0,
            b_step: 16,
            len: 50,
        }];
        let run = |tile: TileFn| {
            let mut c = vec![0.0f32; 16 * 6];
            let args = TileArgs {
                a: &a,
                b: &b,
                c: c.as_mut_ptr(),
                c_len: c.len(),
                rows: &rows,
                cols: 16,
                runs: &runs,
                store: Store::Overwrite,
            };
            // SAFETY: rows reach 50 + 50 of 200, runs 49 * 16 + 16 of 800, c has 6 rows of 16.
            unsafe { tile(&args) };
            c
        };
        assert_eq!(run(x86::AVX512.tiles[5].1), run(x86::AVX2.tiles[5].0));
    }
}
