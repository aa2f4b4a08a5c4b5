//! Two-dimensional convolution, with or without bias.

use super::{
    Attribute, Entry, FeatureMap, Graph, Layer, Layout, MapShape, NoGraph, Parameter, Pass, Role, Tensors, Value,
    as_int, join,
};
use crate::kernels::conv::ConvShape;
use crate::rng::Stream;

/// Sizes of a convolution layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSettings {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: usize,
    /// Step between patches.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl ConvSettings {
    /// A 3x3 convolution that keeps the size at stride 1.
    pub fn three(c_in: usize, c_out: usize, stride: usize) -> Self {
        Self {
            c_in,
            c_out,
            kernel: 3,
            stride,
            padding: 1,
            groups: 1,
        }
    }

    /// A 1x1 convolution.
    pub fn one(c_in: usize, c_out: usize, stride: usize) -> Self {
        Self {
            c_in,
            c_out,
            kernel: 1,
            stride,
            padding: 0,
            groups: 1,
        }
    }

    pub(super) fn weights(&self) -> usize {
        self.kernel * self.kernel * (self.c_in / self.groups) * self.c_out
    }

    /// Normal with variance `2 / fan_out`, as torchvision's ResNets (He et al. 2015, 1502.01852).
    pub(super) fn init(&self, stream: &mut Stream) -> Parameter {
        let fan_out = (self.kernel * self.kernel * self.c_out / self.groups) as f32;
        Parameter::normal(self.weights(), (2.0 / fan_out).sqrt(), stream)
    }

    pub(super) fn shape(&self, n: usize, input: MapShape) -> ConvShape {
        let Self {
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            groups,
        } = *self;
        assert_eq!(input.c, c_in, "BUG: the convolution's input channels do not fit");
        ConvShape {
            n,
            h: input.h,
            w: input.w,
            c_in,
            c_out,
            kernel,
            stride,
            padding,
            groups,
        }
    }

    pub(super) fn output_shape(&self, input: MapShape) -> MapShape {
        let shape = self.shape(1, input);
        MapShape {
            h: shape.out_h(),
            w: shape.out_w(),
            c: self.c_out,
        }
    }

    /// PyTorch's shape of the weight.
    pub(super) fn weight_shape(&self) -> Vec<usize> {
        vec![self.c_out, self.c_in / self.groups, self.kernel, self.kernel]
    }
}

/// A convolution with optional bias.
pub struct Conv2d {
    settings: ConvSettings,
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Conv2d {
    /// A layer with He-normal weights and, if asked, a bias of zero.
    pub fn new(settings: ConvSettings, bias: bool, stream: &mut Stream) -> Self {
        Self {
            settings,
            weight: settings.init(stream),
            bias: bias.then(|| Parameter::constant(settings.c_out, 0.0)),
        }
    }
}

impl Layer for Conv2d {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.settings.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let shape = self.settings.shape(x.n, x.shape);
        let bias = self.bias.as_ref().map(|b| &b.value);
        let device = pass.device();
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
        let shape = self.settings.shape(x.n, x.shape);
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
        let ConvSettings {
            kernel,
            stride,
            padding,
            groups,
            ..
        } = self.settings;
        let [kernel, stride, padding, groups] = [kernel, stride, padding, groups].map(as_int);
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
            ("strides", Attribute::Ints(vec![stride; 2])),
            ("pads", Attribute::Ints(vec![padding; 4])),
            ("group", Attribute::Int(groups)),
        ];
        let weight = graph.tensor(prefix, "weight");
        let bias = self.bias.as_ref().map(|_| graph.tensor(prefix, "bias"));
        let inputs: Vec<&Value> = [&x, &weight].into_iter().chain(&bias).collect();
        Ok(graph.apply_with("Conv", &inputs, attributes))
    }
}

impl Tensors for Conv2d {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let shape = self.settings.weight_shape();
        out.push(Entry::parameter(
            join(prefix, "weight"),
            shape,
            Layout::HwInOut,
            Role::Weight,
            &mut self.weight,
        ));
        if let Some(bias) = &mut self.bias {
            out.push(Entry::parameter(
                join(prefix, "bias"),
                vec![bias.value.len()],
                Layout::Same,
                Role::Bias,
                bias,
            ));
        }
    }
}
