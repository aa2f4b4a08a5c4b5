//! Attention: products of each image's heads, and the softmax between.

use super::product::Product;
use super::{Arg, Block, Done, Kernels, fits, int, perhaps};
use crate::kernels::attention::AttentionShape;

/// Which sizes of a product end at the valid tokens.
const ROWS: i32 = 1;
const COLUMNS: i32 = 2;
const DEPTH: i32 = 4;

/// How the heads of `[n][tokens][parts][heads][head_dim]` lie: steps of a token, an image, a head.
fn steps(s: &AttentionShape, parts: usize) -> [usize; 3] {
    [parts * s.dim(), s.tokens * parts * s.dim(), s.head_dim]
}

/// Those of `[n][heads][tokens][tokens]`.
fn weight_steps(s: &AttentionShape) -> [usize; 3] {
    [s.tokens, s.heads * s.tokens * s.tokens, s.tokens * s.tokens]
}

impl Kernels {
    /// The valid tokens of each row of a batch, on the device.
    fn lengths(&self, lengths: Option<&[usize]>) -> Done<Option<Block>> {
        lengths
            .map(|l| self.place_numbers(l.iter().map(|l| *l as u32)))
            .transpose()
    }

    /// `[tokens][tokens]` for each head: token by token products of `head_dim` values.
    fn scores(
        &self,
        s: &AttentionShape,
        left: (&Block, usize, usize),
        right: (&Block, usize, usize),
        lengths: Option<&Block>,
        to: &Block,
    ) -> Done {
        let ([token, image, head], [other, other_image, other_head]) = (steps(s, left.2), steps(s, right.2));
        let product = Product {
            sizes: [s.tokens, s.tokens, s.head_dim],
            batch: [s.n, s.heads],
            left: [token, 1, image, head],
            right: [1, other, other_image, other_head],
            out: weight_steps(s),
            limits: ROWS | COLUMNS,
            accumulate: false,
        };
        self.product(&product, 1.0, (left.0, left.1), (right.0, right.1), lengths, (to, 0))
    }

    /// `[tokens][head_dim]` for each head: the weights (or, `turned`, their columns) times the tokens' values.
    fn gather(
        &self,
        s: &AttentionShape,
        weights: &Block,
        turned: bool,
        values: (&Block, usize, usize),
        lengths: Option<&Block>,
        to: (&Block, usize, usize),
    ) -> Done {
        let [row, image, head] = weight_steps(s);
        let [token, value_image, value_head] = steps(s, values.2);
        let product = Product {
            sizes: [s.tokens, s.head_dim, s.tokens],
            batch: [s.n, s.heads],
            left: if turned {
                [1, row, image, head]
            } else {
                [row, 1, image, head]
            },
            right: [token, 1, value_image, value_head],
            out: steps(s, to.2),
            limits: ROWS | DEPTH,
            accumulate: false,
        };
        self.product(&product, 1.0, (weights, 0), (values.0, values.1), lengths, (to.0, to.1))
    }

    /// Overwrites `weights` and `out`: see [`crate::kernels::attention::forward`].
    ///
    /// # Errors
    /// The device's.
    pub fn attention(
        &self,
        s: &AttentionShape,
        qkv: &Block,
        lengths: Option<&[usize]>,
        weights: &Block,
        out: &Block,
    ) -> Done {
        fits(qkv, s.inputs());
        fits(weights, s.weights());
        fits(out, s.outputs());
        let lengths = self.lengths(lengths)?;
        self.scores(s, (qkv, 0, 3), (qkv, s.dim(), 3), lengths.as_ref(), weights)?;
        let rows = s.n * s.heads * s.tokens;
        let [all, tokens, heads] = [rows, s.tokens, s.heads].map(|v| Arg::Int(int(v)));
        let factor = Arg::Float(1.0 / (s.head_dim as f32).sqrt());
        let args = [
            all,
            tokens,
            heads,
            factor,
            perhaps(lengths.as_ref()),
            Arg::Block(weights),
        ];
        self.by_row("attention_softmax", rows, &args)?;
        self.gather(s, weights, false, (qkv, 2 * s.dim(), 3), lengths.as_ref(), (out, 0, 1))
    }

    /// Overwrites `dqkv`: see [`crate::kernels::attention::backward`].
    ///
    /// # Errors
    /// The device's.
    pub fn attention_backward(
        &self,
        s: &AttentionShape,
        qkv: &Block,
        weights: &Block,
        lengths: Option<&[usize]>,
        dout: &Block,
        dqkv: &Block,
    ) -> Done {
        fits(qkv, s.inputs());
        fits(dqkv, s.inputs());
        fits(weights, s.weights());
        fits(dout, s.outputs());
        let lengths = self.lengths(lengths)?;
        let (lengths, dim) = (lengths.as_ref(), s.dim());
        let dscores = self.take(s.weights())?;
        self.scores(s, (dout, 0, 1), (qkv, 2 * dim, 3), lengths, &dscores)?;
        let rows = s.n * s.heads * s.tokens;
        let [all, tokens, heads] = [rows, s.tokens, s.heads].map(|v| Arg::Int(int(v)));
        let factor = Arg::Float(1.0 / (s.head_dim as f32).sqrt());
        let args = [
            all,
            tokens,
            heads,
            factor,
            perhaps(lengths),
            Arg::Block(weights),
            Arg::Block(&dscores),
        ];
        self.by_row("attention_softmax_backward", rows, &args)?;
        self.gather(s, weights, true, (dout, 0, 1), lengths, (dqkv, 2 * dim, 3))?;
        self.gather(s, &dscores, false, (qkv, dim, 3), lengths, (dqkv, 0, 3))?;
        self.gather(s, &dscores, true, (qkv, 0, 3), lengths, (dqkv, dim, 3))
    }
}
