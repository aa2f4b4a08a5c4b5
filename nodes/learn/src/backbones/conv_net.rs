//! Small plain networks for quick experiments on small images: 3x3 convolution, batch norm, ReLU; each stage but the first
//! halves the size. conv3 at its own widths has 93 thousand parameters, conv4 390 thousand.

use super::{Backbone, Family, StageShape};
use crate::layers::{ConvNorm, ConvSettings, Sequential};
use crate::rng::Stream;

/// Three stages.
pub(super) const CONV3: Backbone = Backbone {
    name: "conv3",
    widths: &[32, 64, 128],
    stems: false,
    family: Family::Stages(build),
};

/// Four stages.
pub(super) const CONV4: Backbone = Backbone {
    name: "conv4",
    widths: &[32, 64, 128, 256],
    stems: false,
    family: Family::Stages(build),
};

fn build(shape: &StageShape<'_>, stream: &mut Stream) -> Sequential {
    let mut net = Sequential::default();
    let mut from = shape.channels;
    for (i, width) in shape.widths.iter().enumerate() {
        let stride = if i == 0 { 1 } else { 2 };
        let settings = ConvSettings::three(from, *width, stride);
        net = net.with(
            &format!("stages.{i}"),
            ConvNorm::new(settings, true, ("conv", "bn"), stream),
        );
        from = *width;
    }
    net
}
