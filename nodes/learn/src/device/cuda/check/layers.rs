//! Normalisations, activations, pooling, rows.

use super::{Check, Done, EXACT, Start};
use crate::device::cuda::kernels::{Kernels, Normalised};
use crate::device::cuda::memory::Block;
use crate::device::{Cpu, Device, Running};
use crate::kernels::norm::{self, Applied};
use crate::kernels::pool::{self, PoolShape};
use crate::kernels::{elementwise, gelu, layer_norm};
use crate::layers::Buffer;

/// What changes values in place by others: its name, the CPU's version, the device's.
type Change = (
    &'static str,
    fn(&mut [f32], &[f32]),
    fn(&Kernels, &Block, &Block) -> Done,
);

impl Check<'_> {
    pub(super) fn elementwise(&mut self) -> Done {
        let len = self.between(1, self.larger(3000, 100));
        let (a, b) = (self.values(len), self.values(len));
        let changes: [Change; 7] = [
            ("relu", |a, _| elementwise::relu(a), |k, a, _| k.relu(a)),
            ("add", elementwise::add, Kernels::add),
            ("add_relu", elementwise::add_relu, Kernels::add_relu),
            ("multiply", gelu::backward, Kernels::multiply),
            ("relu_backward", elementwise::relu_backward, |k, a, b| {
                k.relu_backward(0.0, a, b)
            }),
            (
                "follow",
                |a, b| a.iter_mut().zip(b).for_each(|(a, b)| *a += 0.3 * (b * 1.5 - *a)),
                |k, a, b| k.follow(a, b, 1.5, 0.3),
            ),
            (
                "scale",
                |a, _| a.iter_mut().for_each(|a| *a *= -0.7),
                |k, a, _| k.scale(a, -0.7),
            ),
        ];
        for (name, host, device) in changes {
            let mut expected = a.clone();
            host(&mut expected, &b);
            let starts = [Start::Values(&a)];
            self.case(
                (name, format!("{len} values")),
                EXACT,
                (&[&b], &starts),
                &[&expected],
                &|k, i, o| device(k, &o[0], &i[0]),
            )?;
        }
        let filled = vec![0.25; len];
        let starts = [Start::Poison(len)];
        self.case(
            ("fill", format!("{len} values")),
            0.0,
            (&[], &starts),
            &[&filled],
            &|k, _, o| k.fill(&o[0], 0.25),
        )?;
        self.leaky(&a, &b)?;
        self.gelu(&a)?;
        let (parts, each) = (self.between(1, 9), self.between(1, 50));
        let (values, factors) = (self.values(parts * each), self.values(parts));
        let expected: Vec<f32> = values.iter().enumerate().map(|(i, v)| v * factors[i / each]).collect();
        let starts = [Start::Values(&values)];
        let named = ("scale_parts", format!("{parts} parts of {each}"));
        self.case(named, EXACT, (&[&factors], &starts), &[&expected], &|k, i, o| {
            k.scale_parts(&o[0], &i[0])
        })
    }

    fn leaky(&mut self, a: &[f32], b: &[f32]) -> Done {
        let forward: Vec<f32> = a.iter().map(|v| v.max(0.2 * v)).collect();
        let backward: Vec<f32> = a
            .iter()
            .zip(b)
            .map(|(a, b)| a * if *b > 0.0 { 1.0 } else { 0.2 })
            .collect();
        let (case, starts) = (format!("{} values", a.len()), [Start::Values(a)]);
        let named = ("leaky_relu", case.clone());
        self.case(named, EXACT, (&[], &starts), &[&forward], &|k, _, o| {
            k.leaky_relu(0.2, &o[0])
        })?;
        let named = ("leaky_relu_backward", case);
        self.case(named, EXACT, (&[b], &starts), &[&backward], &|k, i, o| {
            k.relu_backward(0.2, &o[0], &i[0])
        })
    }

    fn gelu(&mut self, x: &[f32]) -> Done {
        let (mut derivative, mut y) = (x.to_vec(), vec![0.0; x.len()]);
        gelu::forward_with_derivative(&mut derivative, &mut y);
        let starts = [Start::Values(x), Start::Poison(x.len())];
        let named = ("gelu", format!("{} values", x.len()));
        self.case(named, EXACT, (&[], &starts), &[&derivative, &y], &|k, _, o| {
            k.gelu(&o[0], &o[1], true)
        })
    }

    pub(super) fn batch_norm(&mut self) -> Done {
        for (relu, batch) in [(false, true), (true, true), (true, false)] {
            let (rows, channels) = (self.between(1, self.larger(700, 20)), self.one_of(&[1, 3, 16, 33, 64]));
            let mut x = self.values(rows * channels);
            // Means far from zero are what loses digits.
            x.iter_mut().for_each(|v| *v += 10.0);
            let case = format!("{rows} x {channels}, ReLU {relu}, the batch's statistics {batch}");
            let mean = self.statistics(&x, channels, &case)?;
            self.normalisation(&x, &mean, case, relu, batch)?;
        }
        Ok(())
    }

    /// The means of the columns.
    fn statistics(&mut self, x: &[f32], channels: usize, case: &str) -> Done<Vec<f32>> {
        let [running_mean, running_variance] = [self.values(channels), self.positive(channels)];
        let [mut mean, mut inverse] = [0, 1].map(|_| Buffer::from(vec![f32::NAN; channels]));
        let mut moved = [&running_mean, &running_variance].map(|values| Buffer::from(values.clone()));
        let [to_mean, to_variance] = &mut moved;
        let running = Running {
            mean: to_mean,
            variance: to_variance,
            share: 0.1,
        };
        Cpu.batch_statistics(&x.to_vec().into(), 1e-5, &mut mean, &mut inverse, running);
        let starts = [
            Start::Poison(channels),
            Start::Poison(channels),
            Start::Values(&running_mean),
            Start::Values(&running_variance),
        ];
        let expected: [&[f32]; 4] = [&mean, &inverse, &moved[0], &moved[1]];
        self.case(
            ("batch_statistics", case.to_owned()),
            EXACT,
            (&[x], &starts),
            &expected,
            &|k, i, o| k.batch_statistics(&i[0], 1e-5, [&o[0], &o[1]], Some(([&o[2], &o[3]], 0.1))),
        )?;
        Ok(mean.to_vec())
    }

    fn normalisation(&mut self, x: &[f32], mean: &[f32], case: String, relu: bool, batch: bool) -> Done {
        let (channels, len) = (mean.len(), x.len());
        let [weight, bias, dweight, dbias, dy] =
            [channels, channels, channels, channels, len].map(|len| self.values(len));
        let inverse_std = self.positive(channels);
        let applied = Applied {
            x,
            mean,
            inverse_std: &inverse_std,
            weight: &weight,
            bias: &bias,
            relu,
        };
        let scale: Vec<f32> = weight.iter().zip(&inverse_std).map(|(w, s)| w * s).collect();
        let shift: Vec<f32> = (0..channels).map(|c| bias[c] - mean[c] * scale[c]).collect();
        let mut y = vec![0.0; len];
        norm::scale_shift(x, &scale, &shift, relu, &mut y);
        let (mut dx, mut dw, mut db) = (dy.clone(), dweight.clone(), dbias.clone());
        norm::backward(&applied, batch, &mut dx, &mut dw, &mut db);
        let inputs: [&[f32]; 5] = [x, mean, &inverse_std, &weight, &bias];
        let starts = [Start::Poison(len)];
        self.case(
            ("normalise", case.clone()),
            EXACT,
            (&inputs, &starts),
            &[&y],
            &|k, i, o| k.normalise(&normalised(i, relu), &o[0]),
        )?;
        let starts = [Start::Values(&dy), Start::Values(&dweight), Start::Values(&dbias)];
        let named = ("normalise_backward", case);
        self.case(named, EXACT, (&inputs, &starts), &[&dx, &dw, &db], &|k, i, o| {
            k.normalise_backward(&normalised(i, relu), batch, &o[0], &o[1], &o[2])
        })?;
        let variance = self.positive(channels);
        let inverse: Vec<f32> = variance.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
        let named = ("inverse_std", format!("{channels} channels"));
        let starts = [Start::Poison(channels)];
        self.case(named, EXACT, (&[&variance], &starts), &[&inverse], &|k, i, o| {
            k.inverse_std(&i[0], 1e-5, &o[0])
        })
    }

    pub(super) fn layer_norm(&mut self) -> Done {
        let (rows, dim) = (self.between(1, self.larger(300, 20)), self.one_of(&[1, 7, 32, 100]));
        let [x, dy] = [rows * dim; 2].map(|len| self.values(len));
        let [weight, bias, dweight, dbias] = [dim; 4].map(|len| self.values(len));
        let mut y = vec![0.0; x.len()];
        let mut moments = vec![[0.0; 2]; rows];
        layer_norm::forward(&x, &weight, &bias, 1e-2, &mut y, &mut moments);
        let (mut dx, mut dw, mut db) = (dy.clone(), dweight.clone(), dbias.clone());
        layer_norm::backward(&x, &moments, &weight, &mut dx, &mut dw, &mut db);
        let moments = moments.concat();
        let case = format!("{rows} x {dim}");
        let starts = [Start::Poison(x.len()), Start::Poison(2 * rows)];
        let inputs: [&[f32]; 3] = [&x, &weight, &bias];
        self.case(
            ("layer_norm", case.clone()),
            EXACT,
            (&inputs, &starts),
            &[&y, &moments],
            &|k, i, o| k.layer_norm(&i[0], &i[1], &i[2], 1e-2, &o[0], &o[1]),
        )?;
        let starts = [Start::Values(&dy), Start::Values(&dweight), Start::Values(&dbias)];
        let inputs: [&[f32]; 3] = [&x, &moments, &weight];
        // With one value in a row its gradient is zero but for rounding.
        let expected: [&[f32]; 3] = [&dx, &dw, &db];
        let bound = if dim == 1 { f32::MAX } else { EXACT };
        self.case(
            ("layer_norm_backward", case),
            bound,
            (&inputs, &starts),
            &expected,
            &|k, i, o| k.layer_norm_backward(&i[0], &i[1], &i[2], &o[0], &o[1], &o[2]),
        )
    }

    pub(super) fn pools(&mut self) -> Done {
        let kernel = self.between(1, 3);
        let shape = PoolShape {
            h: self.between(kernel, self.larger(9, 4)),
            w: self.between(kernel, self.larger(9, 4)),
            c: self.one_of(&[1, 5, 40]),
            kernel,
            stride: self.between(1, 3),
            padding: self.between(0, kernel / 2),
        };
        let images = self.between(1, 3);
        let (inputs, outputs) = (
            images * shape.h * shape.w * shape.c,
            images * shape.out_h() * shape.out_w() * shape.c,
        );
        let (x, dy) = (self.values(inputs), self.values(outputs));
        let (mut y, mut chosen, mut dx) = (vec![0.0; outputs], vec![0u32; outputs], vec![0.0; inputs]);
        pool::max_forward(&shape, &x, &mut y, &mut chosen);
        pool::max_backward(&shape, &dy, &chosen, &mut dx);
        let case = format!("{images} x {shape:?}");
        let starts = [Start::Poison(outputs), Start::Poison(outputs), Start::Poison(inputs)];
        let chosen: Vec<f32> = chosen.iter().map(|c| f32::from_bits(*c)).collect();
        self.case(
            ("max_pool", case.clone()),
            0.0,
            (&[&x, &dy], &starts),
            &[&y, &chosen, &dx],
            &|k, i, o| {
                k.max_pool(&shape, &i[0], &o[0], &o[1])?;
                k.max_pool_backward(&shape, &i[1], &o[1], &o[2])
            },
        )?;
        pool::average_forward(&shape, &x, &mut y);
        pool::average_backward(&shape, &dy, &mut dx);
        let starts = [Start::Poison(outputs), Start::Poison(inputs)];
        self.case(
            ("average_pool", case),
            EXACT,
            (&[&x, &dy], &starts),
            &[&y, &dx],
            &|k, i, o| {
                k.average_pool(&shape, &i[0], &o[0])?;
                k.average_pool_backward(&shape, &i[1], &o[1])
            },
        )?;
        let (grid, hwc) = (self.between(1, shape.h.min(shape.w)), (shape.h, shape.w, shape.c));
        let dy = self.values(images * grid * grid * shape.c);
        let mut y = vec![0.0; dy.len()];
        pool::grid_forward(hwc, grid, &x, &mut y);
        pool::grid_backward(hwc, grid, &dy, &mut dx);
        let starts = [Start::Poison(dy.len()), Start::Poison(inputs)];
        let named = ("grid_pool", format!("{images} x {hwc:?} to {grid}"));
        self.case(named, EXACT, (&[&x, &dy], &starts), &[&y, &dx], &|k, i, o| {
            k.grid_pool(hwc, grid, &i[0], &o[0])?;
            k.grid_pool_backward(hwc, grid, &i[1], &o[1])
        })
    }

    pub(super) fn rows(&mut self) -> Done {
        let (rows, dim, count) = (self.between(1, 20), self.between(1, 40), self.between(1, 50));
        let index: Vec<usize> = (0..count).map(|_| self.stream.below(rows)).collect();
        let (matrix, picked) = (self.values(rows * dim), self.values(count * dim));
        let gathered: Vec<f32> = index.iter().flat_map(|i| matrix[i * dim..][..dim].to_vec()).collect();
        let mut scattered = matrix.clone();
        for (row, from) in index.iter().zip(picked.chunks_exact(dim)) {
            scattered[row * dim..][..dim]
                .iter_mut()
                .zip(from)
                .for_each(|(s, f)| *s += f);
        }
        let starts = [Start::Poison(gathered.len()), Start::Values(&matrix)];
        let named = ("gather_rows, scatter_rows", format!("{count} of {rows} x {dim}"));
        self.case(
            named,
            EXACT,
            (&[&matrix, &picked], &starts),
            &[&gathered, &scattered],
            &|k, i, o| {
                k.gather_rows(dim, &i[0], &index, &o[0])?;
                k.scatter_rows(dim, &i[1], &index, &o[1])
            },
        )?;
        let (n, hwc, factor) = (
            self.between(1, 2),
            (self.between(1, 5), self.between(1, 5), self.between(1, 5)),
            self.between(1, 3),
        );
        let (h, w, c) = hwc;
        let x = self.values(n * h * w * c);
        let dy = self.values(x.len() * factor * factor);
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        for (at, place) in (0..y.len()).map(|at| {
            (
                at,
                (at / c / (w * factor) / factor, at / c % (w * factor) / factor, at % c),
            )
        }) {
            let (row, column, channel) = place;
            // Rows of all images are one after the other, and so are those that they become.
            y[at] = x[(row * w + column) * c + channel];
            dx[(row * w + column) * c + channel] += dy[at];
        }
        let starts = [Start::Poison(y.len()), Start::Poison(x.len())];
        self.case(
            ("upsample", format!("{n} x {hwc:?} by {factor}")),
            EXACT,
            (&[&x, &dy], &starts),
            &[&y, &dx],
            &|k, i, o| {
                k.upsample(hwc, factor, &i[0], &o[0])?;
                k.upsample_backward(hwc, factor, &i[1], &o[1])
            },
        )
    }
}

/// The blocks of a normalisation, in their order.
fn normalised(blocks: &[Block], relu: bool) -> Normalised<'_> {
    Normalised {
        x: &blocks[0],
        mean: &blocks[1],
        inverse_std: &blocks[2],
        weight: &blocks[3],
        bias: &blocks[4],
        relu,
    }
}
