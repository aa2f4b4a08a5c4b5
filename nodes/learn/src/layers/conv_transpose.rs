//! Transposed convolution: the way back of a convolution's input, as a layer that enlarges.

use super::{Entry, FeatureMap, Layer, Layout, MapShape, Parameter, Pass, Role, Tensors, join};
use crate::kernels::conv::ConvShape;
use crate::rng::Stream;

/// Sizes of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposeSettings {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: usize,
    /// How many times larger the output is.
    pub stride: usize,
    /// What is cut off on each side.
    pub padding: usize,
    /// What is added at the right and the bottom: a convolution of this stride gives several sizes the same output.
    pub output_padding: usize,
}

impl TransposeSettings {
    /// Twice as large, each pixel from one: no checkerboard.
    pub fn double(c_in: usize, c_out: usize) -> Self {
        Self {
            c_in,
            c_out,
            kernel: 2,
            stride: 2,
            padding: 0,
            output_padding: 0,
        }
    }

    fn output(&self, input: MapShape) -> MapShape {
        let long = |side: usize| (side - 1) * self.stride + self.kernel + self.output_padding - 2 * self.padding;
        MapShape {
            h: long(input.h),
            w: long(input.w),
            c: self.c_out,
        }
    }

    /// The convolution whose input's gradient this is: it has the output as its input.
    fn shape(&self, n: usize, output: MapShape) -> ConvShape {
        ConvShape {
            n,
            h: output.h,
            w: output.w,
            c_in: self.c_out,
            c_out: self.c_in,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            groups: 1,
        }
    }
}

/// A transposed convolution with bias.
pub struct ConvTranspose2d {
    settings: TransposeSettings,
    weight: Parameter,
    bias: Parameter,
}

impl ConvTranspose2d {
    /// A layer with He-normal weights, of what reaches an output, and a bias of zero.
    pub fn new(settings: TransposeSettings, stream: &mut Stream) -> Self {
        let TransposeSettings {
            c_in,
            c_out,
            kernel,
            stride,
            ..
        } = settings;
        let reach = (kernel * kernel * c_in) as f32 / (stride * stride) as f32;
        Self {
            settings,
            weight: Parameter::normal(kernel * kernel * c_in * c_out, (2.0 / reach).sqrt(), stream),
            bias: Parameter::constant(c_out, 0.0),
        }
    }
}

impl Layer for ConvTranspose2d {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.settings.output(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let shape = self.settings.shape(x.n, y.shape);
        let device = pass.device();
        let label = || format!("transposed {shape}");
        pass.timed("forward", shape.flops(), label, || {
            device.conv_backward_input(&shape, &x.data, &self.weight.value, &mut y.data);
            device.add_row(&mut y.data, &self.bias.value);
        });
        pass.push(x);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let x: FeatureMap = pass.pop();
        let shape = self.settings.shape(x.n, dy.shape);
        let device = pass.device();
        let label = || format!("transposed {shape}");
        let (weight, bias) = (&mut self.weight, &mut self.bias);
        pass.timed("weight gradient", shape.flops(), label, || {
            device.conv_backward_weight(&shape, &dy.data, &x.data, &mut weight.grad, None);
            device.add_rows_to(&dy.data, &mut bias.grad);
        });
        need_dx.then(|| {
            let mut dx = pass.map(x.n, x.shape);
            pass.timed("input gradient", shape.flops(), label, || {
                device.conv_forward(&shape, &dy.data, &weight.value, None, &mut dx.data);
            });
            dx
        })
    }
}

impl Tensors for ConvTranspose2d {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let TransposeSettings {
            c_in, c_out, kernel, ..
        } = self.settings;
        // PyTorch's is [in][out][kh][kw], which is that of the convolution that goes the other way.
        out.push(Entry::parameter(
            join(prefix, "weight"),
            vec![c_in, c_out, kernel, kernel],
            Layout::HwInOut,
            Role::Weight,
            &mut self.weight,
        ));
        let bias = &mut self.bias;
        out.push(Entry::parameter(
            join(prefix, "bias"),
            vec![c_out],
            Layout::Same,
            Role::Bias,
            bias,
        ));
    }
}
