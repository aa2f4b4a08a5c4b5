//! Tiles of single values: AVX-512 tiles of up to 14 x 32 (28 accumulators of 32 registers), AVX2 tiles of up to 6 x 16 (12 of 16).

#[allow(
    clippy::wildcard_imports,
    reason = "each vector instruction is a function of its own"
)]
use std::arch::x86_64::*;

use super::{Kernel, Store, TileArgs};

pub(super) static AVX512: Kernel = Kernel {
    name: "AVX-512",
    at_once: 1,
    cols: 32,
    tiles: tiles!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
};

pub(super) static AVX2: Kernel = Kernel {
    name: "AVX2+FMA",
    at_once: 1,
    cols: 16,
    tiles: tiles!(avx2: 1 2 3 4 5 6),
};

/// Which lanes of V vectors belong to the first `cols` columns.
pub(super) fn masks<const V: usize>(cols: usize) -> [__mmask16; V] {
    std::array::from_fn(|v| {
        let left = cols.saturating_sub(16 * v).min(16);
        ((1u32 << left) - 1) as __mmask16
    })
}

/// Stores a tile's sums: a macro, as accumulators must not leave their registers. Masked lanes are neither read nor written.
macro_rules! store_sums {
    ($args:ident, $sums:ident, $masks:ident) => {
        for i in 0..R {
            let c = $args.c.add($args.rows[i].c);
            for v in 0..V {
                let at = c.add(16 * v);
                let sum = match $args.store {
                    Store::Overwrite => $sums[i][v],
                    Store::Add => _mm512_add_ps(_mm512_maskz_loadu_ps($masks[v], at), $sums[i][v]),
                };
                _mm512_mask_storeu_ps(at, $masks[v], sum);
            }
        }
    };
}
pub(super) use store_sums;

/// # Safety
/// Needs AVX-512F; `args` must have R rows and every offset that it can form must lie inside its operands.
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize, const V: usize>(args: &TileArgs<'_>) {
    args.check(R, 1);
    let masks = masks::<V>(args.cols);
    // SAFETY: the caller bounds all offsets; masked lanes are neither read nor written.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); V]; R];
        let offsets: [usize; R] = std::array::from_fn(|i| args.rows[i].a);
        for run in args.runs {
            let mut a = args.a.as_ptr().add(run.a);
            let mut b = args.b.as_ptr().add(run.b);
            for _ in 0..run.len {
                let mut row_b = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    row_b[v] = _mm512_maskz_loadu_ps(masks[v], b.add(16 * v));
                }
                for i in 0..R {
                    let scalar = _mm512_set1_ps(*a.add(offsets[i]));
                    for v in 0..V {
                        acc[i][v] = _mm512_fmadd_ps(scalar, row_b[v], acc[i][v]);
                    }
                }
                a = a.wrapping_add(run.a_step);
                b = b.wrapping_add(run.b_step);
            }
        }
        store_sums!(args, acc, masks);
    }
}

/// # Safety
/// Needs AVX2 and FMA; `args` must have R rows and every offset that it can form must lie inside its operands.
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize, const V: usize>(args: &TileArgs<'_>) {
    args.check(R, 1);
    let mut masks = [_mm256_setzero_si256(); V];
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (v, mask) in masks.iter_mut().enumerate() {
        let left = args.cols.saturating_sub(8 * v).min(8);
        *mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes);
    }
    // SAFETY: the caller bounds all offsets; masked lanes are neither read nor written.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        let offsets: [usize; R] = std::array::from_fn(|i| args.rows[i].a);
        for run in args.runs {
            let mut a = args.a.as_ptr().add(run.a);
            let mut b = args.b.as_ptr().add(run.b);
            for _ in 0..run.len {
                let mut row_b = [_mm256_setzero_ps(); V];
                for v in 0..V {
                    row_b[v] = _mm256_maskload_ps(b.add(8 * v), masks[v]);
                }
                for i in 0..R {
                    let scalar = _mm256_set1_ps(*a.add(offsets[i]));
                    for v in 0..V {
                        acc[i][v] = _mm256_fmadd_ps(scalar, row_b[v], acc[i][v]);
                    }
                }
                a = a.wrapping_add(run.a_step);
                b = b.wrapping_add(run.b_step);
            }
        }
        for i in 0..R {
            let c = args.c.add(args.rows[i].c);
            for v in 0..V {
                let at = c.add(8 * v);
                let sum = match args.store {
                    Store::Overwrite => acc[i][v],
                    Store::Add => _mm256_add_ps(_mm256_maskload_ps(at, masks[v]), acc[i][v]),
                };
                _mm256_maskstore_ps(at, masks[v], sum);
            }
        }
    }
}
