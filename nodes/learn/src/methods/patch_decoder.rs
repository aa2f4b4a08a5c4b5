//! The decoder of a masked autoencoder (He et al. 2021, 2111.06377, section 3): a light transformer over the visible tokens and a
//! learnt token in place of every hidden one, and a linear layer to the patches' values.

use crate::backbones::{Visible, VisionTransformer};
use crate::layers::{
    Entry, FeatureMap, Layer, Layout, MapShape, Parameter, Pass, Role, Tensors, TokenLinear, Transformer,
    TransformerShape, join,
};
use crate::rng::Stream;

/// `[n][1 + visible][encoder's dim]` to `[n][patches][values of a patch]`.
pub(super) struct PatchDecoder {
    embed: TokenLinear,
    mask_token: Parameter,
    /// `[1 + patches][dim]`, fixed.
    positions: Vec<f32>,
    transformer: Transformer,
    pred: TokenLinear,
}

impl PatchDecoder {
    /// A fresh decoder for what `vit` makes of images.
    pub(super) fn new(vit: &VisionTransformer, shape: &TransformerShape, stream: &mut Stream) -> Self {
        Self {
            embed: TokenLinear::normal(vit.shape().transformer.dim, shape.dim, stream),
            mask_token: Parameter::normal(shape.dim, 0.02, stream),
            positions: positions(vit.patches(), vit.across(), shape.dim),
            transformer: Transformer::new(shape, stream),
            pred: TokenLinear::normal(shape.dim, vit.patch_len(), stream),
        }
    }

    /// Guesses at all patches, in their order.
    pub(super) fn forward(&mut self, latent: FeatureMap, visible: &Visible, pass: &mut Pass) -> FeatureMap {
        let embedded = self.embed.forward(latent, pass);
        let dim = embedded.shape.c;
        let shape = MapShape {
            h: self.positions.len() / dim,
            w: 1,
            c: dim,
        };
        let mut tokens = pass.map(embedded.n, shape);
        for (i, tokens) in tokens.data.chunks_exact_mut(shape.len()).enumerate() {
            tokens
                .chunks_exact_mut(dim)
                .for_each(|token| token.copy_from_slice(&self.mask_token.value));
            for (at, row) in Self::places(visible, i).enumerate() {
                let from = &embedded.data[(i * (1 + visible.each) + at) * dim..][..dim];
                tokens[row * dim..][..dim].copy_from_slice(from);
            }
            tokens.iter_mut().zip(&self.positions).for_each(|(t, p)| *t += p);
        }
        let tokens = self.transformer.forward(tokens, pass);
        let found = self.pred.forward(tokens, pass);
        // The class token stands for no patch.
        let patches = MapShape {
            h: shape.h - 1,
            ..found.shape
        };
        let mut kept = pass.map(found.n, patches);
        let images = kept
            .data
            .chunks_exact_mut(patches.len())
            .zip(found.data.chunks_exact(found.shape.len()));
        images.for_each(|(kept, found)| kept.copy_from_slice(&found[patches.c..]));
        kept
    }

    /// Takes back the gradient of the guesses, `[n][patches][values]`; gives that of the latent tokens.
    pub(super) fn backward(&mut self, dfound: Vec<f32>, visible: &Visible, pass: &mut Pass) -> Option<FeatureMap> {
        let (dim, n) = (self.mask_token.value.len(), visible.places.len() / visible.each);
        let tokens = self.positions.len() / dim;
        let shape = MapShape {
            h: tokens,
            w: 1,
            c: dfound.len() / n / (tokens - 1),
        };
        let mut dy = pass.map(n, shape);
        let images = dy
            .data
            .chunks_exact_mut(shape.len())
            .zip(dfound.chunks_exact(shape.len() - shape.c));
        for (dy, dfound) in images {
            let (class, patches) = dy.split_at_mut(shape.c);
            class.fill(0.0);
            patches.copy_from_slice(dfound);
        }
        let dy = self.pred.backward(dy, pass, true)?;
        let dtokens = self.transformer.backward(dy, pass, true)?;
        let mut dembedded = pass.map(
            n,
            MapShape {
                h: 1 + visible.each,
                w: 1,
                c: dim,
            },
        );
        for (i, d) in dtokens.data.chunks_exact(tokens * dim).enumerate() {
            let mut seen = vec![false; tokens];
            for (at, row) in Self::places(visible, i).enumerate() {
                seen[row] = true;
                let to = &mut dembedded.data[(i * (1 + visible.each) + at) * dim..][..dim];
                to.copy_from_slice(&d[row * dim..][..dim]);
            }
            for (d, _) in d.chunks_exact(dim).zip(&seen).filter(|(_, seen)| !**seen) {
                self.mask_token.grad.iter_mut().zip(d).for_each(|(g, d)| *g += d);
            }
        }
        self.embed.backward(dembedded, pass, true)
    }

    /// The rows of the tokens that image `i` brings, the class token's first.
    fn places(visible: &Visible, i: usize) -> impl Iterator<Item = usize> + '_ {
        let places = &visible.places[i * visible.each..][..visible.each];
        std::iter::once(0).chain(places.iter().map(|place| 1 + *place as usize))
    }
}

/// Fixed positions, as in the paper: a quarter of the values each for sine and cosine of row and column, at falling
/// frequencies (Vaswani et al. 2017, section 3.5); none for the class token.
fn positions(patches: usize, across: usize, dim: usize) -> Vec<f32> {
    let quarter = dim.div_ceil(4);
    let value = |place: usize, i: usize| {
        let of = if i / quarter < 2 {
            place / across
        } else {
            place % across
        };
        let frequency = 10_000f64.powf(-((i % quarter) as f64) / quarter as f64);
        let angle = of as f64 * frequency;
        (if (i / quarter).is_multiple_of(2) {
            angle.sin()
        } else {
            angle.cos()
        }) as f32
    };
    let class = vec![0.0; dim];
    let all = (0..patches).flat_map(|place| (0..dim).map(move |i| (place, i)));
    class.into_iter().chain(all.map(|(place, i)| value(place, i))).collect()
}

impl Tensors for PatchDecoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let dim = self.mask_token.value.len();
        self.embed.entries(&join(prefix, "embed"), out);
        out.push(Entry::parameter(
            join(prefix, "mask_token"),
            vec![1, 1, dim],
            Layout::Same,
            Role::Bias,
            &mut self.mask_token,
        ));
        self.transformer.entries(prefix, out);
        self.pred.entries(&join(prefix, "pred"), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_has_a_position_of_its_own() {
        let (patches, dim) = (49, 64);
        let all = positions(patches, 7, dim);
        let rows: Vec<&[f32]> = all.chunks_exact(dim).collect();
        assert!(rows[0].iter().all(|v| *v == 0.0), "the class token has none");
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[i + 1..] {
                let distance: f32 = a.iter().zip(*b).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(distance > 0.1, "two patches have the same position");
            }
        }
    }
}
