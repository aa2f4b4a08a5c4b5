//! Batch normalisation (Ioffe & Szegedy 2015, 1502.03167) over the channels of a feature map, with ReLU fused in.
//!
//! `y = (x - mean) / sqrt(variance + eps) * weight + bias`. In training the statistics are the batch's, and the running ones
//! move towards them by `momentum`, the variance unbiased (divided by rows - 1), as PyTorch's.

use super::{
    Attribute, Buffer, Entry, FeatureMap, Graph, Layer, Layout, MapShape, Mode, NoGraph, Parameter, Pass, Role,
    Tensors, Value, join,
};
use crate::device::{Norm, Running};

/// Constants of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSettings {
    /// How far running statistics move towards the batch's; PyTorch's default is 0.1.
    pub momentum: f32,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f32,
}

impl Default for NormSettings {
    fn default() -> Self {
        Self {
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

/// What backward needs: the input and the statistics that were applied.
struct Saved {
    x: FeatureMap,
    mean: Buffer,
    inverse_std: Buffer,
    batch_statistics: bool,
}

/// Batch norm, followed by ReLU if asked.
pub struct BatchNorm {
    settings: NormSettings,
    relu: bool,
    weight: Parameter,
    bias: Parameter,
    running_mean: Buffer,
    running_variance: Buffer,
    /// Kept as a float among the other tensors; exact up to 2^24 steps.
    batches: Buffer,
}

impl BatchNorm {
    /// Weight one, bias zero, running statistics of a standard normal.
    pub fn new(channels: usize, relu: bool, settings: NormSettings) -> Self {
        Self {
            settings,
            relu,
            weight: Parameter::constant(channels, 1.0),
            bias: Parameter::constant(channels, 0.0),
            running_mean: vec![0.0; channels].into(),
            running_variance: vec![1.0; channels].into(),
            batches: vec![0.0].into(),
        }
    }

    /// Mean and inverse deviation of the batch, which move the running statistics.
    fn of_batch(&mut self, x: &FeatureMap, pass: &mut Pass) -> (Buffer, Buffer) {
        let (device, NormSettings { momentum, eps }) = (pass.device(), self.settings);
        let channels = self.weight.value.len();
        let (mut mean, mut inverse_std) = (pass.buffer(channels), pass.buffer(channels));
        let running = Running {
            mean: &mut self.running_mean,
            variance: &mut self.running_variance,
            share: momentum,
        };
        pass.timed(
            "statistics",
            0.0,
            || label(x.shape),
            || device.batch_statistics(&x.data, eps, &mut mean, &mut inverse_std, running),
        );
        self.batches[0] += 1.0;
        (mean, inverse_std)
    }

    /// The same of all batches so far.
    fn of_all(&self, pass: &Pass) -> (Buffer, Buffer) {
        let mut inverse_std = pass.buffer(self.weight.value.len());
        let device = pass.device();
        device.inverse_std(&self.running_variance, self.settings.eps, &mut inverse_std);
        (self.running_mean.clone(), inverse_std)
    }
}

/// The layer in words.
fn label(shape: MapShape) -> String {
    format!("batch norm {} at {}x{}", shape.c, shape.h, shape.w)
}

impl Layer for BatchNorm {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let (device, batch_statistics) = (pass.device(), pass.mode == Mode::Train);
        let (mean, inverse_std) = match pass.mode {
            Mode::Train => self.of_batch(&x, pass),
            Mode::Eval => self.of_all(pass),
        };
        let mut y = pass.map(x.n, x.shape);
        let applied = Norm {
            x: &x.data,
            mean: &mean,
            inverse_std: &inverse_std,
            weight: &self.weight.value,
            bias: &self.bias.value,
            relu: self.relu,
        };
        pass.timed(
            "forward",
            0.0,
            || label(x.shape),
            || device.normalise(&applied, &mut y.data),
        );
        pass.push(Saved {
            x,
            mean,
            inverse_std,
            batch_statistics,
        });
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let device = pass.device();
        let Saved {
            x,
            mean,
            inverse_std,
            batch_statistics,
        } = pass.pop();
        let applied = Norm {
            x: &x.data,
            mean: &mean,
            inverse_std: &inverse_std,
            weight: &self.weight.value,
            bias: &self.bias.value,
            relu: self.relu,
        };
        let (dweight, dbias) = (&mut self.weight.grad, &mut self.bias.grad);
        pass.timed(
            "backward",
            0.0,
            || label(dy.shape),
            || device.normalise_backward(&applied, batch_statistics, &mut dy.data, dweight, dbias),
        );
        Some(dy)
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let parts = ["weight", "bias", "running_mean", "running_var"].map(|name| graph.tensor(prefix, name));
        let [weight, bias, mean, variance] = &parts;
        let eps = vec![("epsilon", Attribute::Float(self.settings.eps))];
        let y = graph.apply_with("BatchNormalization", &[&x, weight, bias, mean, variance], eps);
        Ok(if self.relu { graph.apply("Relu", &[&y]) } else { y })
    }
}

impl Tensors for BatchNorm {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let channels = vec![self.weight.value.len()];
        out.push(Entry::parameter(
            join(prefix, "weight"),
            channels.clone(),
            Layout::Same,
            Role::Bias,
            &mut self.weight,
        ));
        out.push(Entry::parameter(
            join(prefix, "bias"),
            channels,
            Layout::Same,
            Role::Bias,
            &mut self.bias,
        ));
        out.push(Entry::buffer(join(prefix, "running_mean"), &mut self.running_mean));
        out.push(Entry::buffer(join(prefix, "running_var"), &mut self.running_variance));
        out.push(Entry::buffer(join(prefix, "num_batches_tracked"), &mut self.batches));
    }
}
