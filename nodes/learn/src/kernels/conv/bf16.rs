//! The three passes with factors of bf16 and sums of f32, for CPUs that multiply them: twice the products an instruction, and half the bytes.
//!
//! An instruction takes two steps of a reduction at once ([`tile::pair_product`]). Forward and the gradient of the input reduce over
//! channels, which lie side by side. The gradient of the weights reduces over pixels: there each value is copied beside that of the pixel
//! to which the next output's patch has moved, from images with a border of zeros, so that all taps see all pixels. Passes whose channels
//! make no pairs, such as the forward pass of a gray image, are those of f32; so are sums, biases and what is stored.

use rayon::prelude::*;

use super::super::tile::{self, Row, Run, Runs, Store};
use super::super::{bf16, scratch};
use super::direct::Direct;
use super::weight_gradient::{at_once, by_groups, division};
use super::{ConvShape, add_bias, add_column_sums};

/// Convolutions with factors of bf16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16(());

impl Bf16 {
    /// None where the CPU does not multiply bf16.
    pub fn new() -> Option<Self> {
        tile::has_pairs().then_some(Self(()))
    }

    /// As [`super::forward`].
    pub fn forward(self, shape: &ConvShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        if !(shape.c_in / shape.groups).is_multiple_of(2) {
            return super::forward(shape, x, weight, bias, y);
        }
        shape.check(x.len(), y.len(), weight.len());
        run(&Direct::forward(shape, weight), x, y);
        add_bias(shape, bias, y);
    }

    /// As [`super::backward_input`].
    pub fn backward_input(self, shape: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
        if !(shape.c_out / shape.groups).is_multiple_of(2) {
            return super::backward_input(shape, dy, weight, dx);
        }
        shape.check(dx.len(), dy.len(), weight.len());
        run(&Direct::backward(shape, weight), dy, dx);
    }

    /// As [`super::backward_weight`].
    pub fn backward_weight(
        self,
        shape: &ConvShape,
        x: &[f32],
        dy: &[f32],
        dweight: &mut [f32],
        dbias: Option<&mut [f32]>,
    ) {
        shape.check(x.len(), dy.len(), dweight.len());
        let grid = Grid::of(shape);
        scratch::with(grid.x_len(), |x_pairs| {
            scratch::with(grid.dy_len(), |dy_pairs| {
                let (x_pairs, dy_pairs) = (as_words(x_pairs), as_words(dy_pairs));
                grid.pair_x(x, x_pairs);
                grid.pair_dy(dy, dy_pairs);
                grid.add(as_halves(x_pairs), dy_pairs, dweight);
            });
        });
        if let Some(dbias) = dbias {
            add_column_sums(dy, shape.c_out, dbias);
        }
    }
}

fn as_words(values: &mut [f32]) -> &mut [u32] {
    pulp::bytemuck::cast_slice_mut(values)
}

fn as_halves(words: &[u32]) -> &[u16] {
    pulp::bytemuck::cast_slice(words)
}

/// [`Direct::run`] in pairs.
fn run(direct: &Direct, source: &[f32], result: &mut [f32]) {
    let (rows, panels) = (direct.rows(), direct.panels.in_pairs());
    let runs: Vec<Runs> = direct.classes.iter().map(|class| class.runs.in_pairs()).collect();
    direct.images.each(source, result, |count, source, result| {
        scratch::with(source.len().div_ceil(2), |memory| {
            let rounded: &mut [u16] = pulp::bytemuck::cast_slice_mut(memory);
            let rounded = &mut rounded[..source.len()];
            bf16::round(source, rounded);
            for (panel, first, columns) in panels.iter() {
                let source = &rounded[first / direct.group * direct.images.source_group..];
                for ((class, rows), runs) in direct.classes.iter().zip(&rows).zip(&runs) {
                    let (rows, result) = (&rows[..count * class.rows.len()], &mut result[first..]);
                    tile::pair_product(source, panel, result, rows, columns, runs, Store::Overwrite);
                }
            }
        });
    });
}

/// How pairs of pixels lie in memory for the gradient of the weights.
struct Grid<'a> {
    shape: &'a ConvShape,
    /// Height and width of an image with its border; wide enough for the second pixel of the last pair.
    full: (usize, usize),
    /// Pairs of a row of outputs; an odd row's last pixel is paired with zeros.
    across: usize,
}

impl<'a> Grid<'a> {
    fn of(shape: &'a ConvShape) -> Self {
        let across = shape.out_w().div_ceil(2);
        let reach = (2 * across - 1) * shape.stride + shape.kernel;
        let border = 2 * shape.padding;
        Self {
            shape,
            full: (shape.h + border, reach.max(shape.w + border)),
            across,
        }
    }

    /// Pairs of all images: `[n][height][width][c_in]`.
    fn x_len(&self) -> usize {
        self.shape.n * self.x_image()
    }

    fn x_image(&self) -> usize {
        self.full.0 * self.full.1 * self.shape.c_in
    }

    /// Pairs of all images: `[n][height][pairs][c_out]`.
    fn dy_len(&self) -> usize {
        self.shape.n * self.dy_image()
    }

    fn dy_image(&self) -> usize {
        self.shape.out_h() * self.across * self.shape.c_out
    }

    /// Each pixel beside that which is a stride further to the right.
    fn pair_x(&self, x: &[f32], pairs: &mut [u32]) {
        let ConvShape {
            h,
            w,
            c_in,
            stride,
            padding,
            ..
        } = *self.shape;
        let (line, wide, ahead) = (w * c_in, self.full.1 * c_in, stride * c_in);
        let images = pairs.par_chunks_mut(self.x_image()).zip(x.par_chunks(h * line));
        images.for_each(|(pairs, x)| {
            scratch::with(wide + ahead, |bordered| {
                bordered.fill(0.0);
                let (first, last) = pairs.split_at_mut(padding * wide);
                let (inside, below) = last.split_at_mut(h * wide);
                first.fill(0);
                below.fill(0);
                for (pairs, x) in inside.chunks_exact_mut(wide).zip(x.chunks_exact(line)) {
                    bordered[padding * c_in..][..line].copy_from_slice(x);
                    bf16::pairs(&bordered[..wide], &bordered[ahead..], pairs);
                }
            });
        });
    }

    /// Outputs two by two.
    fn pair_dy(&self, dy: &[f32], pairs: &mut [u32]) {
        let c_out = self.shape.c_out;
        let rows = pairs
            .par_chunks_mut(self.across * c_out)
            .zip(dy.par_chunks(self.shape.out_w() * c_out));
        rows.for_each(|(pairs, dy)| bf16::row_pairs(dy, c_out, pairs));
    }

    /// Adds the products of all pairs, tap by tap, in groups of images.
    fn add(&self, x: &[u16], dy: &[u32], dweight: &mut [f32]) {
        let ConvShape {
            n,
            c_in,
            c_out,
            kernel,
            groups,
            ..
        } = *self.shape;
        let (cin_g, cout_g) = (c_in / groups, c_out / groups);
        let rows: Vec<Row> = (0..kernel * kernel * cin_g)
            .map(|row| {
                let (tap, ci) = (row / cin_g, row % cin_g);
                let pixel = tap / kernel * self.full.1 + tap % kernel;
                Row {
                    a: 2 * (pixel * c_in + ci),
                    c: row * c_out,
                }
            })
            .collect();
        let most = at_once(self.shape);
        let all_runs: Vec<Runs> = (1..=most).map(|count| self.runs(count)).collect();
        let (image_groups, part) = division(self.shape);
        by_groups(n, image_groups, part, dweight, |images, place, sums| {
            let first = place / c_out;
            let shift = |row: &Row| Row {
                c: row.c - place,
                ..*row
            };
            let rows: Vec<Row> = rows[first..first + sums.len() / c_out].iter().map(shift).collect();
            for from in images.clone().step_by(most) {
                let count = most.min(images.end - from);
                let x = &x[2 * from * self.x_image()..][..2 * count * self.x_image()];
                let dy = &dy[from * self.dy_image()..][..count * self.dy_image()];
                for group in 0..groups {
                    let (x, dy) = (&x[2 * group * cin_g..], &dy[group * cout_g..]);
                    let (sums, runs) = (&mut sums[group * cout_g..], &all_runs[count - 1]);
                    tile::pair_product(x, dy, sums, &rows, cout_g, runs, Store::Add);
                }
            }
        });
    }

    /// The pairs of some images.
    fn runs(&self, images: usize) -> Runs {
        let ConvShape {
            c_in, c_out, stride, ..
        } = *self.shape;
        let mut runs = Runs::default();
        for image in 0..images {
            for oy in 0..self.shape.out_h() {
                runs.push(Run {
                    a: 2 * (image * self.x_image() + oy * stride * self.full.1 * c_in),
                    a_step: 4 * stride * c_in,
                    b: image * self.dy_image() + oy * self.across * c_out,
                    b_step: c_out,
                    len: self.across,
                });
            }
        }
        runs
    }
}
