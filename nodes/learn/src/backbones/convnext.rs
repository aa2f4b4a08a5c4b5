//! ConvNeXt-T (Liu et al. 2022, 2201.03545) with timm's parameter names: patches, then blocks of a 7x7 convolution of each channel by itself,
//! layer norm and an MLP on each pixel, scaled and added.
//!
//! The stem's patches are of 4 pixels with `stem = "imagenet"`, of 2 otherwise; each later stage halves the size, so an image has at least 8
//! patches a side. The last norm stands behind the pooling, so `grid` is 1.

use super::{Backbone, Family, StageShape, Stem};
use crate::layers::{
    Conv2d, ConvSettings, Dropout, Entry, FeatureMap, Graph, Layer, LayerNorm, Layout, MapShape, Mlp, NoGraph,
    Parameter, Pass, Role, Sequential, Tensors, Value, join,
};
use crate::rng::Stream;

/// Stages of 3, 3, 9 and 3 blocks.
pub(super) const CONVNEXT_TINY: Backbone = Backbone {
    name: NAME,
    widths: &[96, 192, 384, 768],
    stems: true,
    family: Family::Patches(build),
};

pub(super) const NAME: &str = "convnext-tiny";

const BLOCKS: [usize; 4] = [3, 3, 9, 3];
/// What a block's output is scaled by at the start.
const SCALE: f32 = 1e-6;

/// Pixels of a patch.
fn patch(stem: Stem) -> usize {
    if stem == Stem::Imagenet { 4 } else { 2 }
}

/// The smallest side of an image.
pub(super) fn least_side(stem: Stem) -> usize {
    8 * patch(stem)
}

/// A convolution whose patches do not overlap.
fn patches(c_in: usize, c_out: usize, size: usize, stream: &mut Stream) -> Conv2d {
    let settings = ConvSettings {
        c_in,
        c_out,
        kernel: size,
        stride: size,
        padding: 0,
        groups: 1,
    };
    Conv2d::new(settings, true, stream)
}

/// Everything up to the pooling, behind which comes a norm.
fn build(shape: &StageShape<'_>, stream: &mut Stream) -> Sequential {
    let first = patches(shape.channels, shape.widths[0], patch(shape.stem), stream);
    let mut net = Sequential::default()
        .with("stem.0", first)
        .with("stem.1", ChannelNorm::new(shape.widths[0]));
    let (mut from, mut done) = (shape.widths[0], 0);
    for (stage, (width, count)) in shape.widths.iter().zip(BLOCKS).enumerate() {
        if stage > 0 {
            let name = |part: usize| format!("stages.{stage}.downsample.{part}");
            net = net
                .with(&name(0), ChannelNorm::new(from))
                .with(&name(1), patches(from, *width, 2, stream));
        }
        for at in 0..count {
            let drop = shape.drop_at(done, BLOCKS.iter().sum());
            net = net.with(
                &format!("stages.{stage}.blocks.{at}"),
                ConvNextBlock::new(*width, drop, stream),
            );
            done += 1;
        }
        from = *width;
    }
    net
}

/// Layer norm over the channels of each pixel of an image.
struct ChannelNorm(LayerNorm);

impl ChannelNorm {
    fn new(channels: usize) -> Self {
        Self(LayerNorm::new(channels, LayerNorm::EPS))
    }
}

impl Layer for ChannelNorm {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.0.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.0.forward(x, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        self.0.backward(dy, pass, need_dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let x = graph.transpose(&x, &[0, 2, 3, 1]);
        let y = self.0.describe(graph, x, input, prefix)?;
        Ok(graph.transpose(&y, &[0, 3, 1, 2]))
    }
}

impl Tensors for ChannelNorm {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.0.entries(prefix, out);
    }
}

/// `x + gamma mlp(norm(conv(x)))`.
struct ConvNextBlock {
    conv: Conv2d,
    norm: LayerNorm,
    mlp: Mlp,
    gamma: Parameter,
    drop: Dropout,
}

impl ConvNextBlock {
    fn new(width: usize, drop: f32, stream: &mut Stream) -> Self {
        let each = ConvSettings {
            c_in: width,
            c_out: width,
            kernel: 7,
            stride: 1,
            padding: 3,
            groups: width,
        };
        Self {
            conv: Conv2d::new(each, true, stream),
            norm: LayerNorm::new(width, LayerNorm::EPS),
            mlp: Mlp::new(width, 4 * width, stream),
            gamma: Parameter::constant(width, SCALE),
            drop: Dropout::images(drop),
        }
    }
}

impl Layer for ConvNextBlock {
    fn output_shape(&self, input: MapShape) -> MapShape {
        input
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let y = self.conv.forward(x.clone(), pass);
        let y = self.norm.forward(y, pass);
        let mut y = self.mlp.forward(y, pass);
        pass.push(y.clone());
        let gamma = &self.gamma.value[..];
        for pixel in y.data.chunks_exact_mut(gamma.len()) {
            pixel.iter_mut().zip(gamma).for_each(|(v, g)| *v *= g);
        }
        let mut y = self.drop.forward(y, pass);
        pass.device().add(&mut y.data, &x.data);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let mut d = self.drop.backward(dy.clone(), pass, true)?;
        let unscaled: FeatureMap = pass.pop();
        let (gamma, dgamma) = (&self.gamma.value[..], &mut self.gamma.grad[..]);
        let width = gamma.len();
        for (d, y) in d.data.chunks_exact_mut(width).zip(unscaled.data.chunks_exact(width)) {
            for (i, (d, y)) in d.iter_mut().zip(y).enumerate() {
                dgamma[i] += *d * y;
                *d *= gamma[i];
            }
        }
        let d = self.mlp.backward(d, pass, true)?;
        let d = self.norm.backward(d, pass, true)?;
        let mut dx = self.conv.backward(d, pass, true)?;
        pass.device().add(&mut dx.data, &dy.data);
        Some(dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let y = self.conv.describe(graph, x.clone(), input, &join(prefix, "conv_dw"))?;
        let y = graph.transpose(&y, &[0, 2, 3, 1]);
        let y = self.norm.describe(graph, y, input, &join(prefix, "norm"))?;
        let y = self.mlp.describe(graph, y, input, &join(prefix, "mlp"))?;
        let gamma = graph.tensor(prefix, "gamma");
        let y = graph.apply("Mul", &[&y, &gamma]);
        let y = graph.transpose(&y, &[0, 3, 1, 2]);
        Ok(graph.apply("Add", &[&x, &y]))
    }
}

impl Tensors for ConvNextBlock {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let shape = vec![self.gamma.value.len()];
        let gamma = join(prefix, "gamma");
        out.push(Entry::parameter(
            gamma,
            shape,
            Layout::Same,
            Role::Bias,
            &mut self.gamma,
        ));
        self.conv.entries(&join(prefix, "conv_dw"), out);
        self.norm.entries(&join(prefix, "norm"), out);
        self.mlp.entries(&join(prefix, "mlp"), out);
    }
}
