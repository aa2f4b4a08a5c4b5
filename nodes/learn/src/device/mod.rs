//! Where kernels run. A device is given buffers and carries what it needs itself; no network, loss or method names one.
//!
//! Every operation has a default that runs on the host, through [`Device::read`] and its two companions: it is what the CPU does,
//! and what a device falls back to for an operation of its own that is missing. Values are then downloaded and uploaded, so that
//! the result is right, and slow.

mod bf16;
pub mod cuda;
mod error;
mod host;
mod mock;
mod steps;

use std::any::Any;
use std::fmt::Debug;

use pulp::bytemuck;

pub use bf16::CpuBf16;
pub use error::DeviceError;
pub use mock::{Mock, Traffic};
pub use steps::{AdamUpdate, Update};

use crate::kernels::attention::{self, AttentionShape};
use crate::kernels::conv::{self, ConvShape};
use crate::kernels::norm::{self, Applied};
use crate::kernels::pool::{self, PoolShape};
use crate::kernels::{elementwise, gelu, layer_norm};
use crate::layers::{Buffer, MapShape};
use crate::losses::{self, LossError, VicregWeights};

/// Some memory of a device.
pub trait Memory: Any + Send + Sync + Debug {
    /// Overwrites it with as many values of the host.
    fn upload(&mut self, from: &[f32]);
    /// Overwrites as many values of the host, when all that was asked of the device before is done. After a failure they are NaN.
    fn download(&self, to: &mut [f32]);
    /// Begins to bring the values to the host, behind all that was asked of the device before; nothing if they can only be waited for.
    fn begin_download(&self) -> Option<Box<dyn Arriving>> {
        None
    }
    /// A copy on the device.
    fn duplicate(&self) -> Box<dyn Memory>;
}

/// Values on their way to the host. What was asked of the device behind them need not be done when they are there.
pub trait Arriving: Send + Sync + Debug {
    /// Waits for them, and overwrites as many values of the host. After a failure they are NaN.
    fn arrive(self: Box<Self>, to: &mut [f32]);
}

/// The value of a loss, which a device may still be about to compute: it is waited for when it is looked at.
#[derive(Clone, Debug)]
pub struct LossValue(Buffer);

impl LossValue {
    /// Of one value, that a device computes.
    fn of(value: Buffer) -> Self {
        value.fetch_ahead();
        Self(value)
    }

    /// The value.
    pub fn get(&self) -> f32 {
        self.0[0]
    }
}

impl From<f32> for LossValue {
    fn from(value: f32) -> Self {
        Self(vec![value].into())
    }
}

/// A batch norm as it is applied: `y = (x - mean) * inverse_std * weight + bias`, behind which ReLU may follow.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// The input, `[rows][channels]`.
    pub x: &'a Buffer,
    /// Mean that is subtracted, `[channels]`.
    pub mean: &'a Buffer,
    /// `1 / sqrt(variance + eps)`, `[channels]`.
    pub inverse_std: &'a Buffer,
    /// Gamma, `[channels]`.
    pub weight: &'a Buffer,
    /// Beta, `[channels]`.
    pub bias: &'a Buffer,
    /// Whether ReLU follows.
    pub relu: bool,
}

/// Statistics of all batches so far, which move towards those of each.
#[derive(Debug)]
pub struct Running<'a> {
    /// Means, `[channels]`.
    pub mean: &'a mut Buffer,
    /// Variances, `[channels]`.
    pub variance: &'a mut Buffer,
    /// How far they move.
    pub share: f32,
}

/// What runs kernels. Calls do not fail: a device keeps its first error for [`Device::check`] and does nothing afterwards.
///
/// Matrices are row by row and feature maps `[n][h][w][c]`. What an operation overwrites need not have contents before.
pub trait Device: Send + Sync + Debug {
    /// What decides its bits: `cpu`, or architecture and precision such as `cuda sm_90 tf32`; never a card's number or name.
    fn identity(&self) -> &str;

    /// Memory for `len` values with unspecified contents.
    fn allocate(&self, len: usize) -> Box<dyn Memory>;

    /// What went wrong first.
    ///
    /// # Errors
    /// If anything did since the device was opened.
    fn check(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The most bytes of its own memory that were allocated at a time, if it has any.
    fn most_memory(&self) -> Option<usize> {
        None
    }

    /// The values as the defaults read them.
    fn read<'a>(&self, buffer: &'a Buffer) -> &'a [f32] {
        buffer
    }

    /// The values as the defaults change them.
    fn change<'a>(&self, buffer: &'a mut Buffer) -> &'a mut [f32] {
        buffer
    }

    /// The values as the defaults overwrite them.
    fn overwrite<'a>(&self, buffer: &'a mut Buffer) -> &'a mut [f32] {
        buffer.overwrite()
    }

    /// Overwrites `y` with the convolution of `x`: see [`conv::forward`] for the shapes.
    fn conv_forward(&self, shape: &ConvShape, x: &Buffer, weight: &Buffer, bias: Option<&Buffer>, y: &mut Buffer) {
        let bias = bias.map(|bias| self.read(bias));
        conv::forward(shape, self.read(x), self.read(weight), bias, self.overwrite(y));
    }

    /// Overwrites `dx` with the gradient of a convolution's input.
    fn conv_backward_input(&self, shape: &ConvShape, dy: &Buffer, weight: &Buffer, dx: &mut Buffer) {
        conv::backward_input(shape, self.read(dy), self.read(weight), self.overwrite(dx));
    }

    /// Adds the gradients of a convolution's weight and bias to `dweight` and `dbias`.
    fn conv_backward_weight(
        &self,
        shape: &ConvShape,
        x: &Buffer,
        dy: &Buffer,
        dweight: &mut Buffer,
        dbias: Option<&mut Buffer>,
    ) {
        let dbias = dbias.map(|dbias| self.change(dbias));
        conv::backward_weight(shape, self.read(x), self.read(dy), self.change(dweight), dbias);
    }

    /// Adds to every row of `x`, `[rows][channels]`, as many values.
    fn add_row(&self, x: &mut Buffer, row: &Buffer) {
        host::add_row(self.change(x), self.read(row));
    }

    /// Adds the sum of the rows of `x`, `[rows][channels]`, to `sum`.
    fn add_rows_to(&self, x: &Buffer, sum: &mut Buffer) {
        host::add_rows_to(self.read(x), self.change(sum));
    }

    /// Overwrites the mean and `1 / sqrt(variance + eps)`, with the biased variance, of each column of `x`, `[rows][channels]`. The
    /// running statistics move towards mean and unbiased variance.
    fn batch_statistics(
        &self,
        x: &Buffer,
        eps: f32,
        mean: &mut Buffer,
        inverse_std: &mut Buffer,
        running: Running<'_>,
    ) {
        let moments = norm::moments(self.read(x), mean.len());
        self.overwrite(mean).copy_from_slice(&moments.mean);
        norm::inverse_std(&moments.variance, eps, self.overwrite(inverse_std));
        let factor = norm::unbiased(x.len() / mean.len());
        let moved = [
            (running.mean, moments.mean, 1.0),
            (running.variance, moments.variance, factor),
        ];
        for (to, from, factor) in moved {
            host::follow(self.change(to), &from, factor, running.share);
        }
    }

    /// Overwrites `inverse` with `1 / sqrt(variance + eps)`; both `[channels]`.
    fn inverse_std(&self, variance: &Buffer, eps: f32, inverse: &mut Buffer) {
        norm::inverse_std(self.read(variance), eps, self.overwrite(inverse));
    }

    /// `to += share (factor from - to)`: running averages and momentum encoders. Same lengths.
    fn follow(&self, to: &mut Buffer, from: &Buffer, factor: f32, share: f32) {
        host::follow(self.change(to), self.read(from), factor, share);
    }

    /// `to = keep to + (1 - keep) from`: averages of weights. Same lengths.
    fn average(&self, to: &mut Buffer, from: &Buffer, keep: f32) {
        let pairs = self.change(to).iter_mut().zip(self.read(from));
        pairs.for_each(|(to, from)| *to = keep * *to + (1.0 - keep) * from);
    }

    /// Overwrites `y`, `[rows][channels]`, with the normalised input.
    fn normalise(&self, norm: &Norm<'_>, y: &mut Buffer) {
        let [mean, bias] = [norm.mean, norm.bias].map(|buffer| self.read(buffer));
        let scales = self.read(norm.weight).iter().zip(self.read(norm.inverse_std));
        let scale: Vec<f32> = scales.map(|(w, s)| w * s).collect();
        let shift: Vec<f32> = (0..scale.len()).map(|c| bias[c] - mean[c] * scale[c]).collect();
        norm::scale_shift(self.read(norm.x), &scale, &shift, norm.relu, self.overwrite(y));
    }

    /// Turns `dy` into the gradient of a norm's input and adds to those of its weight and bias. With `batch_statistics`, mean and
    /// variance are the input's own, and have a gradient too.
    fn normalise_backward(
        &self,
        norm: &Norm<'_>,
        batch_statistics: bool,
        dy: &mut Buffer,
        dweight: &mut Buffer,
        dbias: &mut Buffer,
    ) {
        let applied = Applied {
            x: self.read(norm.x),
            mean: self.read(norm.mean),
            inverse_std: self.read(norm.inverse_std),
            weight: self.read(norm.weight),
            bias: self.read(norm.bias),
            relu: norm.relu,
        };
        let (dweight, dbias) = (self.change(dweight), self.change(dbias));
        norm::backward(&applied, batch_statistics, self.change(dy), dweight, dbias);
    }

    /// Overwrites `y` with the normalised rows of `x`, `[rows][dim]`, and `moments`, `[rows][2]`, with what backward needs.
    fn layer_norm(&self, x: &Buffer, weight: &Buffer, bias: &Buffer, eps: f32, y: &mut Buffer, moments: &mut Buffer) {
        let moments = self.overwrite(moments).as_chunks_mut().0;
        layer_norm::forward(
            self.read(x),
            self.read(weight),
            self.read(bias),
            eps,
            self.overwrite(y),
            moments,
        );
    }

    /// Turns `dy` into the gradient of a layer norm's input and adds to those of its weight and bias.
    fn layer_norm_backward(
        &self,
        x: &Buffer,
        moments: &Buffer,
        weight: &Buffer,
        dy: &mut Buffer,
        dweight: &mut Buffer,
        dbias: &mut Buffer,
    ) {
        let moments = self.read(moments).as_chunks().0;
        let (dweight, dbias) = (self.change(dweight), self.change(dbias));
        layer_norm::backward(
            self.read(x),
            moments,
            self.read(weight),
            self.change(dy),
            dweight,
            dbias,
        );
    }

    /// `x = gelu(x)`.
    fn gelu(&self, x: &mut Buffer) {
        gelu::forward(self.change(x));
    }

    /// Overwrites `y` with `gelu(x)` and `x` with the derivative.
    fn gelu_with_derivative(&self, x: &mut Buffer, y: &mut Buffer) {
        gelu::forward_with_derivative(self.change(x), self.overwrite(y));
    }

    /// `to *= other`. Same lengths.
    fn multiply(&self, to: &mut Buffer, other: &Buffer) {
        gelu::backward(self.change(to), self.read(other));
    }

    /// `x = max(x, 0)`.
    fn relu(&self, x: &mut Buffer) {
        elementwise::relu(self.change(x));
    }

    /// `dy` where ReLU's output `y` is above zero, zero elsewhere.
    fn relu_backward(&self, dy: &mut Buffer, y: &Buffer) {
        elementwise::relu_backward(self.change(dy), self.read(y));
    }

    /// `x = max(x, slope x)`, for a slope in `[0, 1)`.
    fn leaky_relu(&self, slope: f32, x: &mut Buffer) {
        host::leaky_relu(slope, self.change(x));
    }

    /// `dy` where leaky ReLU's output `y` is above zero, `slope dy` elsewhere.
    fn leaky_relu_backward(&self, slope: f32, dy: &mut Buffer, y: &Buffer) {
        host::leaky_relu_backward(slope, self.change(dy), self.read(y));
    }

    /// `to += other`. Same lengths.
    fn add(&self, to: &mut Buffer, other: &Buffer) {
        elementwise::add(self.change(to), self.read(other));
    }

    /// `to = relu(to + other)`. Same lengths.
    fn add_relu(&self, to: &mut Buffer, other: &Buffer) {
        elementwise::add_relu(self.change(to), self.read(other));
    }

    /// `to = value` throughout.
    fn fill(&self, to: &mut Buffer, value: f32) {
        host::fill(self.overwrite(to), value);
    }

    /// Multiplies each of as many equal parts of `x` as there are factors by its own: dropout, of values or of images.
    fn scale_parts(&self, x: &mut Buffer, factors: &Buffer) {
        host::scale_parts(self.change(x), self.read(factors));
    }

    /// Overwrites `y` with the maxima of windows and `chosen`, of the same length, with the bits of the whole numbers that say which
    /// pixel of its image each is.
    fn max_pool(&self, shape: &PoolShape, x: &Buffer, y: &mut Buffer, chosen: &mut Buffer) {
        let chosen = bytemuck::cast_slice_mut(self.overwrite(chosen));
        pool::max_forward(shape, self.read(x), self.overwrite(y), chosen);
    }

    /// Overwrites `dx` with the gradient of the input of [`Device::max_pool`].
    fn max_pool_backward(&self, shape: &PoolShape, dy: &Buffer, chosen: &Buffer, dx: &mut Buffer) {
        let chosen = bytemuck::cast_slice(self.read(chosen));
        pool::max_backward(shape, self.read(dy), chosen, self.overwrite(dx));
    }

    /// Overwrites `y`, `[n][grid][grid][c]`, with the means of the cells of maps of shape `input`.
    fn grid_pool(&self, input: MapShape, grid: usize, x: &Buffer, y: &mut Buffer) {
        pool::grid_forward((input.h, input.w, input.c), grid, self.read(x), self.overwrite(y));
    }

    /// Overwrites `dx` with the gradient of the input of [`Device::grid_pool`].
    fn grid_pool_backward(&self, input: MapShape, grid: usize, dy: &Buffer, dx: &mut Buffer) {
        pool::grid_backward((input.h, input.w, input.c), grid, self.read(dy), self.overwrite(dx));
    }

    /// Overwrites `weights`, `[n][heads][tokens][tokens]`, and `out`, `[n][tokens][heads][head_dim]`, from queries, keys and values,
    /// `[n][tokens][3][heads][head_dim]`; with `lengths`, only so many tokens of each row are looked at.
    fn attention(
        &self,
        shape: &AttentionShape,
        qkv: &Buffer,
        lengths: Option<&[usize]>,
        weights: &mut Buffer,
        out: &mut Buffer,
    ) {
        attention::forward(
            shape,
            self.read(qkv),
            lengths,
            self.overwrite(weights),
            self.overwrite(out),
        );
    }

    /// Overwrites `dqkv` with the gradient of the input of [`Device::attention`].
    fn attention_backward(
        &self,
        shape: &AttentionShape,
        qkv: &Buffer,
        weights: &Buffer,
        lengths: Option<&[usize]>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) {
        let [qkv, weights, dout] = [qkv, weights, dout].map(|buffer| self.read(buffer));
        attention::backward(shape, qkv, weights, lengths, dout, self.overwrite(dqkv));
    }

    /// Overwrites `y`, `[n][factor h][factor w][c]`: each pixel of maps of shape `input` becomes `factor x factor` equal ones.
    fn upsample(&self, input: MapShape, factor: usize, x: &Buffer, y: &mut Buffer) {
        host::upsample(input, factor, self.read(x), self.overwrite(y));
    }

    /// Overwrites `dx` with the gradient of the input of [`Device::upsample`].
    fn upsample_backward(&self, input: MapShape, factor: usize, dy: &Buffer, dx: &mut Buffer) {
        host::upsample_backward(input, factor, self.read(dy), self.overwrite(dx));
    }

    /// Overwrites `to`: its row `i` becomes row `index[i]` of `from`; rows of `dim` values.
    fn gather_rows(&self, dim: usize, from: &Buffer, index: &[usize], to: &mut Buffer) {
        host::gather_rows(dim, self.read(from), index, self.overwrite(to));
    }

    /// Adds row `i` of `from` to row `index[i]` of `to`, one after the other; rows of `dim` values.
    fn scatter_rows(&self, dim: usize, from: &Buffer, index: &[usize], to: &mut Buffer) {
        host::scatter_rows(dim, self.read(from), index, self.change(to));
    }

    /// NT-Xent of projections, `[2 n][dim]`, and its gradient: see [`losses::nt_xent`].
    ///
    /// # Errors
    /// Those of the loss.
    fn nt_xent(&self, dim: usize, z: &Buffer, temperature: f32) -> Result<(LossValue, Buffer), LossError> {
        let found = host::loss([self.read(z)], dim, |[z]| losses::nt_xent(z, temperature));
        found.map(|(loss, [gradient])| (loss, gradient))
    }

    /// InfoNCE of queries and their keys, `[n][dim]`, against negatives, `[negatives][dim]`, and the queries' gradient: see
    /// [`losses::info_nce`].
    ///
    /// # Errors
    /// Those of the loss.
    fn info_nce(
        &self,
        dim: usize,
        queries: &Buffer,
        [keys, negatives]: [&[f32]; 2],
        temperature: f32,
    ) -> Result<(LossValue, Buffer), LossError> {
        let found = host::loss([self.read(queries)], dim, |[queries]| {
            losses::info_nce(queries, keys, negatives, temperature)
        });
        found.map(|(loss, [gradient])| (loss, gradient))
    }

    /// Barlow Twins of two views' projections, `[n][dim]` each, and their gradients: see [`losses::barlow_twins`].
    ///
    /// # Errors
    /// Those of the loss.
    fn barlow_twins(
        &self,
        dim: usize,
        views: [&Buffer; 2],
        lambda: f32,
    ) -> Result<(LossValue, [Buffer; 2]), LossError> {
        host::loss(views.map(|view| self.read(view)), dim, |[a, b]| {
            losses::barlow_twins(a, b, lambda)
        })
    }

    /// VICReg of two views' projections, `[n][dim]` each, and their gradients: see [`losses::vicreg`].
    ///
    /// # Errors
    /// Those of the loss.
    fn vicreg(
        &self,
        dim: usize,
        views: [&Buffer; 2],
        weights: VicregWeights,
    ) -> Result<(LossValue, [Buffer; 2]), LossError> {
        host::loss(views.map(|view| self.read(view)), dim, |[a, b]| {
            losses::vicreg(a, b, weights)
        })
    }

    /// Mean cross-entropy of logits, `[n][classes]`, with a distribution for each row, and its gradient: see
    /// [`losses::soft_cross_entropy`].
    ///
    /// # Errors
    /// Those of the loss.
    fn cross_entropy(
        &self,
        classes: usize,
        logits: &Buffer,
        targets: &[f32],
    ) -> Result<(LossValue, Buffer), LossError> {
        let found = host::loss([self.read(logits)], classes, |[logits]| {
            losses::soft_cross_entropy(logits, targets)
        });
        found.map(|(loss, [gradient])| (loss, gradient))
    }

    /// A step of stochastic gradient descent: see [`crate::optim`].
    fn sgd(&self, updates: &mut [Update<'_>], momentum: f32, nesterov: bool) {
        for u in updates {
            let [value, grad, velocity] = [&mut *u.value, u.grad, u.velocity].map(|buffer| self.change(buffer));
            steps::sgd(value, grad, velocity, [u.lr, u.decay, momentum], nesterov);
        }
    }

    /// A step of Adam or AdamW: see [`crate::optim`].
    fn adam(&self, updates: &mut [AdamUpdate<'_>], [b1, b2]: [f32; 2], eps: f32) {
        for u in updates {
            let [first, second] = &mut u.moments;
            let moments = [self.change(first), self.change(second)];
            let constants = [b1, b2, eps, u.rate, u.correction, u.penalty, u.kept];
            steps::adam(self.change(u.value), self.change(u.grad), moments, constants);
        }
    }

    /// A step of LARS: see [`crate::optim`].
    fn lars(&self, updates: &mut [Update<'_>], momentum: f32, eta: f32) {
        for u in updates {
            let [value, grad, velocity] = [&mut *u.value, u.grad, u.velocity].map(|buffer| self.change(buffer));
            steps::lars(value, grad, velocity, [u.lr, u.decay, momentum, eta], u.adapted);
        }
    }
}

/// The host: every operation is its default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Device for Cpu {
    fn identity(&self) -> &'static str {
        "cpu"
    }

    fn allocate(&self, _len: usize) -> Box<dyn Memory> {
        unreachable!("BUG: the host has no memory but the host's")
    }
}
