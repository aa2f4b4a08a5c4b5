//! Fully connected layer on every token (or pixel) by itself: `y = x W + b`.

use super::{Entry, FeatureMap, Graph, Layer, Layout, MapShape, NoGraph, Parameter, Pass, Role, Tensors, Value, join};
use crate::kernels::conv::ConvShape;
use crate::rng::Stream;

/// `[n][h][w][in]` to `[n][h][w][out]`. [`super::Linear`] is the same on flattened images.
pub struct TokenLinear {
    inputs: usize,
    outputs: usize,
    weight: Parameter,
    bias: Option<Parameter>,
}

impl TokenLinear {
    /// Weights, `[in][out]`, and biases, `[out]`.
    pub fn new(inputs: usize, outputs: usize, weight: Parameter, bias: Option<Parameter>) -> Self {
        Self {
            inputs,
            outputs,
            weight,
            bias,
        }
    }

    /// As timm begins a vision transformer's layers: normal with deviation .02, and biases of zero.
    ///
    /// timm cuts the normal at 2, a hundred deviations away; nothing is lost without.
    pub fn normal(inputs: usize, outputs: usize, stream: &mut Stream) -> Self {
        let weight = Parameter::normal(inputs * outputs, 0.02, stream);
        Self::new(inputs, outputs, weight, Some(Parameter::constant(outputs, 0.0)))
    }

    /// Values that go into a token.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

impl Layer for TokenLinear {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(input.c, self.inputs, "BUG: the linear layer's inputs do not fit");
        MapShape {
            c: self.outputs,
            ..input
        }
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let bias = self.bias.as_ref().map(|b| &b.value);
        let device = pass.device();
        let shape = ConvShape::matrix(x.rows(), self.inputs, self.outputs);
        pass.timed(
            "forward",
            shape.flops(),
            || shape.to_string(),
            || {
                device.conv_forward(&shape, &x.data, &self.weight.value, bias, &mut y.data);
            },
        );
        pass.push(x);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let x: FeatureMap = pass.pop();
        let shape = ConvShape::matrix(x.rows(), self.inputs, self.outputs);
        let device = pass.device();
        let dbias = self.bias.as_mut().map(|b| &mut b.grad);
        let grad = &mut self.weight.grad;
        pass.timed(
            "weight gradient",
            shape.flops(),
            || shape.to_string(),
            || {
                device.conv_backward_weight(&shape, &x.data, &dy.data, grad, dbias);
            },
        );
        need_dx.then(|| {
            let mut dx = pass.map(x.n, x.shape);
            pass.timed(
                "input gradient",
                shape.flops(),
                || shape.to_string(),
                || {
                    device.conv_backward_input(&shape, &dy.data, &self.weight.value, &mut dx.data);
                },
            );
            dx
        })
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let weight = graph.tensor(prefix, "weight");
        let weight = graph.transpose(&weight, &[1, 0]);
        let y = graph.apply("MatMul", &[&x, &weight]);
        Ok(match &self.bias {
            Some(_) => {
                let bias = graph.tensor(prefix, "bias");
                graph.apply("Add", &[&y, &bias])
            }
            None => y,
        })
    }
}

impl Tensors for TokenLinear {
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
