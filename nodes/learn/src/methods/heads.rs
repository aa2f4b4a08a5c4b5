//! Heads on top of the encoder, and passes through several networks one after the other.

use super::batch::Batch;
use crate::backbones::Encoder;
use crate::layers::{
    BatchNorm, Buffer, Entry, FeatureMap, Layer, Linear, MapShape, NormSettings, Pass, Relu, Role, Sequential, Tensors,
};
use crate::rng::Stream;

/// What stands between the layers of an [`mlp`], and behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// ReLU between layers, nothing behind the last.
    None,
    /// Batch norm and ReLU between layers, nothing behind the last.
    Hidden,
    /// Batch norm and ReLU between layers, batch norm without scale and shift behind the last.
    All,
}

/// Fully connected layers of the given widths, input first, with the names of the same `torch.nn.Sequential`. A layer in front
/// of a batch norm has no bias.
pub(super) fn mlp(widths: &[usize], norms: Norms, stream: &mut Stream) -> Sequential {
    let last = widths.len().saturating_sub(2);
    let (mut net, mut place) = (Sequential::default(), 0);
    for (i, pair) in widths.windows(2).enumerate() {
        let normed = norms == Norms::All || (norms == Norms::Hidden && i < last);
        net = net.with(&place.to_string(), Linear::new(pair[0], pair[1], !normed, stream));
        let behind = (place + 1).to_string();
        net = match (normed, i < last) {
            (true, true) => net.with(&behind, BatchNorm::new(pair[1], true, NormSettings::default())),
            (true, false) => net.with(&behind, Standardise::new(pair[1])),
            (false, true) => net.with(&behind, Relu),
            (false, false) => net,
        };
        // Linear, batch norm, ReLU; or linear, ReLU.
        place += if normed { 3 } else { 2 };
    }
    net
}

/// Batch norm without scale and shift.
pub(super) struct Standardise(BatchNorm);

impl Standardise {
    pub(super) fn new(channels: usize) -> Self {
        Self(BatchNorm::new(channels, false, NormSettings::default()))
    }
}

impl Layer for Standardise {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.0.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.0.forward(x, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dx = self.0.backward(dy, pass, need_dx);
        // The scale of one and the shift of zero stay, so their gradients are not wanted.
        super::batch::clear_gradients(&mut self.0, pass);
        dx
    }
}

impl Tensors for Standardise {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let mut all = Vec::new();
        self.0.entries(prefix, &mut all);
        out.extend(all.into_iter().filter(|e| e.role == Role::Buffer));
    }
}

/// A forward pass through networks one after the other.
pub(super) fn forward(networks: &mut [&mut dyn Layer], x: FeatureMap, pass: &mut Pass) -> FeatureMap {
    networks.iter_mut().fold(x, |x, network| network.forward(x, pass))
}

/// The backward pass of [`forward`]; what went in has no gradient.
pub(super) fn backward(networks: &mut [&mut dyn Layer], dy: FeatureMap, pass: &mut Pass) {
    let mut gradient = Some(dy);
    for (i, network) in networks.iter_mut().enumerate().rev() {
        let Some(dy) = gradient else { return };
        gradient = network.backward(dy, pass, i > 0);
    }
}

/// The second half of the rows first: what belongs to the other view of a batch of two views.
pub(super) fn swapped_halves(rows: &[f32]) -> Vec<f32> {
    let (first, second) = rows.split_at(rows.len() / 2);
    [second, first].concat()
}

/// Two views of every image in one batch, all first views before all second ones.
pub(super) fn two_views(batch: &Batch<'_>, encoder: &Encoder, pass: &Pass) -> FeatureMap {
    let mut views = batch.map(2, encoder.input, pass);
    let half = views.data.len() / 2;
    let (first, second) = views.data.split_at_mut(half);
    batch.view_into("first view", first);
    batch.view_into("second view", second);
    views
}

/// A batch of vectors as a loss takes it: values, rows and columns.
pub(super) fn matrix(vectors: &FeatureMap) -> (Vec<f32>, (usize, usize)) {
    (vectors.data.to_vec(), (vectors.n, vectors.shape.len()))
}

/// A gradient of vectors, as a loss gives it, for the backward pass.
pub(super) fn gradient(n: usize, values: impl Into<Buffer>) -> FeatureMap {
    let values = values.into();
    let dim = values.len() / n.max(1);
    FeatureMap::new(n, MapShape::vector(dim), values)
}
