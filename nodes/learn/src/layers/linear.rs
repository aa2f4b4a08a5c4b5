//! Fully connected layer on the flattened features of each image: `y = x W + b`.

use super::{Entry, FeatureMap, Layer, Layout, MapShape, Parameter, Pass, Role, Tensors, join};
use crate::kernels::conv::{self, ConvShape};
use crate::rng::Stream;

/// `[n][in]` to `[n][out]`; a feature map is flattened in its channel-last order.
pub struct Linear {
    inputs: usize,
    outputs: usize,
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Linear {
    /// Uniform in `+-1 / sqrt(in)`, as PyTorch's default.
    pub fn new(inputs: usize, outputs: usize, bias: bool, stream: &mut Stream) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = Parameter::uniform(inputs * outputs, bound, stream);
        Self {
            inputs,
            outputs,
            weight,
            bias: bias.then(|| Parameter::uniform(outputs, bound, stream)),
        }
    }

    /// A layer with the given weights, `[in][out]`, and biases, `[out]`.
    pub fn from_weights(weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let (inputs, outputs) = (weight.len() / bias.len().max(1), bias.len());
        Self {
            inputs,
            outputs,
            weight: Parameter::new(weight),
            bias: Some(Parameter::new(bias)),
        }
    }
}

impl Layer for Linear {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(input.len(), self.inputs, "BUG: the linear layer's inputs do not fit");
        MapShape::vector(self.outputs)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let bias = self.bias.as_ref().map(|b| &b.value[..]);
        let shape = ConvShape::matrix(x.n, self.inputs, self.outputs);
        pass.timed(
            "forward",
            shape.flops(),
            || shape.to_string(),
            || {
                conv::forward(&shape, &x.data, &self.weight.value, bias, &mut y.data);
            },
        );
        pass.push(x);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let x: FeatureMap = pass.pop();
        let shape = ConvShape::matrix(x.n, self.inputs, self.outputs);
        let dbias = self.bias.as_mut().map(|b| &mut b.grad[..]);
        let grad = &mut self.weight.grad;
        pass.timed(
            "weight gradient",
            shape.flops(),
            || shape.to_string(),
            || {
                conv::backward_weight(&shape, &x.data, &dy.data, grad, dbias);
            },
        );
        need_dx.then(|| {
            let mut dx = pass.map(x.n, x.shape);
            pass.timed(
                "input gradient",
                shape.flops(),
                || shape.to_string(),
                || {
                    conv::backward_input(&shape, &dy.data, &self.weight.value, &mut dx.data);
                },
            );
            dx
        })
    }
}

impl Tensors for Linear {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let shape = vec![self.outputs, self.inputs];
        out.push(Entry::parameter(
            join(prefix, "weight"),
            shape,
            Layout::InOut,
            Role::Weight,
            &mut self.weight,
        ));
        if let Some(bias) = &mut self.bias {
            out.push(Entry::parameter(
                join(prefix, "bias"),
                vec![self.outputs],
                Layout::Same,
                Role::Bias,
                bias,
            ));
        }
    }
}
