//! Batch normalisation (Ioffe & Szegedy 2015, 1502.03167) over the channels of a feature map, with ReLU fused in.
//!
//! `y = (x - mean) / sqrt(variance + eps) * weight + bias`. In training the statistics are the batch's, and the running ones
//! move towards them by `momentum`, the variance unbiased (divided by rows - 1), as PyTorch's.

use super::{
    Attribute, Entry, FeatureMap, Graph, Layer, Layout, MapShape, Mode, NoGraph, Parameter, Pass, Role, Tensors, Value,
    join,
};
use crate::kernels::norm::{self, Applied, Moments};

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
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    batch_statistics: bool,
}

/// Batch norm, followed by ReLU if asked.
pub struct BatchNorm {
    settings: NormSettings,
    relu: bool,
    weight: Parameter,
    bias: Parameter,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
    /// Kept as a float among the other tensors; exact up to 2^24 steps.
    batches: Vec<f32>,
}

impl BatchNorm {
    /// Weight one, bias zero, running statistics of a standard normal.
    pub fn new(channels: usize, relu: bool, settings: NormSettings) -> Self {
        Self {
            settings,
            relu,
            weight: Parameter::constant(channels, 1.0),
            bias: Parameter::constant(channels, 0.0),
            running_mean: vec![0.0; channels],
            running_variance: vec![1.0; channels],
            batches: vec![0.0],
        }
    }

    fn update_running(&mut self, moments: &Moments, rows: usize) {
        let m = self.settings.momentum;
        let unbiased = rows as f32 / (rows.max(2) - 1) as f32;
        for (running, mean) in self.running_mean.iter_mut().zip(&moments.mean) {
            *running += m * (mean - *running);
        }
        for (running, variance) in self.running_variance.iter_mut().zip(&moments.variance) {
            *running += m * (variance * unbiased - *running);
        }
        self.batches[0] += 1.0;
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
        let channels = self.weight.value.len();
        let batch_statistics = pass.mode == Mode::Train;
        let moments = if batch_statistics {
            let moments = pass.timed(
                "statistics",
                0.0,
                || label(x.shape),
                || norm::moments(&x.data, channels),
            );
            self.update_running(&moments, x.rows());
            moments
        } else {
            Moments {
                mean: self.running_mean.clone(),
                variance: self.running_variance.clone(),
            }
        };
        let inverse_std: Vec<f32> = moments
            .variance
            .iter()
            .map(|v| 1.0 / (v + self.settings.eps).sqrt())
            .collect();
        let scale: Vec<f32> = self.weight.value.iter().zip(&inverse_std).map(|(w, s)| w * s).collect();
        let shift: Vec<f32> = (0..channels)
            .map(|c| self.bias.value[c] - moments.mean[c] * scale[c])
            .collect();
        let mut y = pass.map(x.n, x.shape);
        pass.timed(
            "forward",
            0.0,
            || label(x.shape),
            || {
                norm::scale_shift(&x.data, &scale, &shift, self.relu, &mut y.data);
            },
        );
        pass.push(Saved {
            x,
            mean: moments.mean,
            inverse_std,
            batch_statistics,
        });
        y
    }

    fn backward(&mut self, mut dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let Saved {
            x,
            mean,
            inverse_std,
            batch_statistics,
        } = pass.pop();
        let applied = Applied {
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
            || {
                norm::backward(&applied, batch_statistics, &mut dy.data, dweight, dbias);
            },
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
