//! The same tile in plain Rust, for other processors (NEON by auto-vectorisation) and as the reference of the tests.

use super::{Kernel, Store, TileArgs};

const LANES: usize = 8;

pub(super) static KERNEL: Kernel = Kernel {
    name: "portable",
    at_once: 1,
    cols: 2 * LANES,
    tiles: tiles!(tile: 1 2 3 4),
};

/// Fused where the hardware has it; on an x86-64 without FMA the library call would be a hundred times slower.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// # Safety
/// `args` must have R rows and every offset that it can form must lie inside its operands.
pub(super) unsafe fn tile<const R: usize, const V: usize>(args: &TileArgs<'_>) {
    args.check(R, 1);
    let mut acc = [[[0.0f32; LANES]; V]; R];
    // SAFETY: the caller bounds all offsets; columns past `args.cols` are neither read nor written.
    unsafe {
        for run in args.runs {
            for t in 0..run.len {
                let b = args.b.as_ptr().add(run.b + t * run.b_step);
                let mut row_b = [[0.0f32; LANES]; V];
                for j in 0..args.cols.min(V * LANES) {
                    row_b[j / LANES][j % LANES] = *b.add(j);
                }
                for i in 0..R {
                    let scalar = *args.a.as_ptr().add(args.rows[i].a + run.a + t * run.a_step);
                    for v in 0..V {
                        for l in 0..LANES {
                            acc[i][v][l] = multiply_add(scalar, row_b[v][l], acc[i][v][l]);
                        }
                    }
                }
            }
        }
        for i in 0..R {
            let c = args.c.add(args.rows[i].c);
            for j in 0..args.cols.min(V * LANES) {
                let sum = acc[i][j / LANES][j % LANES];
                *c.add(j) = if args.store == Store::Add { *c.add(j) + sum } else { sum };
            }
        }
    }
}
