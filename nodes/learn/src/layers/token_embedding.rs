//! Embedding of tokens and of their places: what a text begins with in a transformer (Devlin et al. 2018, 1810.04805).

use super::{Entry, FeatureMap, Layer, Layout, MapShape, Parameter, Pass, Role, Tensors, join};
use crate::rng::Stream;
use crate::text::{BYTES, token};

/// Deviation of fresh weights, as BERT's.
const DEVIATION: f32 = 0.02;

/// Encoded texts `[n][tokens][1][2]` (see [`crate::text`]) to `[n][tokens][1][dim]`: a vector for each token plus one for its place.
pub struct TokenEmbedding {
    dim: usize,
    /// `[vocabulary][dim]`.
    words: Parameter,
    /// `[tokens][dim]`.
    places: Parameter,
}

impl TokenEmbedding {
    /// Fresh vectors of `dim` values for a vocabulary, in texts of `tokens` tokens.
    pub fn new(vocabulary: usize, tokens: usize, dim: usize, stream: &mut Stream) -> Self {
        Self {
            dim,
            words: Parameter::normal(vocabulary * dim, DEVIATION, stream),
            places: Parameter::normal(tokens * dim, DEVIATION, stream),
        }
    }

    /// Values of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Tokens that have a vector.
    pub fn vocabulary(&self) -> usize {
        self.words.value.len() / self.dim
    }

    /// The tokens' vectors, `[vocabulary][dim]`.
    pub fn words(&mut self) -> &mut Parameter {
        &mut self.words
    }
}

impl Layer for TokenEmbedding {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(
            (input.h * self.dim, input.w * input.c),
            (self.places.value.len(), BYTES),
            "BUG: these are no texts of the embedding's length"
        );
        MapShape { c: self.dim, ..input }
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let mut y = pass.map(x.n, self.output_shape(x.shape));
        let places = self.places.value.chunks_exact(self.dim).cycle();
        let rows = y.data.chunks_exact_mut(self.dim).zip(x.data.chunks_exact(BYTES));
        for ((out, bytes), place) in rows.zip(places) {
            let word = &self.words.value[token(bytes) * self.dim..][..self.dim];
            out.iter_mut()
                .zip(word.iter().zip(place))
                .for_each(|(o, (w, p))| *o = w + p);
        }
        pass.push(x);
        y
    }

    /// A token has no gradient, so nothing is returned.
    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let x: FeatureMap = pass.pop();
        let add = |to: &mut [f32], row: &[f32]| to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
        let tokens = x.shape.h;
        // One after the other, since a word may come up anywhere: the order of a sum is part of its value.
        for (i, (row, bytes)) in dy
            .data
            .chunks_exact(self.dim)
            .zip(x.data.chunks_exact(BYTES))
            .enumerate()
        {
            add(&mut self.words.grad[token(bytes) * self.dim..][..self.dim], row);
            add(&mut self.places.grad[i % tokens * self.dim..][..self.dim], row);
        }
        None
    }
}

impl Tensors for TokenEmbedding {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        for (name, parameter) in [("words.weight", &mut self.words), ("places.weight", &mut self.places)] {
            let shape = vec![parameter.value.len() / self.dim, self.dim];
            out.push(Entry::parameter(
                join(prefix, name),
                shape,
                Layout::Same,
                Role::Weight,
                parameter,
            ));
        }
    }
}
