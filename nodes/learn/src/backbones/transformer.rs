//! A small transformer encoder for texts (BERT, Devlin et al. 2018, 1810.04805), with the norms before its blocks' parts and a last norm.
//!
//! Tokens and places are embedded, blocks mix them, and the features of a text are the mean over its tokens, padding left out, or its class
//! token. At its own
//! sizes it has 100 thousand parameters and `dim` more for each token of the vocabulary.

use std::sync::Arc;

use super::{Backbone, BackboneError, BackboneSettings, Family, Pool, Stem, size, stack};
use crate::layers::{
    FeatureMap, Layer, Lengths, MapShape, Parameter, Pass, TokenEmbedding, Transformer, TransformerShape, tensors,
};
use crate::rng::Stream;
use crate::settings::SettingError;
use crate::text::{BYTES, PAD, token};

/// The name written in workflows.
pub(super) const NAME: &str = "transformer";

/// Two blocks of 64 values.
pub(super) const TRANSFORMER: Backbone = Backbone {
    name: NAME,
    widths: &[],
    stems: false,
    family: Family::Text,
};

/// Its own sizes.
const SIZES: stack::Defaults = stack::Defaults { dim: 64, depth: 2 };

/// The declared sizes.
pub(super) fn sizes(settings: &BackboneSettings) -> Result<TransformerShape, BackboneError> {
    let refuse = |key, message: String| Err(SettingError::new(key, message).into());
    let foreign = [
        ("widths", !settings.widths.is_empty()),
        ("grid", settings.grid != 1),
        ("stem", settings.stem != Stem::Small),
        ("patch", settings.patch.is_some()),
    ];
    if let Some((key, _)) = foreign.into_iter().find(|(_, given)| *given) {
        return refuse(
            key,
            format!("`{NAME}` takes texts and has no `{key}`: its sizes are `dim`, `depth` and `heads`"),
        );
    }
    stack::sizes(settings, SIZES)
}

/// Text in, features out.
pub struct TextEncoder {
    embedding: TokenEmbedding,
    transformer: Transformer,
    pool: Pool,
}

impl TextEncoder {
    /// Fresh weights for texts of `tokens` tokens of a vocabulary.
    ///
    /// # Errors
    /// If the declared sizes do not fit each other.
    pub(super) fn new(
        settings: &BackboneSettings,
        vocabulary: usize,
        tokens: usize,
        stream: &mut Stream,
    ) -> Result<Self, BackboneError> {
        let shape = sizes(settings)?;
        let parameters = size::of_blocks(shape.dim, shape.depth, shape.hidden, vocabulary + tokens);
        size::check(settings, "dim", parameters)?;
        Ok(Self {
            embedding: TokenEmbedding::new(vocabulary, tokens, shape.dim, stream),
            transformer: Transformer::new(&shape, stream),
            pool: settings.pool.unwrap_or(Pool::Mean),
        })
    }

    /// Values of a token's vector.
    pub fn dim(&self) -> usize {
        self.embedding.dim()
    }

    /// Tokens that it knows.
    pub fn vocabulary(&self) -> usize {
        self.embedding.vocabulary()
    }

    /// The vectors that tokens are embedded as, `[vocabulary][dim]`.
    pub fn words(&mut self) -> &mut Parameter {
        self.embedding.words()
    }

    /// A vector for every token, `[n][tokens][1][dim]`; what comes out for padding means nothing.
    pub fn tokens(&mut self, texts: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let lengths: Lengths = Some(lengths(&texts));
        let embedded = self.embedding.forward(texts, pass);
        self.transformer.forward_padded(embedded, &lengths, pass)
    }

    /// The backward pass of [`TextEncoder::tokens`]; the gradient of padding is zero.
    pub fn tokens_backward(&mut self, dtokens: FeatureMap, pass: &mut Pass) {
        if let Some(dembedded) = self.transformer.backward(dtokens, pass, true) {
            self.embedding.backward(dembedded, pass, false);
        }
    }
}

impl TextEncoder {
    /// How many of each text's tokens its features are the mean of: all but padding, or the class token alone.
    fn pooled(&self, texts: &FeatureMap) -> Arc<[usize]> {
        match self.pool {
            Pool::Mean => lengths(texts),
            Pool::Token => vec![1; texts.n].into(),
        }
    }
}

/// Tokens of each text without the padding behind them, at least 1.
fn lengths(texts: &FeatureMap) -> Arc<[usize]> {
    let length = |text: &[f32]| {
        let last = text.chunks_exact(BYTES).rposition(|bytes| token(bytes) != PAD);
        last.map_or(1, |place| place + 1)
    };
    texts.data.chunks_exact(texts.shape.len()).map(length).collect()
}

impl Layer for TextEncoder {
    fn output_shape(&self, input: MapShape) -> MapShape {
        MapShape::vector(self.embedding.output_shape(input).c)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let lengths = self.pooled(&x);
        let tokens = self.tokens(x, pass);
        let dim = tokens.shape.c;
        let mut y = pass.map(tokens.n, MapShape::vector(dim));
        let texts = tokens.data.chunks_exact(tokens.shape.len());
        for ((mean, text), length) in y.data.chunks_exact_mut(dim).zip(texts).zip(lengths.iter()) {
            mean.fill(0.0);
            for vector in text.chunks_exact(dim).take(*length) {
                mean.iter_mut().zip(vector).for_each(|(m, v)| *m += v);
            }
            mean.iter_mut().for_each(|m| *m /= *length as f32);
        }
        pass.push((lengths, tokens.shape));
        y
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let (lengths, shape): (Arc<[usize]>, MapShape) = pass.pop();
        let mut dtokens = pass.map(dy.n, shape);
        dtokens.data.fill(0.0);
        let texts = dtokens.data.chunks_exact_mut(shape.len());
        for ((gradient, text), length) in dy.data.chunks_exact(shape.c).zip(texts).zip(lengths.iter()) {
            for vector in text.chunks_exact_mut(shape.c).take(*length) {
                vector
                    .iter_mut()
                    .zip(gradient)
                    .for_each(|(v, g)| *v = g / *length as f32);
            }
        }
        self.tokens_backward(dtokens, pass);
        None
    }
}

tensors!(TextEncoder: embedding as "", transformer as "");
