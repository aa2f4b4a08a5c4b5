//! WRN-28-2 (Zagoruyko & Komodakis 2016, 1605.07146) in the form of the benchmarks of semi-supervised learning (Oliver et al. 2018,
//! 1804.09170; semilearn's names): leaky ReLU of slope .1, a norm before the pooling.
//!
//! Two things are that form's own: in the first block the shortcut begins behind norm and activation, and the first blocks of the later stages have
//! neither before their first convolution, though the norm is there. Batch norms have PyTorch's momentum of .1, not the .001 of that
//! form, which takes thousands of steps to learn what the statistics are.

use super::{Backbone, Family, StageShape};
use crate::layers::{
    BatchNorm, Conv2d, ConvSettings, Dropout, Entry, FeatureMap, Graph, Layer, LeakyRelu, MapShape, NoGraph,
    NormSettings, Pass, Sequential, Tensors, Value, join,
};
use crate::rng::Stream;

/// Three stages of four blocks.
pub(super) const WRN28_2: Backbone = Backbone {
    name: "wrn-28-2",
    widths: &[32, 64, 128],
    stems: false,
    family: Family::Stages(build),
};

/// Channels of the first convolution.
const FIRST: usize = 16;
const BLOCKS: usize = 4;
const SLOPE: f32 = 0.1;

fn build(shape: &StageShape<'_>, stream: &mut Stream) -> Sequential {
    let first = ConvSettings::three(shape.channels, FIRST, 1);
    let mut net = Sequential::default().with("conv1", Conv2d::new(first, true, stream));
    let (mut from, mut done) = (FIRST, 0);
    for (stage, width) in shape.widths.iter().enumerate() {
        for at in 0..BLOCKS {
            let stride = if stage > 0 && at == 0 { 2 } else { 1 };
            let drop = shape.drop_at(done, shape.widths.len() * BLOCKS);
            let block = WideBlock::new((from, *width, stride), stage == 0, drop, stream);
            net = net.with(&format!("block{}.layer.{at}", stage + 1), block);
            (from, done) = (*width, done + 1);
        }
    }
    let settings = NormSettings {
        eps: 1e-3,
        ..NormSettings::default()
    };
    net.with("bn1", BatchNorm::new(from, false, settings))
        .with("", LeakyRelu { slope: SLOPE })
}

/// Norm, activation, convolution, twice, and a shortcut.
struct WideBlock {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    relu1: LeakyRelu,
    relu2: LeakyRelu,
    drop: Dropout,
    /// Where the shape changes.
    shortcut: Option<Conv2d>,
    /// Whether norm and activation come first; the shortcut of a block that changes the shape begins behind them.
    activates: bool,
}

impl WideBlock {
    fn new((from, to, stride): (usize, usize, usize), first_stage: bool, drop: f32, stream: &mut Stream) -> Self {
        let norm = |channels| BatchNorm::new(channels, false, NormSettings::default());
        let relu = || LeakyRelu { slope: SLOPE };
        Self {
            bn1: norm(from),
            conv1: Conv2d::new(ConvSettings::three(from, to, stride), false, stream),
            bn2: norm(to),
            conv2: Conv2d::new(ConvSettings::three(to, to, 1), false, stream),
            relu1: relu(),
            relu2: relu(),
            drop: Dropout::images(drop),
            shortcut: (from != to).then(|| Conv2d::new(ConvSettings::one(from, to, stride), false, stream)),
            activates: from == to || first_stage,
        }
    }
}

impl Layer for WideBlock {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.conv1.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let active = match self.activates {
            true => {
                let normed = self.bn1.forward(x.clone(), pass);
                self.relu1.forward(normed, pass)
            }
            false => x.clone(),
        };
        let beside = match &mut self.shortcut {
            Some(shortcut) => shortcut.forward(active.clone(), pass),
            None => x,
        };
        let y = self.conv1.forward(active, pass);
        let y = self.bn2.forward(y, pass);
        let y = self.relu2.forward(y, pass);
        let y = self.conv2.forward(y, pass);
        let mut y = self.drop.forward(y, pass);
        pass.device().add(&mut y.data, &beside.data);
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let d = self.drop.backward(dy.clone(), pass, true)?;
        let d = self.conv2.backward(d, pass, true)?;
        let d = self.relu2.backward(d, pass, true)?;
        let d = self.bn2.backward(d, pass, true)?;
        let mut dactive = self.conv1.backward(d, pass, true)?;
        let mut dx = Some(dy);
        if let Some(shortcut) = &mut self.shortcut {
            let more = shortcut.backward(dx.take()?, pass, true)?;
            pass.device().add(&mut dactive.data, &more.data);
        }
        if self.activates {
            dactive = self.relu1.backward(dactive, pass, true)?;
            dactive = self.bn1.backward(dactive, pass, true)?;
        }
        if let Some(dx) = dx {
            pass.device().add(&mut dactive.data, &dx.data);
        }
        Some(dactive)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let (inner, at) = (self.conv1.output_shape(input), |name: &str| join(prefix, name));
        let active = match self.activates {
            true => {
                let normed = self.bn1.describe(graph, x.clone(), input, &at("bn1"))?;
                self.relu1.describe(graph, normed, input, "")?
            }
            false => x.clone(),
        };
        let beside = match &self.shortcut {
            Some(shortcut) => shortcut.describe(graph, active.clone(), input, &at("convShortcut"))?,
            None => x,
        };
        let y = self.conv1.describe(graph, active, input, &at("conv1"))?;
        let y = self.bn2.describe(graph, y, inner, &at("bn2"))?;
        let y = self.relu2.describe(graph, y, inner, "")?;
        let y = self.conv2.describe(graph, y, inner, &at("conv2"))?;
        Ok(graph.apply("Add", &[&y, &beside]))
    }
}

impl Tensors for WideBlock {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.bn1.entries(&join(prefix, "bn1"), out);
        self.conv1.entries(&join(prefix, "conv1"), out);
        self.bn2.entries(&join(prefix, "bn2"), out);
        self.conv2.entries(&join(prefix, "conv2"), out);
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.entries(&join(prefix, "convShortcut"), out);
        }
    }
}
