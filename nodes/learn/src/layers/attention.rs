//! Multi-head self-attention (Vaswani et al. 2017, 1706.03762) under timm's names: `qkv` makes queries, keys and values of every
//! token, `proj` mixes what the heads gathered.

use std::sync::Arc;

use super::{Buffer, FeatureMap, Layer, MapShape, Pass, TokenLinear, tensors};
use crate::kernels::attention::{self, AttentionShape};
use crate::rng::Stream;

/// How many tokens of each row of a batch are valid, at least 1; what comes after is padding. None: all of them.
pub type Lengths = Option<Arc<[usize]>>;

/// `[n][tokens][dim]` to the same: a map of `h` = tokens, `w` = 1, `c` = dim.
pub struct Attention {
    qkv: TokenLinear,
    proj: TokenLinear,
    heads: usize,
}

/// What backward needs.
struct Saved {
    qkv: FeatureMap,
    weights: Buffer,
    lengths: Lengths,
}

impl Attention {
    /// Fresh weights for `heads` heads of `dim / heads` dimensions each.
    ///
    /// # Panics
    /// With `BUG:` if `heads` does not divide `dim`.
    pub fn new(dim: usize, heads: usize, stream: &mut Stream) -> Self {
        assert!(
            heads > 0 && dim.is_multiple_of(heads),
            "BUG: the heads must divide the dimension"
        );
        Self {
            qkv: TokenLinear::normal(dim, 3 * dim, stream),
            proj: TokenLinear::normal(dim, dim, stream),
            heads,
        }
    }

    /// [`Layer::forward`] on rows of different lengths: no token looks at padding. [`Layer::backward`] is the same for both.
    pub fn forward_padded(&mut self, x: FeatureMap, lengths: &Lengths, pass: &mut Pass) -> FeatureMap {
        let input = x.shape;
        let qkv = self.qkv.forward(x, pass);
        let shape = self.shape(qkv.n, input);
        let (mut weights, mut y) = (pass.buffer(shape.weights()), pass.map(qkv.n, input));
        pass.timed(
            "forward",
            shape.flops(),
            || label(&shape),
            || {
                attention::forward(&shape, &qkv.data, lengths.as_deref(), &mut weights, &mut y.data);
            },
        );
        pass.push(Saved {
            qkv,
            weights,
            lengths: lengths.clone(),
        });
        self.proj.forward(y, pass)
    }

    fn shape(&self, n: usize, input: MapShape) -> AttentionShape {
        AttentionShape {
            n,
            tokens: input.h * input.w,
            heads: self.heads,
            head_dim: input.c / self.heads,
        }
    }
}

impl Layer for Attention {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.proj.output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        self.forward_padded(x, &None, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dy = self.proj.backward(dy, pass, true)?;
        let Saved { qkv, weights, lengths } = pass.pop();
        let shape = self.shape(dy.n, dy.shape);
        let mut dqkv = pass.map(qkv.n, qkv.shape);
        pass.timed(
            "backward",
            2.0 * shape.flops(),
            || label(&shape),
            || {
                attention::backward(
                    &shape,
                    &qkv.data,
                    &weights,
                    lengths.as_deref(),
                    &dy.data,
                    &mut dqkv.data,
                );
            },
        );
        self.qkv.backward(dqkv, pass, need_dx)
    }
}

fn label(shape: &AttentionShape) -> String {
    let AttentionShape {
        tokens,
        heads,
        head_dim,
        ..
    } = shape;
    format!("attention {heads} x {head_dim} on {tokens}")
}

tensors!(Attention: qkv, proj);
