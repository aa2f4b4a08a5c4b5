//! The kernels as a [`Device`]: buffers are placed in its memory, and its first failure is kept.

use std::sync::Arc;

use super::driver::{Driver, Gpu};
use super::kernels::{AdamTensor, Kernels, Normalised, Precision, Update as Moved};
use super::launcher::{Done, Launcher};
use super::memory::Block;
use super::placed::{Placed, Shared, block};
use crate::device::{AdamUpdate, Device, DeviceError, LossValue, Memory, Norm, Running, Update};
use crate::kernels::attention::AttentionShape;
use crate::kernels::conv::ConvShape;
use crate::kernels::pool::PoolShape;
use crate::layers::{Buffer, MapShape};
use crate::losses::{
    LossError, VicregWeights, check_barlow_twins, check_info_nce, check_nt_xent, check_targets, check_vicreg,
};

/// Raised with every change of the kernels that changes bits.
const KERNELS: u32 = 2;

/// What a GPU will be once it is opened: see [`Device::identity`].
pub fn identity(gpu: &Gpu, precision: Precision) -> String {
    named(&architecture(gpu), precision)
}

fn architecture(gpu: &Gpu) -> String {
    gpu.code.map_or_else(String::new, |code| code.to_string())
}

fn named(architecture: &str, precision: Precision) -> String {
    let precision = match precision {
        Precision::Tf32 => "tf32",
        Precision::Fp32 => "fp32",
        Precision::Bf16 => "bf16",
    };
    format!("cuda {architecture} {precision} k{KERNELS}")
}

/// A CUDA device.
#[derive(Debug)]
pub struct Cuda {
    shared: Arc<Shared>,
    identity: String,
}

impl Cuda {
    /// Opens a GPU.
    ///
    /// # Errors
    /// If it is too old for the kernels, or the driver's.
    pub fn open(gpu: &Gpu, precision: Precision) -> Done<Self> {
        Ok(Self::on(Arc::new(Driver::open(gpu)?), &architecture(gpu), precision))
    }

    /// A device of an architecture such as `sm_90`, on what runs its kernels.
    pub fn on(launcher: Arc<dyn Launcher>, architecture: &str, precision: Precision) -> Self {
        Self {
            shared: Arc::new(Shared::new(Kernels::new(launcher, precision))),
            identity: named(architecture, precision),
        }
    }

    /// Its memory of values that are read.
    fn of<'a>(&self, buffer: &'a Buffer) -> Option<&'a Block> {
        block(buffer.on(self))
    }

    /// Its memory of values that are changed.
    fn with<'a>(&self, buffer: &'a mut Buffer) -> Option<&'a Block> {
        block(buffer.on_mut(self))
    }

    /// Its memory for values that are overwritten.
    fn out<'a>(&self, buffer: &'a mut Buffer) -> Option<&'a Block> {
        block(buffer.out_on(self))
    }

    /// Runs kernels on memory; nothing if some could not be had.
    fn run<const N: usize>(&self, blocks: [Option<&Block>; N], work: impl FnOnce(&Kernels, [&Block; N]) -> Done) {
        if let Some(blocks) = all(blocks) {
            self.shared.done(|kernels| work(kernels, blocks));
        }
    }
}

/// All of them, if none is missing.
fn all<const N: usize>(blocks: [Option<&Block>; N]) -> Option<[&Block; N]> {
    let there = blocks.iter().all(Option::is_some);
    there.then(|| blocks.map(|block| block.expect("BUG: it is there")))
}

fn sizes(map: MapShape) -> (usize, usize, usize) {
    (map.h, map.w, map.c)
}

impl Device for Cuda {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        Box::new(Placed::new(len, &self.shared))
    }

    fn most_memory(&self) -> Option<usize> {
        Some(self.shared.kernels.most_memory())
    }

    fn check(&self) -> Result<(), DeviceError> {
        self.shared.failure().map_or(Ok(()), Err)
    }

    fn conv_forward(&self, shape: &ConvShape, x: &Buffer, weight: &Buffer, bias: Option<&Buffer>, y: &mut Buffer) {
        let bias = bias.and_then(|bias| self.of(bias));
        let blocks = [self.of(x), self.of(weight), self.out(y)];
        self.run(blocks, |k, [x, weight, y]| k.conv_forward(shape, x, weight, bias, y));
    }

    fn conv_backward_input(&self, shape: &ConvShape, dy: &Buffer, weight: &Buffer, dx: &mut Buffer) {
        let blocks = [self.of(dy), self.of(weight), self.out(dx)];
        self.run(blocks, |k, [dy, weight, dx]| {
            k.conv_backward_input(shape, dy, weight, dx)
        });
    }

    fn conv_backward_weight(
        &self,
        shape: &ConvShape,
        x: &Buffer,
        dy: &Buffer,
        dweight: &mut Buffer,
        dbias: Option<&mut Buffer>,
    ) {
        let dbias = dbias.and_then(|dbias| self.with(dbias));
        let blocks = [self.of(x), self.of(dy), self.with(dweight)];
        self.run(blocks, |k, [x, dy, dweight]| {
            k.conv_backward_weight(shape, x, dy, dweight, dbias)
        });
    }

    fn batch_statistics(
        &self,
        x: &Buffer,
        eps: f32,
        mean: &mut Buffer,
        inverse_std: &mut Buffer,
        running: Running<'_>,
    ) {
        let share = running.share;
        let blocks = [
            self.of(x),
            self.out(mean),
            self.out(inverse_std),
            self.with(running.mean),
            self.with(running.variance),
        ];
        self.run(blocks, |k, [x, mean, inverse_std, running_mean, running_variance]| {
            let running = Some(([running_mean, running_variance], share));
            k.batch_statistics(x, eps, [mean, inverse_std], running)
        });
    }

    fn inverse_std(&self, variance: &Buffer, eps: f32, inverse: &mut Buffer) {
        let blocks = [self.of(variance), self.out(inverse)];
        self.run(blocks, |k, [variance, inverse]| k.inverse_std(variance, eps, inverse));
    }

    fn follow(&self, to: &mut Buffer, from: &Buffer, factor: f32, share: f32) {
        self.run([self.with(to), self.of(from)], |k, [to, from]| {
            k.follow(to, from, factor, share)
        });
    }

    fn average(&self, to: &mut Buffer, from: &Buffer, keep: f32) {
        if keep == 0.0 {
            // To the last bit, whatever was there before.
            self.run([self.out(to), self.of(from)], |k, [to, from]| {
                k.launcher().copy(from, to)
            });
        } else {
            self.follow(to, from, 1.0, 1.0 - keep);
        }
    }

    fn normalise(&self, norm: &Norm<'_>, y: &mut Buffer) {
        let blocks = [norm.x, norm.mean, norm.inverse_std, norm.weight, norm.bias].map(|buffer| self.of(buffer));
        let [x, mean, inverse_std, weight, bias] = blocks;
        self.run(
            [x, mean, inverse_std, weight, bias, self.out(y)],
            |k, [x, mean, inverse_std, weight, bias, y]| {
                let relu = norm.relu;
                k.normalise(
                    &Normalised {
                        x,
                        mean,
                        inverse_std,
                        weight,
                        bias,
                        relu,
                    },
                    y,
                )
            },
        );
    }

    fn normalise_backward(
        &self,
        norm: &Norm<'_>,
        batch_statistics: bool,
        dy: &mut Buffer,
        dweight: &mut Buffer,
        dbias: &mut Buffer,
    ) {
        let blocks = [norm.x, norm.mean, norm.inverse_std, norm.weight, norm.bias].map(|buffer| self.of(buffer));
        let [x, mean, inverse_std, weight, bias] = blocks;
        let blocks = [
            x,
            mean,
            inverse_std,
            weight,
            bias,
            self.with(dy),
            self.with(dweight),
            self.with(dbias),
        ];
        self.run(blocks, |k, [x, mean, inverse_std, weight, bias, dy, dweight, dbias]| {
            let relu = norm.relu;
            let norm = Normalised {
                x,
                mean,
                inverse_std,
                weight,
                bias,
                relu,
            };
            k.normalise_backward(&norm, batch_statistics, dy, dweight, dbias)
        });
    }

    fn layer_norm(&self, x: &Buffer, weight: &Buffer, bias: &Buffer, eps: f32, y: &mut Buffer, moments: &mut Buffer) {
        let blocks = [
            self.of(x),
            self.of(weight),
            self.of(bias),
            self.out(y),
            self.out(moments),
        ];
        self.run(blocks, |k, [x, weight, bias, y, moments]| {
            k.layer_norm(x, weight, bias, eps, y, moments)
        });
    }

    fn layer_norm_backward(
        &self,
        x: &Buffer,
        moments: &Buffer,
        weight: &Buffer,
        dy: &mut Buffer,
        dweight: &mut Buffer,
        dbias: &mut Buffer,
    ) {
        let read = [x, moments, weight].map(|buffer| self.of(buffer));
        let [x, moments, weight] = read;
        let blocks = [x, moments, weight, self.with(dy), self.with(dweight), self.with(dbias)];
        self.run(blocks, |k, [x, moments, weight, dy, dweight, dbias]| {
            k.layer_norm_backward(x, moments, weight, dy, dweight, dbias)
        });
    }

    fn gelu(&self, x: &mut Buffer) {
        self.run([self.with(x)], |k, [x]| k.gelu(x, x, false));
    }

    fn gelu_with_derivative(&self, x: &mut Buffer, y: &mut Buffer) {
        self.run([self.with(x), self.out(y)], |k, [x, y]| k.gelu(x, y, true));
    }

    fn multiply(&self, to: &mut Buffer, other: &Buffer) {
        self.run([self.with(to), self.of(other)], |k, [to, other]| k.multiply(to, other));
    }

    fn relu(&self, x: &mut Buffer) {
        self.run([self.with(x)], |k, [x]| k.relu(x));
    }

    fn relu_backward(&self, dy: &mut Buffer, y: &Buffer) {
        self.leaky_relu_backward(0.0, dy, y);
    }

    fn leaky_relu(&self, slope: f32, x: &mut Buffer) {
        self.run([self.with(x)], |k, [x]| k.leaky_relu(slope, x));
    }

    fn leaky_relu_backward(&self, slope: f32, dy: &mut Buffer, y: &Buffer) {
        self.run([self.with(dy), self.of(y)], |k, [dy, y]| k.relu_backward(slope, dy, y));
    }

    fn add(&self, to: &mut Buffer, other: &Buffer) {
        self.run([self.with(to), self.of(other)], |k, [to, other]| k.add(to, other));
    }

    fn add_relu(&self, to: &mut Buffer, other: &Buffer) {
        self.run([self.with(to), self.of(other)], |k, [to, other]| k.add_relu(to, other));
    }

    fn fill(&self, to: &mut Buffer, value: f32) {
        self.run([self.out(to)], |k, [to]| k.fill(to, value));
    }

    fn scale_parts(&self, x: &mut Buffer, factors: &Buffer) {
        self.run([self.with(x), self.of(factors)], |k, [x, factors]| {
            k.scale_parts(x, factors)
        });
    }

    fn max_pool(&self, shape: &PoolShape, x: &Buffer, y: &mut Buffer, chosen: &mut Buffer) {
        let blocks = [self.of(x), self.out(y), self.out(chosen)];
        self.run(blocks, |k, [x, y, chosen]| k.max_pool(shape, x, y, chosen));
    }

    fn max_pool_backward(&self, shape: &PoolShape, dy: &Buffer, chosen: &Buffer, dx: &mut Buffer) {
        let blocks = [self.of(dy), self.of(chosen), self.out(dx)];
        self.run(blocks, |k, [dy, chosen, dx]| k.max_pool_backward(shape, dy, chosen, dx));
    }

    fn grid_pool(&self, input: MapShape, grid: usize, x: &Buffer, y: &mut Buffer) {
        self.run([self.of(x), self.out(y)], |k, [x, y]| {
            k.grid_pool(sizes(input), grid, x, y)
        });
    }

    fn grid_pool_backward(&self, input: MapShape, grid: usize, dy: &Buffer, dx: &mut Buffer) {
        self.run([self.of(dy), self.out(dx)], |k, [dy, dx]| {
            k.grid_pool_backward(sizes(input), grid, dy, dx)
        });
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        qkv: &Buffer,
        lengths: Option<&[usize]>,
        weights: &mut Buffer,
        out: &mut Buffer,
    ) {
        let blocks = [self.of(qkv), self.out(weights), self.out(out)];
        self.run(blocks, |k, [qkv, weights, out]| {
            k.attention(shape, qkv, lengths, weights, out)
        });
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        qkv: &Buffer,
        weights: &Buffer,
        lengths: Option<&[usize]>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) {
        let blocks = [self.of(qkv), self.of(weights), self.of(dout), self.out(dqkv)];
        self.run(blocks, |k, [qkv, weights, dout, dqkv]| {
            k.attention_backward(shape, qkv, weights, lengths, dout, dqkv)
        });
    }

    fn upsample(&self, input: MapShape, factor: usize, x: &Buffer, y: &mut Buffer) {
        self.run([self.of(x), self.out(y)], |k, [x, y]| {
            k.upsample(sizes(input), factor, x, y)
        });
    }

    fn upsample_backward(&self, input: MapShape, factor: usize, dy: &Buffer, dx: &mut Buffer) {
        self.run([self.of(dy), self.out(dx)], |k, [dy, dx]| {
            k.upsample_backward(sizes(input), factor, dy, dx)
        });
    }

    fn gather_rows(&self, dim: usize, from: &Buffer, index: &[usize], to: &mut Buffer) {
        self.run([self.of(from), self.out(to)], |k, [from, to]| {
            k.gather_rows(dim, from, index, to)
        });
    }

    fn scatter_rows(&self, dim: usize, from: &Buffer, index: &[usize], to: &mut Buffer) {
        self.run([self.of(from), self.with(to)], |k, [from, to]| {
            k.scatter_rows(dim, from, index, to)
        });
    }

    fn nt_xent(&self, dim: usize, z: &Buffer, temperature: f32) -> Result<(LossValue, Buffer), LossError> {
        check_nt_xent(z.len() / dim, temperature)?;
        let (loss, [gradient]) = self.loss_of([z], [], |k, [z], [], [gradient], loss| {
            k.nt_xent(dim, z, temperature, gradient, loss)
        });
        Ok((loss, gradient))
    }

    fn info_nce(
        &self,
        dim: usize,
        queries: &Buffer,
        [keys, negatives]: [&[f32]; 2],
        temperature: f32,
    ) -> Result<(LossValue, Buffer), LossError> {
        check_info_nce((queries.len() / dim, dim), [keys, negatives], temperature)?;
        let others = [keys, negatives].map(|rows| Buffer::from(rows.to_vec()));
        let others = others.each_ref();
        let (loss, [gradient]) = self.loss_of(
            [queries],
            others,
            |k, [queries], [keys, negatives], [gradient], loss| {
                k.info_nce(dim, [queries, keys, negatives], temperature, gradient, loss)
            },
        );
        Ok((loss, gradient))
    }

    fn barlow_twins(
        &self,
        dim: usize,
        views: [&Buffer; 2],
        lambda: f32,
    ) -> Result<(LossValue, [Buffer; 2]), LossError> {
        let [a, b] = views.map(|view| (view.len() / dim, dim));
        check_barlow_twins(b, a)?;
        Ok(self.loss_of(views, [], |k, views, [], gradients, loss| {
            k.barlow_twins(dim, views, lambda, gradients, loss)
        }))
    }

    fn vicreg(
        &self,
        dim: usize,
        views: [&Buffer; 2],
        weights: VicregWeights,
    ) -> Result<(LossValue, [Buffer; 2]), LossError> {
        let [a, b] = views.map(|view| (view.len() / dim, dim));
        check_vicreg(b, a)?;
        Ok(self.loss_of(views, [], |k, views, [], gradients, loss| {
            k.vicreg(dim, views, weights, gradients, loss)
        }))
    }

    fn cross_entropy(
        &self,
        classes: usize,
        logits: &Buffer,
        targets: &[f32],
    ) -> Result<(LossValue, Buffer), LossError> {
        check_targets(targets, (logits.len() / classes, classes))?;
        let targets = Buffer::from(targets.to_vec());
        let (loss, [gradient]) = self.loss_of([logits], [&targets], |k, [logits], [targets], [gradient], loss| {
            k.cross_entropy(classes, logits, targets, gradient, loss)
        });
        Ok((loss, gradient))
    }

    fn sgd(&self, updates: &mut [Update<'_>], momentum: f32, nesterov: bool) {
        let moved: Option<Vec<Moved<'_>>> = updates.iter_mut().map(|update| self.moved(update)).collect();
        if let Some(moved) = moved {
            self.shared.done(|kernels| kernels.sgd(&moved, momentum, nesterov));
        }
    }

    fn adam(&self, updates: &mut [AdamUpdate<'_>], betas: [f32; 2], eps: f32) {
        let mut tensors = Vec::with_capacity(updates.len());
        for u in updates {
            let [first, second] = &mut u.moments;
            let blocks = (
                self.with(u.value),
                self.with(u.grad),
                self.with(first),
                self.with(second),
            );
            let (Some(value), Some(grad), Some(first), Some(second)) = blocks else {
                return;
            };
            tensors.push(AdamTensor {
                value,
                grad,
                moments: [first, second],
                rate: u.rate,
                correction: u.correction,
                penalty: u.penalty,
                kept: u.kept,
            });
        }
        self.shared.done(|kernels| kernels.adam(&tensors, betas, eps));
    }

    fn lars(&self, updates: &mut [Update<'_>], momentum: f32, eta: f32) {
        let moved: Option<Vec<Moved<'_>>> = updates.iter_mut().map(|update| self.moved(update)).collect();
        if let Some(moved) = moved {
            self.shared.done(|kernels| kernels.lars(&moved, momentum, eta));
        }
    }
}

impl Cuda {
    /// The value of a loss and its gradients by each of `of`, which is computed `with` others too; NaN if the device failed. `work` gets both, and
    /// the gradients and the value to be overwritten.
    fn loss_of<const N: usize, const M: usize>(
        &self,
        of: [&Buffer; N],
        with: [&Buffer; M],
        work: impl FnOnce(&Kernels, [&Block; N], [&Block; M], [&Block; N], &Block) -> Done,
    ) -> (LossValue, [Buffer; N]) {
        let (mut gradients, mut value) = (of.map(|of| Buffer::unset(of.len())), Buffer::unset(1));
        let (inputs, others) = (all(of.map(|of| self.of(of))), all(with.map(|with| self.of(with))));
        let outputs = (
            all(gradients.each_mut().map(|gradient| self.out(gradient))),
            self.out(&mut value),
        );
        if let (Some(inputs), Some(others), (Some(gradients), Some(value))) = (inputs, others, outputs) {
            self.shared
                .done(|kernels| work(kernels, inputs, others, gradients, value));
        }
        (LossValue::of(value), gradients)
    }

    fn moved<'a>(&self, update: &'a mut Update<'_>) -> Option<Moved<'a>> {
        Some(Moved {
            value: self.with(update.value)?,
            grad: self.with(update.grad)?,
            velocity: self.with(update.velocity)?,
            lr: update.lr,
            decay: update.decay,
            adapted: update.adapted,
        })
    }
}
