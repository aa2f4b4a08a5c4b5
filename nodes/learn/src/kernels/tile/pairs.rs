//! The tile for factors of bf16, the upper half of an f32: two steps of the reduction at a time, with sums in f32.
//!
//! A step reads two neighbouring values of A, and a row of B whose columns hold two values each, that of the first step in the lower half:
//! `C[i][j] += A(i, r) B(r, j) + A(i, r + 1) B(r + 1, j)`. A product of two bf16 is exact in f32, and each of the two sums is rounded to
//! nearest; what is too small for a normal number is zero.

use super::{Kernel, Operands, Row, Runs, Store};

/// Whether this CPU multiplies bf16.
pub(crate) fn has_pairs() -> bool {
    kernel().is_some()
}

/// As [`super::product`], for factors of bf16: `a[row.a + ..]` and its neighbour, `b[.. + j]` with the two factors of a column.
///
/// # Panics
/// With `BUG:` if a row or run would reach outside `a`, `b` or `c`, or if the CPU does not multiply bf16.
pub(crate) fn pair_product(
    a: &[u16],
    b: &[u32],
    c: &mut [f32],
    rows: &[Row],
    columns: usize,
    runs: &Runs,
    store: Store,
) {
    let kernel = kernel().expect("BUG: this CPU does not multiply bf16");
    kernel.product(Operands { a, b, c }, rows, columns, runs, store);
}

#[cfg(target_arch = "x86_64")]
fn kernel() -> Option<&'static Kernel<u16, u32>> {
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    has.then_some(&x86::AVX512)
}

#[cfg(not(target_arch = "x86_64"))]
fn kernel() -> Option<&'static Kernel<u16, u32>> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(
        clippy::wildcard_imports,
        reason = "each vector instruction is a function of its own"
    )]
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::super::TileArgs;
    use super::super::x86::{masks, store_sums};
    use super::{Kernel, Store};

    pub(super) static AVX512: Kernel<u16, u32> = Kernel {
        name: "AVX-512-BF16",
        at_once: 2,
        cols: 32,
        tiles: tiles!(tile: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    };

    /// # Safety
    /// Needs AVX-512F and BF16; `args` must have R rows and every offset that it can form must lie inside its operands.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const R: usize, const V: usize>(args: &TileArgs<'_, u16, u32>) {
        args.check(R, 2);
        let masks = masks::<V>(args.cols);
        // SAFETY: the caller bounds all offsets; masked lanes are neither read nor written. The transmutes are between vectors of 512 bits,
        // all of whose values are valid.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); V]; R];
            let offsets: [usize; R] = std::array::from_fn(|i| args.rows[i].a);
            for run in args.runs {
                let mut a = args.a.as_ptr().add(run.a);
                let mut b = args.b.as_ptr().add(run.b).cast::<i32>();
                for _ in 0..run.len {
                    let mut row_b = [transmute::<__m512i, __m512bh>(_mm512_setzero_si512()); V];
                    for v in 0..V {
                        row_b[v] = transmute::<__m512i, __m512bh>(_mm512_maskz_loadu_epi32(masks[v], b.add(16 * v)));
                    }
                    for i in 0..R {
                        let both = a.add(offsets[i]).cast::<i32>().read_unaligned();
                        let both = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(both));
                        for v in 0..V {
                            acc[i][v] = _mm512_dpbf16_ps(acc[i][v], both, row_b[v]);
                        }
                    }
                    a = a.wrapping_add(run.a_step);
                    b = b.wrapping_add(run.b_step);
                }
            }
            store_sums!(args, acc, masks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;
    use proptest::prelude::*;

    fn widened(value: u32) -> f32 {
        f32::from_bits(value << 16)
    }

    proptest! {
        #[test]
        fn sums_of_pairs_match_an_f64_reference(
            rows in 1usize..40, columns in 1usize..70, depth in 1usize..20, step in 1usize..4, add in any::<bool>(), seed in any::<u32>(),
        ) {
            if !has_pairs() {
                return Ok(());
            }
            let value = |i: usize| {
                let noise = ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32 - 0.5;
                noise.to_bits() >> 16
            };
            let a: Vec<u16> = (0..rows * 3 + depth * step + 2).map(|i| value(i) as u16).collect();
            let b: Vec<u32> = (0..depth * columns).map(|i| value(2 * i + 977) | value(2 * i + 978) << 16).collect();
            let mut runs = Runs::default();
            runs.push(Run { a: 1, a_step: step, b: 0, b_step: columns, len: depth });
            let places: Vec<Row> = (0..rows).map(|i| Row { a: i * 3, c: i * (columns + 1) }).collect();
            let old: Vec<f32> = (0..rows * (columns + 1)).map(|i| i as f32 / 100.0).collect();
            let store = if add { Store::Add } else { Store::Overwrite };
            let mut c = old.clone();
            pair_product(&a, &b, &mut c, &places, columns, &runs, store);
            for row in &places {
                for j in 0..columns {
                    let (mut sum, mut size) = (if add { f64::from(old[row.c + j]) } else { 0.0 }, 1.0);
                    for (ra, rb) in runs.steps() {
                        for half in 0..2 {
                            let factor = b[rb + j] >> (16 * half);
                            let term = f64::from(widened(u32::from(a[row.a + ra + half]))) * f64::from(widened(factor & 0xffff));
                            sum += term;
                            size += term.abs();
                        }
                    }
                    prop_assert!((f64::from(c[row.c + j]) - sum).abs() <= 1e-6 * (size + sum.abs()));
                }
                // What lies between the rows is left alone.
                if let Some(gap) = c.get(row.c + columns) {
                    prop_assert_eq!(*gap, old[row.c + columns]);
                }
            }
        }
    }
}
