//! Transformer blocks with the norms before their parts (Dosovitskiy et al. 2020, 2010.11929, eq. 2 and 3), alone and in a stack.
//!
//! `a = x + attn(norm1(x))`, `y = a + mlp(norm2(a))`. A map of `h` = tokens, `w` = 1, `c` = dim goes in and comes out. Rows of different
//! lengths, such as texts, go through `forward_padded`; backward is the same for both.

use super::{
    Attention, Entry, FeatureMap, Graph, Layer, LayerNorm, Lengths, MapShape, Mlp, NoGraph, Pass, Tensors, Value, join,
    tensors,
};
use crate::rng::Stream;

/// Sizes of a transformer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerShape {
    /// Values of a token.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of each attention; they divide `dim`.
    pub heads: usize,
    /// Values between the two layers of each block's MLP.
    pub hidden: usize,
}

/// Attention and MLP, each with a norm before it and a shortcut around both.
pub struct TransformerBlock {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl TransformerBlock {
    /// A block with fresh weights.
    ///
    /// # Panics
    /// With `BUG:` if the heads do not divide the dimension.
    pub fn new(shape: &TransformerShape, stream: &mut Stream) -> Self {
        Self {
            norm1: LayerNorm::new(shape.dim, LayerNorm::EPS),
            attn: Attention::new(shape.dim, shape.heads, stream),
            norm2: LayerNorm::new(shape.dim, LayerNorm::EPS),
            mlp: Mlp::new(shape.dim, shape.hidden, stream),
        }
    }

    /// [`Layer::forward`] on rows of different lengths. What comes out for padding means nothing; give it a gradient of zero.
    pub fn forward_padded(&mut self, x: FeatureMap, lengths: &Lengths, pass: &mut Pass) -> FeatureMap {
        let normal = self.norm1.forward(x.clone(), pass);
        let mut a = self.attn.forward_padded(normal, lengths, pass);
        add(&mut a, &x, "forward", pass);
        let normal = self.norm2.forward(a.clone(), pass);
        let mut y = self.mlp.forward(normal, pass);
        add(&mut y, &a, "forward", pass);
        y
    }
}

impl Layer for TransformerBlock {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.norm1.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.forward_padded(x, &None, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let da = self.mlp.backward(dy.clone(), pass, true)?;
        let mut da = self.norm2.backward(da, pass, true)?;
        add(&mut da, &dy, "backward", pass);
        let dx = self.attn.backward(da.clone(), pass, true)?;
        let mut dx = self.norm1.backward(dx, pass, true)?;
        add(&mut dx, &da, "backward", pass);
        Some(dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let normal = self.norm1.describe(graph, x.clone(), input, &join(prefix, "norm1"))?;
        let attended = self.attn.describe(graph, normal, input, &join(prefix, "attn"))?;
        let a = graph.apply("Add", &[&x, &attended]);
        let normal = self.norm2.describe(graph, a.clone(), input, &join(prefix, "norm2"))?;
        let y = self.mlp.describe(graph, normal, input, &join(prefix, "mlp"))?;
        Ok(graph.apply("Add", &[&a, &y]))
    }
}

/// `to += other`.
fn add(to: &mut FeatureMap, other: &FeatureMap, part: &'static str, pass: &mut Pass) {
    let (device, channels) = (pass.device(), to.shape.c);
    pass.timed(
        part,
        0.0,
        || format!("residual sum {channels}"),
        || device.add(&mut to.data, &other.data),
    );
}

tensors!(TransformerBlock: norm1, attn, norm2, mlp);

/// Blocks one after the other and a last norm: `blocks.0` .. and `norm`.
pub struct Transformer {
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
}

impl Transformer {
    /// A stack with fresh weights.
    ///
    /// # Panics
    /// With `BUG:` if the heads do not divide the dimension.
    pub fn new(shape: &TransformerShape, stream: &mut Stream) -> Self {
        Self {
            blocks: (0..shape.depth).map(|_| TransformerBlock::new(shape, stream)).collect(),
            norm: LayerNorm::new(shape.dim, LayerNorm::EPS),
        }
    }

    /// [`Layer::forward`] on rows of different lengths. What comes out for padding means nothing; give it a gradient of zero.
    pub fn forward_padded(&mut self, x: FeatureMap, lengths: &Lengths, pass: &mut Pass) -> FeatureMap {
        let blocks = self.blocks.iter_mut();
        let y = blocks.fold(x, |x, block| block.forward_padded(x, lengths, pass));
        self.norm.forward(y, pass)
    }
}

impl Layer for Transformer {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.norm.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.forward_padded(x, &None, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let mut gradient = self.norm.backward(dy, pass, true)?;
        for (i, block) in self.blocks.iter_mut().enumerate().rev() {
            gradient = block.backward(gradient, pass, need_dx || i > 0)?;
        }
        Some(gradient)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let mut x = x;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.describe(graph, x, input, &join(prefix, &format!("blocks.{i}")))?;
        }
        self.norm.describe(graph, x, input, &join(prefix, "norm"))
    }
}

impl Tensors for Transformer {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        for (i, block) in self.blocks.iter_mut().enumerate() {
            block.entries(&join(prefix, &format!("blocks.{i}")), out);
        }
        self.norm.entries(&join(prefix, "norm"), out);
    }
}
