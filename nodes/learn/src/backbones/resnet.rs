//! ResNets (He et al. 2015, 1512.03385) with torchvision's parameter names and its later bottleneck, whose 3x3 convolution has the
//! stride.

use super::{Backbone, Family, StageShape, Stem};
use crate::layers::{ConvNorm, ConvSettings, Dropout, Layer, MaxPool, Residual, Sequential};
use crate::rng::Stream;

/// Four stages of two basic blocks.
pub(super) const RESNET18: Backbone = Backbone {
    name: "resnet18",
    widths: &[64, 128, 256, 512],
    stems: true,
    family: Family::Stages(|shape, stream| build(shape, [2, 2, 2, 2], basic_block, stream)),
};

/// Four stages of 3, 4, 6 and 3 basic blocks.
pub(super) const RESNET34: Backbone = Backbone {
    name: "resnet34",
    widths: &[64, 128, 256, 512],
    stems: true,
    family: Family::Stages(|shape, stream| build(shape, [3, 4, 6, 3], basic_block, stream)),
};

/// Four stages of 3, 4, 6 and 3 bottlenecks; features have four times the last width.
pub(super) const RESNET50: Backbone = Backbone {
    name: "resnet50",
    widths: &[64, 128, 256, 512],
    stems: true,
    family: Family::Stages(|shape, stream| build(shape, [3, 4, 6, 3], bottleneck, stream)),
};

/// How many times its width a bottleneck gives out.
const EXPANSION: usize = 4;

/// A block from so many channels, of a width and a stride; with how many channels it gives out.
type Block = fn(from: usize, width: usize, stride: usize, drop: f32, stream: &mut Stream) -> (Residual, usize);

fn build(shape: &StageShape<'_>, blocks: [usize; 4], block: Block, stream: &mut Stream) -> Sequential {
    let StageShape {
        channels, widths, stem, ..
    } = *shape;
    let first = match stem {
        Stem::Small => ConvSettings::three(channels, widths[0], 1),
        Stem::Imagenet => ConvSettings {
            c_in: channels,
            c_out: widths[0],
            kernel: 7,
            stride: 2,
            padding: 3,
            groups: 1,
        },
    };
    let mut net = Sequential::default().with("", ConvNorm::new(first, true, ("conv1", "bn1"), stream));
    if stem == Stem::Imagenet {
        net = net.with(
            "maxpool",
            MaxPool {
                kernel: 3,
                stride: 2,
                padding: 1,
            },
        );
    }
    let (mut from, mut done) = (widths[0], 0);
    for (stage, (width, count)) in widths.iter().zip(blocks).enumerate() {
        for at in 0..count {
            let stride = if stage > 0 && at == 0 { 2 } else { 1 };
            let drop = shape.drop_at(done, blocks.iter().sum());
            let (residual, to) = block(from, *width, stride, drop, stream);
            net = net.with(&format!("layer{}.{at}", stage + 1), residual);
            (from, done) = (to, done + 1);
        }
    }
    net
}

/// Two 3x3 convolutions.
fn basic_block(from: usize, width: usize, stride: usize, drop: f32, stream: &mut Stream) -> (Residual, usize) {
    let body = with_drop(
        vec![
            part(ConvSettings::three(from, width, stride), true, 1, stream),
            part(ConvSettings::three(width, width, 1), false, 2, stream),
        ],
        drop,
    );
    (Residual::new(body, projection(from, width, stride, stream)), width)
}

/// 1x1 to the width, 3x3, 1x1 to four times the width.
fn bottleneck(from: usize, width: usize, stride: usize, drop: f32, stream: &mut Stream) -> (Residual, usize) {
    let to = EXPANSION * width;
    let body = with_drop(
        vec![
            part(ConvSettings::one(from, width, 1), true, 1, stream),
            part(ConvSettings::three(width, width, stride), true, 2, stream),
            part(ConvSettings::one(width, to, 1), false, 3, stream),
        ],
        drop,
    );
    (Residual::new(body, projection(from, to, stride, stream)), to)
}

/// The body with stochastic depth at its end, if there is any.
fn with_drop(mut body: Vec<Box<dyn Layer>>, drop: f32) -> Vec<Box<dyn Layer>> {
    if drop > 0.0 {
        body.push(Box::new(Dropout::images(drop)));
    }
    body
}

/// A convolution of a block's body, named by its place.
fn part(settings: ConvSettings, relu: bool, place: usize, stream: &mut Stream) -> Box<dyn Layer> {
    let (conv, norm) = (format!("conv{place}"), format!("bn{place}"));
    Box::new(ConvNorm::new(settings, relu, (&conv, &norm), stream))
}

/// A 1x1 convolution beside the body where the shape changes.
fn projection(from: usize, to: usize, stride: usize, stream: &mut Stream) -> Option<Box<dyn Layer>> {
    let projects = from != to || stride != 1;
    projects.then(|| {
        Box::new(ConvNorm::new(
            ConvSettings::one(from, to, stride),
            false,
            ("0", "1"),
            stream,
        )) as Box<dyn Layer>
    })
}
