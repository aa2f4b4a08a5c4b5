//! Convolution, channel-last, in place: no im2col, no border, no copy of the activations.
//!
//! Layouts: activations `[n][h][w][c]`, weights `[kh][kw][c_in / groups][c_out]`. For output pixel `(y, x)` a patch is one run
//! of `kw * c_in` contiguous values per kernel row (for one group), so the forward pass is [`super::tile::product`] with output pixels
//! as rows. The gradient of the input is the same with the kernel turned round and input pixels as rows. The gradient of the
//! weights takes input channels as rows, tap by tap, and reduces over pixels. Taps that fall outside the image are left out
//! ([`taps`]): on a 4x4 map that is a third of the work.
//!
//! Results of few channels are made two pixels at a time ([`side_by_side`]).
//! 3x3 convolutions of stride 1 with enough channels go another way where it is faster ([`winograd`]).
//!
//! Work is split by image for what is written per image, and by weights or by a fixed number of groups of images for the
//! weights' gradient: the bits do not depend on the number of threads.

mod bf16;
mod direct;
mod side_by_side;
mod taps;
mod weight_gradient;
mod winograd;

pub use bf16::Bf16;
use rayon::prelude::*;

use direct::Direct;

/// Sizes of a convolution. All lengths in pixels or channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels, a multiple of `groups`.
    pub c_in: usize,
    /// Output channels, a multiple of `groups`.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: usize,
    /// Step between patches, at least 1.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Groups of channels that do not mix; 1 is the ordinary convolution.
    pub groups: usize,
}

impl std::fmt::Display for ConvShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            n,
            h,
            w,
            c_in,
            c_out,
            kernel,
            stride,
            groups,
            ..
        } = self;
        if *kernel == 1 && *h == 1 {
            return write!(f, "matrix {} x {c_in} x {c_out}", n * w);
        }
        write!(f, "conv {kernel}x{kernel} {c_in} -> {c_out} /{stride} at {h}x{w}")?;
        if *groups > 1 {
            write!(f, " in {groups} groups")
        } else {
            Ok(())
        }
    }
}

impl ConvShape {
    /// A matrix product of `rows` rows: a 1x1 convolution whose pixels are dealt out as images of as many as divide evenly, so
    /// that the work can be split.
    pub fn matrix(rows: usize, c_in: usize, c_out: usize) -> Self {
        let pixels = (1..=64).rev().find(|p| rows.is_multiple_of(*p)).unwrap_or(1);
        Self {
            n: rows / pixels,
            h: 1,
            w: pixels,
            c_in,
            c_out,
            kernel: 1,
            stride: 1,
            padding: 0,
            groups: 1,
        }
    }

    /// Output height: `(h + 2 padding - kernel) / stride + 1`.
    pub fn out_h(&self) -> usize {
        (self.h + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Output width.
    pub fn out_w(&self) -> usize {
        (self.w + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Values of the input, output and weight.
    pub fn lengths(&self) -> (usize, usize, usize) {
        (
            self.n * self.h * self.w * self.c_in,
            self.n * self.out_h() * self.out_w() * self.c_out,
            self.kernel * self.kernel * (self.c_in / self.groups) * self.c_out,
        )
    }

    /// Floating-point operations of the plain definition, a multiply-add being two; the same for each of the three passes.
    pub fn flops(&self) -> f64 {
        let (_, y, weight) = self.lengths();
        2.0 * y as f64 * weight as f64 / self.c_out as f64
    }

    fn check(&self, x: usize, y: usize, weight: usize) {
        assert!(
            self.stride > 0 && self.groups > 0,
            "BUG: stride and groups are at least 1"
        );
        assert!(
            self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups),
            "BUG: groups must divide channels"
        );
        assert!(
            self.h + 2 * self.padding >= self.kernel && self.w + 2 * self.padding >= self.kernel,
            "BUG: kernel larger than image"
        );
        assert_eq!(
            (x, y, weight),
            self.lengths(),
            "BUG: slices do not fit the convolution's shape"
        );
    }
}

/// `y = conv(x, weight) + bias`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn forward(shape: &ConvShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x.len(), y.len(), weight.len());
    if winograd::suits(shape) {
        winograd::forward(shape, x, weight, y);
    } else {
        Direct::forward(shape, weight).run(x, y);
    }
    add_bias(shape, bias, y);
}

fn add_bias(shape: &ConvShape, bias: Option<&[f32]>, y: &mut [f32]) {
    let Some(bias) = bias else { return };
    y.par_chunks_mut(shape.c_out * 1024).for_each(|y| {
        for pixel in y.chunks_exact_mut(shape.c_out) {
            pixel.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    });
}

/// The gradient of the input, overwriting `dx`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn backward_input(shape: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), dy.len(), weight.len());
    if winograd::suits(shape) {
        winograd::backward_input(shape, dy, weight, dx);
    } else {
        Direct::backward(shape, weight).run(dy, dx);
    }
}

/// Adds the gradient of the weights to `dweight` and, if there is one, of the bias to `dbias`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32], dbias: Option<&mut [f32]>) {
    shape.check(x.len(), dy.len(), dweight.len());
    if winograd::suits(shape) {
        winograd::backward_weight(shape, x, dy, dweight);
    } else {
        weight_gradient::direct(shape, x, dy, dweight);
    }
    if let Some(dbias) = dbias {
        add_column_sums(dy, shape.c_out, dbias);
    }
}

/// Adds the sum of every column of a `[rows][columns]` matrix to `sums`, in blocks of a fixed size.
fn add_column_sums(matrix: &[f32], columns: usize, sums: &mut [f32]) {
    let blocks: Vec<Vec<f32>> = matrix
        .par_chunks(columns * 1024)
        .map(|block| {
            let mut sum = vec![0.0f32; columns];
            for row in block.chunks_exact(columns) {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sum
        })
        .collect();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(s, v)| *s += v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32) - 0.5)
            .collect()
    }

    /// Calls `visit(y index, x index, weight index)` for every product that a convolution sums.
    fn naive(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
        let (cin_g, cout_g) = (s.c_in / s.groups, s.c_out / s.groups);
        for n in 0..s.n {
            for oy in 0..s.out_h() {
                for ox in 0..s.out_w() {
                    for co in 0..s.c_out {
                        for (ky, kx) in (0..s.kernel * s.kernel).map(|p| (p / s.kernel, p % s.kernel)) {
                            let (iy, ix) = (
                                (oy * s.stride + ky).wrapping_sub(s.padding),
                                (ox * s.stride + kx).wrapping_sub(s.padding),
                            );
                            if iy >= s.h || ix >= s.w {
                                continue;
                            }
                            for ci in 0..cin_g {
                                let x = ((n * s.h + iy) * s.w + ix) * s.c_in + co / cout_g * cin_g + ci;
                                let y = ((n * s.out_h() + oy) * s.out_w() + ox) * s.c_out + co;
                                visit(y, x, ((ky * s.kernel + kx) * cin_g + ci) * s.c_out + co);
                            }
                        }
                    }
                }
            }
        }
    }

    /// What the three passes come to in f64: results, the gradient of the input, and that of the weight, which is added to `dw`.
    fn summed(s: &ConvShape, [x, weight, bias, dy]: [&[f32]; 4], mut dw: Vec<f64>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let mut y: Vec<f64> = (0..dy.len()).map(|i| f64::from(bias[i % s.c_out])).collect();
        let mut dx = vec![0.0; x.len()];
        naive(s, |yi, xi, wi| {
            y[yi] += f64::from(x[xi]) * f64::from(weight[wi]);
            dx[xi] += f64::from(dy[yi]) * f64::from(weight[wi]);
            dw[wi] += f64::from(dy[yi]) * f64::from(x[xi]);
        });
        (y, dx, dw)
    }

    fn close(found: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            prop_assert!(
                (f64::from(*f) - e).abs() < 2e-5 * (1.0 + e.abs()),
                "at {i}: {f} instead of {e}"
            );
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn all_three_passes_match_a_naive_f64_convolution(
            n in 1usize..5, h in 1usize..12, w in 1usize..12, cin_g in 1usize..5, cout_g in 1usize..40, groups in 1usize..4,
            kernel in 1usize..6, stride in 1usize..4, padding in 0usize..4, seed in any::<u32>(),
        ) {
            let s = ConvShape { n, h, w, c_in: cin_g * groups, c_out: cout_g * groups, kernel, stride, padding, groups };
            prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
            let (xs, ys, ws) = s.lengths();
            let (x, weight, bias, dy) = (noise(xs, seed), noise(ws, seed ^ 1), noise(s.c_out, seed ^ 2), noise(ys, seed ^ 3));
            let expected = summed(&s, [&x, &weight, &bias, &dy], vec![0.0; ws]);
            let (mut y, mut dx, mut dw, mut db) = (vec![f32::NAN; ys], vec![f32::NAN; xs], vec![0.0; ws], vec![0.0; s.c_out]);
            forward(&s, &x, &weight, Some(&bias), &mut y);
            backward_input(&s, &dy, &weight, &mut dx);
            backward_weight(&s, &x, &dy, &mut dw, Some(&mut db));
            close(&y, &expected.0)?;
            close(&dx, &expected.1)?;
            close(&dw, &expected.2)?;
            let sums: Vec<f64> = (0..s.c_out).map(|c| dy.iter().skip(c).step_by(s.c_out).map(|v| f64::from(*v)).sum()).collect();
            close(&db, &sums)?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn minimal_filtering_matches_a_naive_f64_convolution(
            n in 1usize..4, h in 3usize..11, w in 3usize..11, padding in 0usize..3,
            lanes in (1usize..5, 1usize..5), seed in any::<u32>(),
        ) {
            let (c_in, c_out) = (16 * lanes.0, 16 * lanes.1);
            let s = ConvShape { n, h, w, c_in, c_out, kernel: 3, stride: 1, padding, groups: 1 };
            let (xs, ys, ws) = s.lengths();
            let (x, weight, dy) = (noise(xs, seed), noise(ws, seed ^ 1), noise(ys, seed ^ 3));
            // The sum and the sum of its terms' sizes, to which the rounding is in proportion.
            let mut expected = (vec![(0.0f64, 0.0f64); ys], vec![(0.0, 0.0); xs], vec![(0.0, 0.0); ws]);
            naive(&s, |yi, xi, wi| {
                let (x, w, dy) = (f64::from(x[xi]), f64::from(weight[wi]), f64::from(dy[yi]));
                for (to, term) in [(&mut expected.0[yi], x * w), (&mut expected.1[xi], dy * w), (&mut expected.2[wi], dy * x)] {
                    *to = (to.0 + term, to.1 + term.abs());
                }
            });
            let (mut y, mut dx, mut dw) = (vec![f32::NAN; ys], vec![f32::NAN; xs], vec![0.0; ws]);
            winograd::forward(&s, &x, &weight, &mut y);
            winograd::backward_input(&s, &dy, &weight, &mut dx);
            winograd::backward_weight(&s, &x, &dy, &mut dw);
            for (found, expected) in [(&y, &expected.0), (&dx, &expected.1), (&dw, &expected.2)] {
                for (f, (sum, size)) in found.iter().zip(expected) {
                    prop_assert!((f64::from(*f) - sum).abs() < 1e-5 * (1.0 + size), "{f} instead of {sum}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn all_three_passes_in_bf16_match_a_naive_f64_convolution_of_rounded_factors(
            n in 1usize..5, h in 1usize..12, w in 1usize..12, cin_g in 1usize..9, cout_g in 1usize..40, groups in 1usize..4,
            kernel in 1usize..6, stride in 1usize..4, padding in 0usize..4, seed in any::<u32>(),
        ) {
            let s = ConvShape { n, h, w, c_in: cin_g * groups, c_out: cout_g * groups, kernel, stride, padding, groups };
            prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
            let Some(bf16) = Bf16::new() else { return Ok(()) };
            // Factors that bf16 holds exactly, so that only sums are rounded.
            let exact = |values: Vec<f32>| -> Vec<f32> { values.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect() };
            let (xs, ys, ws) = s.lengths();
            let (x, weight, dy) = (exact(noise(xs, seed)), exact(noise(ws, seed ^ 1)), exact(noise(ys, seed ^ 3)));
            let (old, bias) = (noise(ws, seed ^ 4), noise(s.c_out, seed ^ 2));
            let expected = summed(&s, [&x, &weight, &bias, &dy], old.iter().map(|v| f64::from(*v)).collect());
            let (mut y, mut dx, mut dw) = (vec![f32::NAN; ys], vec![f32::NAN; xs], old);
            bf16.forward(&s, &x, &weight, Some(&bias), &mut y);
            bf16.backward_input(&s, &dy, &weight, &mut dx);
            bf16.backward_weight(&s, &x, &dy, &mut dw, None);
            close(&y, &expected.0)?;
            close(&dx, &expected.1)?;
            close(&dw, &expected.2)?;
        }
    }

    fn thread_count_does_not_change_a_bit_of(s: ConvShape) {
        let (xs, ys, ws) = s.lengths();
        let (x, weight, dy) = (noise(xs, 1), noise(ws, 2), noise(ys, 3));
        let run = |threads: usize, bf16: Option<Bf16>| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            pool.install(|| {
                let (mut y, mut dx, mut dw) = (vec![0.0; ys], vec![0.0; xs], vec![0.0; ws]);
                if let Some(bf16) = bf16 {
                    bf16.forward(&s, &x, &weight, None, &mut y);
                    bf16.backward_input(&s, &dy, &weight, &mut dx);
                    bf16.backward_weight(&s, &x, &dy, &mut dw, None);
                } else {
                    forward(&s, &x, &weight, None, &mut y);
                    backward_input(&s, &dy, &weight, &mut dx);
                    backward_weight(&s, &x, &dy, &mut dw, None);
                }
                (y, dx, dw)
            })
        };
        assert_eq!(run(1, None), run(3, None));
        assert_eq!(run(1, Bf16::new()), run(3, Bf16::new()));
    }
    #[test]
    fn thread_count_does_not_change_a_bit() {
        let strided = ConvShape {
            n: 37,
            h: 14,
            w: 14,
            c_in: 16,
            c_out: 24,
            kernel: 3,
            stride: 2,
            padding: 1,
            groups: 1,
        };
        let many_weights = ConvShape {
            n: 9,
            h: 6,
            w: 6,
            c_in: 256,
            c_out: 192,
            ..strided
        };
        let filtered = ConvShape {
            n: 9,
            h: 8,
            w: 8,
            c_in: 64,
            c_out: 96,
            stride: 1,
            ..strided
        };
        assert!(winograd::suits(&filtered) && !winograd::suits(&strided));
        for shape in [strided, many_weights, filtered] {
            thread_count_does_not_change_a_bit_of(shape);
        }
    }
}
