//! ResNet-18 (He et al. 2015, 1512.03385) with torchvision's parameter names.

use super::{Backbone, Stem};
use crate::layers::{ConvNorm, ConvSettings, Layer, MaxPool, Residual, Sequential};
use crate::rng::Stream;

/// Four stages of two basic blocks.
pub(super) const RESNET18: Backbone = Backbone {
    name: "resnet18",
    widths: &[64, 128, 256, 512],
    stems: true,
    build,
};

fn build(channels: usize, widths: &[usize], stem: Stem, stream: &mut Stream) -> Sequential {
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
    let mut from = widths[0];
    for (stage, width) in widths.iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            net = net.with(
                &format!("layer{}.{block}", stage + 1),
                basic_block(from, *width, stride, stream),
            );
            from = *width;
        }
    }
    net
}

/// Two 3x3 convolutions, and a 1x1 projection where the shape changes.
fn basic_block(from: usize, to: usize, stride: usize, stream: &mut Stream) -> Residual {
    let body: Vec<Box<dyn Layer>> = vec![
        Box::new(ConvNorm::new(
            ConvSettings::three(from, to, stride),
            true,
            ("conv1", "bn1"),
            stream,
        )),
        Box::new(ConvNorm::new(
            ConvSettings::three(to, to, 1),
            false,
            ("conv2", "bn2"),
            stream,
        )),
    ];
    let projects = from != to || stride != 1;
    let shortcut = projects.then(|| {
        Box::new(ConvNorm::new(
            ConvSettings::one(from, to, stride),
            false,
            ("0", "1"),
            stream,
        )) as Box<dyn Layer>
    });
    Residual::new(body, shortcut)
}
