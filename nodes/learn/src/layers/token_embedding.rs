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

/// Each token and its place, of encoded texts.
fn indices(texts: &FeatureMap) -> (Vec<usize>, Vec<usize>) {
    let places = (0..texts.rows()).map(|row| row % texts.shape.h);
    (texts.data.chunks_exact(BYTES).map(token).collect(), places.collect())
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
        let (device, mut places) = (pass.device(), pass.buffer(y.data.len()));
        let (words, order) = indices(&x);
        device.gather_rows(self.dim, &self.words.value, &words, &mut y.data);
        device.gather_rows(self.dim, &self.places.value, &order, &mut places);
        device.add(&mut y.data, &places);
        pass.push(x);
        y
    }

    /// A token has no gradient, so nothing is returned.
    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, _need_dx: bool) -> Option<FeatureMap> {
        let x: FeatureMap = pass.pop();
        let (device, (words, order)) = (pass.device(), indices(&x));
        device.scatter_rows(self.dim, &dy.data, &words, &mut self.words.grad);
        device.scatter_rows(self.dim, &dy.data, &order, &mut self.places.grad);
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
