//! Convolution, channel-last, without im2col: patches are read in place from a zero-padded copy of a few images.
//!
//! Layouts: activations `[n][h][w][c]`, weights `[kh][kw][c_in / groups][c_out]`. For output pixel `(y, x)` a patch is one run
//! of `kw * c_in` contiguous values per kernel row (for one group), so the forward pass is [`tile::product`] with output pixels
//! as rows. The gradient of the input is the same with the kernel flipped, once per phase of the stride; the gradient of the
//! weights takes patch positions as rows and reduces over pixels.
//!
//! Work is split by image for what is written per image, and by a number of groups that depends on the shape alone for the
//! weights' gradient, whose partial sums are added in order: the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::layout::{Bordered, Panels, flip};
use super::tile::{self, Row, Run, Runs, Store};

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

    /// A 1x1 kernel on the image as it is: rows are pixels, no copy is needed.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}

/// Images that a task takes at a time: enough to fill tiles, few enough for their pixels to stay in the second-level cache.
fn images_per_task(pixels: usize, channels: usize) -> usize {
    (32_768 / (pixels * channels).max(1)).clamp(1, 64)
}

/// `y = conv(x, weight) + bias`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn forward(shape: &ConvShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x.len(), y.len(), weight.len());
    let (oh, ow, k) = (shape.out_h(), shape.out_w(), shape.kernel);
    let (cin_g, cout_g) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let images = images_per_task(oh * ow, shape.c_out.max(shape.c_in));
    let (x_image, y_image) = (shape.h * shape.w * shape.c_in, oh * ow * shape.c_out);
    let full_w = shape.w + 2 * shape.padding;
    let panels = Panels::new(weight, k * k * cin_g, shape.c_out, cout_g);

    // One run per kernel row where the channels of a patch are contiguous, else one per kernel position.
    let mut runs = Runs::default();
    for ky in 0..k {
        if shape.groups == 1 {
            runs.push(Run {
                a: ky * full_w * shape.c_in,
                a_step: 1,
                b: ky * k * cin_g * panels.width,
                b_step: panels.width,
                len: k * cin_g,
            });
        } else {
            for kx in 0..k {
                runs.push(Run {
                    a: (ky * full_w + kx) * shape.c_in,
                    a_step: 1,
                    b: (ky * k + kx) * cin_g * panels.width,
                    b_step: panels.width,
                    len: cin_g,
                });
            }
        }
    }
    y.par_chunks_mut(y_image * images).enumerate().for_each_init(
        || (None::<Bordered>, Vec::<Row>::new()),
        |(bordered, rows), (task, y)| {
            let count = y.len() / y_image;
            let source = &x[task * images * x_image..][..count * x_image];
            rows.clear();
            let a: &[f32] = if shape.is_pointwise() {
                rows.extend((0..count * oh * ow).map(|p| Row {
                    a: p * shape.c_in,
                    c: p * shape.c_out,
                }));
                source
            } else {
                let b = bordered.get_or_insert_with(|| {
                    Bordered::new(images, shape.h, shape.w, shape.c_in, shape.padding, shape.padding)
                });
                b.fill(source);
                for i in 0..count {
                    for oy in 0..oh {
                        for ox in 0..ow {
                            let c = ((i * oh + oy) * ow + ox) * shape.c_out;
                            rows.push(Row {
                                a: b.at(i, oy * shape.stride, ox * shape.stride),
                                c,
                            });
                        }
                    }
                }
                &b.data
            };
            for (panel, first, columns) in panels.iter() {
                let offset = first / cout_g * cin_g;
                tile::product(
                    &a[offset..],
                    panel,
                    &mut y[first..],
                    rows,
                    columns,
                    &runs,
                    Store::Overwrite,
                );
            }
            if let Some(bias) = bias {
                for pixel in y.chunks_exact_mut(shape.c_out) {
                    pixel.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                }
            }
        },
    );
}

/// Adds the gradient of the weights to `dweight` and, if there is one, of the bias to `dbias`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32], dbias: Option<&mut [f32]>) {
    shape.check(x.len(), dy.len(), dweight.len());
    let (oh, ow, k) = (shape.out_h(), shape.out_w(), shape.kernel);
    let (cin_g, cout_g) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let (x_image, y_image) = (shape.h * shape.w * shape.c_in, oh * ow * shape.c_out);
    let full_w = shape.w + 2 * shape.padding;
    // Patch positions are the rows of the result, in the weight's own order.
    let rows: Vec<Row> = (0..k * k)
        .flat_map(|position| {
            let a = (position / k * full_w + position % k) * shape.c_in;
            (0..cin_g).map(move |ci| Row {
                a: a + ci,
                c: (position * cin_g + ci) * shape.c_out,
            })
        })
        .collect();
    let mut runs = Runs::default();
    if shape.is_pointwise() {
        runs.push(Run {
            a: 0,
            a_step: shape.c_in,
            b: 0,
            b_step: shape.c_out,
            len: oh * ow,
        });
    } else {
        for oy in 0..oh {
            runs.push(Run {
                a: oy * shape.stride * full_w * shape.c_in,
                a_step: shape.stride * shape.c_in,
                b: oy * ow * shape.c_out,
                b_step: shape.c_out,
                len: ow,
            });
        }
    }
    let split = WeightSplit::new(shape.n, rows.len(), dweight.len());
    let mut partial = vec![0.0f32; split.image_groups * dweight.len()];
    partial
        .par_chunks_mut(dweight.len())
        .enumerate()
        .for_each(|(group, sums)| {
            let images = split.images(group);
            sums.par_chunks_mut(split.rows_per_part * shape.c_out)
                .enumerate()
                .for_each(|(part, sums)| {
                    let first_row = part * split.rows_per_part;
                    let part_rows: Vec<Row> = rows[first_row..(first_row + split.rows_per_part).min(rows.len())]
                        .iter()
                        .map(|r| Row {
                            a: r.a,
                            c: r.c - first_row * shape.c_out,
                        })
                        .collect();
                    let mut bordered = Bordered::new(1, shape.h, shape.w, shape.c_in, shape.padding, shape.padding);
                    for image in images.clone() {
                        let source = &x[image * x_image..][..x_image];
                        let a: &[f32] = if shape.is_pointwise() {
                            source
                        } else {
                            bordered.fill(source);
                            &bordered.data
                        };
                        let b = &dy[image * y_image..][..y_image];
                        for g in 0..shape.groups {
                            tile::product(
                                &a[g * cin_g..],
                                &b[g * cout_g..],
                                &mut sums[g * cout_g..],
                                &part_rows,
                                cout_g,
                                &runs,
                                Store::Add,
                            );
                        }
                    }
                });
        });
    for sums in partial.chunks_exact(dweight.len()) {
        dweight.iter_mut().zip(sums).for_each(|(d, s)| *d += s);
    }
    if let Some(dbias) = dbias {
        add_column_sums(dy, shape.c_out, dbias);
    }
}

/// The gradient of the input, overwriting `dx`.
///
/// # Panics
/// With `BUG:` if a slice does not fit the shape.
pub fn backward_input(shape: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), dy.len(), weight.len());
    let (oh, ow, k, s) = (shape.out_h(), shape.out_w(), shape.kernel, shape.stride);
    let (cin_g, cout_g) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let (x_image, y_image) = (shape.h * shape.w * shape.c_in, oh * ow * shape.c_out);
    let images = images_per_task(shape.h * shape.w, shape.c_out.max(shape.c_in));
    // Input pixel i takes output pixel (i + padding - tap) / stride for each tap that divides, so dy needs a border of
    // ceil(max(kernel - 1 - padding, 0) / stride) before, and as much after as the last input pixel reaches.
    let before = (k - 1).saturating_sub(shape.padding).div_ceil(s);
    let reach = |input: usize| (input - 1 + shape.padding) / s + 1;
    let after = reach(shape.h).saturating_sub(oh).max(reach(shape.w).saturating_sub(ow));
    let full_w = ow + before + after;

    let flipped = flip(weight, k * k, cin_g, shape.c_out, cout_g);
    let panels = Panels::new(&flipped, k * k * cout_g, shape.c_in, cin_g);
    let phases: Vec<(usize, usize, Runs)> = (0..s * s)
        .map(|phase| {
            let (py, px) = (phase / s, phase % s);
            let mut runs = Runs::default();
            for ky in (0..k).filter(|ky| (py + shape.padding + s * k - ky).is_multiple_of(s)) {
                for kx in (0..k).filter(|kx| (px + shape.padding + s * k - kx).is_multiple_of(s)) {
                    // Offsets relative to bordered dy at (input pixel / stride); non-negative thanks to the border.
                    let dy_row = before + (py + shape.padding + s * k - ky) / s - k;
                    let dy_col = before + (px + shape.padding + s * k - kx) / s - k;
                    runs.push(Run {
                        a: (dy_row * full_w + dy_col) * shape.c_out,
                        a_step: 1,
                        b: (ky * k + kx) * cout_g * panels.width,
                        b_step: panels.width,
                        len: cout_g,
                    });
                }
            }
            (py, px, runs)
        })
        .collect();
    dx.par_chunks_mut(x_image * images).enumerate().for_each_init(
        || (None::<Bordered>, Vec::<Row>::new()),
        |(bordered, rows), (task, dx)| {
            let count = dx.len() / x_image;
            let source = &dy[task * images * y_image..][..count * y_image];
            let b = bordered.get_or_insert_with(|| Bordered::new(images, oh, ow, shape.c_out, before, after));
            b.fill(source);
            for (py, px, runs) in &phases {
                rows.clear();
                for i in 0..count {
                    for y in (*py..shape.h).step_by(s) {
                        for x in (*px..shape.w).step_by(s) {
                            let c = ((i * shape.h + y) * shape.w + x) * shape.c_in;
                            rows.push(Row {
                                a: b.at(i, y / s, x / s),
                                c,
                            });
                        }
                    }
                }
                for (panel, first, columns) in panels.iter() {
                    let offset = first / cin_g * cout_g;
                    tile::product(
                        &b.data[offset..],
                        panel,
                        &mut dx[first..],
                        rows,
                        columns,
                        runs,
                        Store::Overwrite,
                    );
                }
            }
        },
    );
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

/// How the weights' gradient is split: by groups of images, whose sums are kept apart and added in order, and by rows.
struct WeightSplit {
    n: usize,
    image_groups: usize,
    rows_per_part: usize,
}

impl WeightSplit {
    /// Partial sums take at most some 16 MiB; where that leaves few image groups, rows are split as well.
    fn new(n: usize, rows: usize, weights: usize) -> Self {
        let image_groups = ((4 << 20) / weights.max(1)).clamp(1, 16).min(n.max(1));
        let parts = 16usize.div_ceil(image_groups);
        // Whole tiles of 14 rows.
        let rows_per_part = rows.div_ceil(parts).next_multiple_of(14).min(rows.next_multiple_of(14));
        Self {
            n,
            image_groups,
            rows_per_part,
        }
    }

    fn images(&self, group: usize) -> std::ops::Range<usize> {
        group * self.n / self.image_groups..(group + 1) * self.n / self.image_groups
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
            let mut expected = (vec![0.0f64; ys], vec![0.0f64; xs], vec![0.0f64; ws]);
            for (i, y) in expected.0.iter_mut().enumerate() {
                *y = f64::from(bias[i % s.c_out]);
            }
            naive(&s, |yi, xi, wi| {
                expected.0[yi] += f64::from(x[xi]) * f64::from(weight[wi]);
                expected.1[xi] += f64::from(dy[yi]) * f64::from(weight[wi]);
                expected.2[wi] += f64::from(dy[yi]) * f64::from(x[xi]);
            });
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

    #[test]
    fn thread_count_does_not_change_a_bit() {
        let s = ConvShape {
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
        let (xs, ys, ws) = s.lengths();
        let (x, weight, dy) = (noise(xs, 1), noise(ws, 2), noise(ys, 3));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            pool.install(|| {
                let (mut y, mut dx, mut dw) = (vec![0.0; ys], vec![0.0; xs], vec![0.0; ws]);
                forward(&s, &x, &weight, None, &mut y);
                backward_input(&s, &dy, &weight, &mut dx);
                backward_weight(&s, &x, &dy, &mut dw, None);
                (y, dx, dw)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
