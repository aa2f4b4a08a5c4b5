//! Pooling, channel-last: maximum and average over windows, and average over the cells of a fixed grid.

use rayon::prelude::*;

/// Sizes of a pooling. Windows of the maximum that reach over the border see only what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Window height and width.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Border, at most half the kernel.
    pub padding: usize,
}

impl PoolShape {
    /// Output height: `(h + 2 padding - kernel) / stride + 1`.
    pub fn out_h(&self) -> usize {
        (self.h + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Output width.
    pub fn out_w(&self) -> usize {
        (self.w + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn window(&self, o: usize, length: usize) -> std::ops::Range<usize> {
        (o * self.stride).saturating_sub(self.padding)..(o * self.stride + self.kernel - self.padding).min(length)
    }

    /// Calls `visit(output pixel, input pixel)` for every pixel of every window of one image, in order.
    fn pixels(&self, mut visit: impl FnMut(usize, usize)) {
        for oy in 0..self.out_h() {
            for ox in 0..self.out_w() {
                for iy in self.window(oy, self.h) {
                    for ix in self.window(ox, self.w) {
                        visit(oy * self.out_w() + ox, iy * self.w + ix);
                    }
                }
            }
        }
    }
}

/// `y = max over each window of x`; `chosen` gets the input pixel of each maximum (the first, as PyTorch).
pub fn max_forward(shape: &PoolShape, x: &[f32], y: &mut [f32], chosen: &mut [u32]) {
    let c = shape.c;
    let (x_image, y_image) = (shape.h * shape.w * c, shape.out_h() * shape.out_w() * c);
    y.par_chunks_mut(y_image)
        .zip(chosen.par_chunks_mut(y_image))
        .zip(x.par_chunks(x_image))
        .for_each(|((y, chosen), x)| {
            y.fill(f32::NEG_INFINITY);
            shape.pixels(|o, i| {
                let from = &x[i * c..(i + 1) * c];
                for ((v, y), chosen) in from
                    .iter()
                    .zip(&mut y[o * c..(o + 1) * c])
                    .zip(&mut chosen[o * c..(o + 1) * c])
                {
                    if *v > *y || v.is_nan() {
                        (*y, *chosen) = (*v, i as u32);
                    }
                }
            });
        });
}

/// Sends each output's gradient to the pixel that was the maximum, overwriting `dx`.
pub fn max_backward(shape: &PoolShape, dy: &[f32], chosen: &[u32], dx: &mut [f32]) {
    let c = shape.c;
    let (x_image, y_image) = (shape.h * shape.w * c, shape.out_h() * shape.out_w() * c);
    dx.par_chunks_mut(x_image)
        .zip(dy.par_chunks(y_image))
        .zip(chosen.par_chunks(y_image))
        .for_each(|((dx, dy), chosen)| {
            dx.fill(0.0);
            for (i, (d, pixel)) in dy.iter().zip(chosen).enumerate() {
                dx[*pixel as usize * c + i % c] += d;
            }
        });
}

/// `y = mean over each window of x` (the window's full size divides, as PyTorch's default).
pub fn average_forward(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    let c = shape.c;
    let share = 1.0 / (shape.kernel * shape.kernel) as f32;
    let (x_image, y_image) = (shape.h * shape.w * c, shape.out_h() * shape.out_w() * c);
    y.par_chunks_mut(y_image).zip(x.par_chunks(x_image)).for_each(|(y, x)| {
        y.fill(0.0);
        shape.pixels(|o, i| {
            y[o * c..(o + 1) * c]
                .iter_mut()
                .zip(&x[i * c..(i + 1) * c])
                .for_each(|(y, v)| *y += v * share);
        });
    });
}

/// The gradient of [`average_forward`], overwriting `dx`.
pub fn average_backward(shape: &PoolShape, dy: &[f32], dx: &mut [f32]) {
    let c = shape.c;
    let share = 1.0 / (shape.kernel * shape.kernel) as f32;
    let (x_image, y_image) = (shape.h * shape.w * c, shape.out_h() * shape.out_w() * c);
    dx.par_chunks_mut(x_image)
        .zip(dy.par_chunks(y_image))
        .for_each(|(dx, dy)| {
            dx.fill(0.0);
            shape.pixels(|o, i| {
                dx[i * c..(i + 1) * c]
                    .iter_mut()
                    .zip(&dy[o * c..(o + 1) * c])
                    .for_each(|(d, v)| *d += v * share);
            });
        });
}

/// The pixels of each cell of a `grid x grid` division of an image; cells overlap where the size does not divide, as
/// PyTorch's adaptive pooling does: from `floor(i size / grid)` to `ceil((i + 1) size / grid)`.
pub fn cell(i: usize, size: usize, grid: usize) -> std::ops::Range<usize> {
    i * size / grid..((i + 1) * size).div_ceil(grid)
}

/// Visits `(cell, pixel, 1 / pixels of the cell)` of one image.
fn grid_pixels(h: usize, w: usize, grid: usize, mut visit: impl FnMut(usize, usize, f32)) {
    for gy in 0..grid {
        for gx in 0..grid {
            let (ys, xs) = (cell(gy, h, grid), cell(gx, w, grid));
            let share = 1.0 / (ys.len() * xs.len()) as f32;
            for y in ys {
                for x in xs.clone() {
                    visit(gy * grid + gx, y * w + x, share);
                }
            }
        }
    }
}

/// Average over the cells of a grid: `[n][h][w][c]` to `[n][grid][grid][c]`. `grid = 1` is global average pooling.
pub fn grid_forward((h, w, c): (usize, usize, usize), grid: usize, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(grid * grid * c)
        .zip(x.par_chunks(h * w * c))
        .for_each(|(y, x)| {
            y.fill(0.0);
            grid_pixels(h, w, grid, |o, i, share| {
                y[o * c..(o + 1) * c]
                    .iter_mut()
                    .zip(&x[i * c..(i + 1) * c])
                    .for_each(|(y, v)| *y += v * share);
            });
        });
}

/// The gradient of [`grid_forward`], overwriting `dx`.
pub fn grid_backward((h, w, c): (usize, usize, usize), grid: usize, dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(h * w * c)
        .zip(dy.par_chunks(grid * grid * c))
        .for_each(|(dx, dy)| {
            dx.fill(0.0);
            grid_pixels(h, w, grid, |o, i, share| {
                dx[i * c..(i + 1) * c]
                    .iter_mut()
                    .zip(&dy[o * c..(o + 1) * c])
                    .for_each(|(d, v)| *d += v * share);
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn backward_passes_are_the_transposes_of_the_forward_passes(
            h in 2usize..10, w in 2usize..10, c in 1usize..4, kernel in 1usize..4, stride in 1usize..3, grid in 1usize..4, seed in any::<u32>(),
        ) {
            prop_assume!(h >= kernel && w >= kernel);
            let noise = |n: usize, s: u32| -> Vec<f32> {
                (0..n as u32).map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed ^ s) >> 8) as f32 / (1 << 24) as f32) - 0.5).collect()
            };
            let inner = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
            let x = noise(2 * h * w * c, 1);
            let shape = PoolShape { h, w, c, kernel, stride, padding: kernel / 2 };
            let outputs = 2 * shape.out_h() * shape.out_w() * c;
            let dy = noise(outputs, 2);
            let (mut y, mut dx) = (vec![0.0; outputs], vec![0.0; x.len()]);
            // <dy, forward(x)> = <backward(dy), x> for what is linear in x; the maximum is, around x.
            average_forward(&shape, &x, &mut y);
            average_backward(&shape, &dy, &mut dx);
            prop_assert!((inner(&dy, &y) - inner(&dx, &x)).abs() < 1e-4);
            let mut chosen = vec![0; outputs];
            max_forward(&shape, &x, &mut y, &mut chosen);
            max_backward(&shape, &dy, &chosen, &mut dx);
            prop_assert!((inner(&dy, &y) - inner(&dx, &x)).abs() < 1e-4);
            let dy = noise(2 * grid * grid * c, 3);
            let mut y = vec![0.0; dy.len()];
            grid_forward((h, w, c), grid, &x, &mut y);
            grid_backward((h, w, c), grid, &dy, &mut dx);
            prop_assert!((inner(&dy, &y) - inner(&dx, &x)).abs() < 1e-4);
        }
    }
}
