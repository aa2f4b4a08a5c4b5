//! Multi-head self-attention (Vaswani et al. 2017, 1706.03762) under timm's names: `qkv` makes queries, keys and values of every
//! token, `proj` mixes what the heads gathered.

use std::sync::Arc;

use super::{
    Attribute, Buffer, Constant, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, TokenLinear, Value, as_int, join,
    tensors,
};
use crate::kernels::attention::AttentionShape;
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
        let device = pass.device();
        let (mut weights, mut y) = (pass.buffer(shape.weights()), pass.map(qkv.n, input));
        pass.timed(
            "forward",
            shape.flops(),
            || label(&shape),
            || {
                device.attention(&shape, &qkv.data, lengths.as_deref(), &mut weights, &mut y.data);
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
        let (device, mut dqkv) = (pass.device(), pass.map(qkv.n, qkv.shape));
        pass.timed(
            "backward",
            2.0 * shape.flops(),
            || label(&shape),
            || {
                device.attention_backward(
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

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let dim = self.qkv.inputs();
        let [heads, each] = [self.heads, dim / self.heads].map(as_int);
        let qkv = self.qkv.describe(graph, x, input, &join(prefix, "qkv"))?;
        let qkv = graph.reshape(&qkv, &[0, 0, 3, heads, each]);
        // [3][n][heads][tokens][each]
        let qkv = graph.transpose(&qkv, &[2, 0, 3, 1, 4]);
        let [queries, keys, values] = [0, 1, 2].map(|part| {
            let part = graph.slice(&qkv, 0, part..part + 1);
            let axis = graph.ints(&[0]);
            graph.apply("Squeeze", &[&part, &axis])
        });
        let keys = graph.transpose(&keys, &[0, 1, 3, 2]);
        let scale = graph.constant(Constant::Float(1.0 / (each as f32).sqrt()));
        let queries = graph.apply("Mul", &[&queries, &scale]);
        let scores = graph.apply("MatMul", &[&queries, &keys]);
        let weights = graph.apply_with("Softmax", &[&scores], vec![("axis", Attribute::Int(-1))]);
        let gathered = graph.apply("MatMul", &[&weights, &values]);
        let gathered = graph.transpose(&gathered, &[0, 2, 1, 3]);
        let gathered = graph.reshape(&gathered, &[0, 0, as_int(dim)]);
        self.proj.describe(graph, gathered, input, &join(prefix, "proj"))
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
