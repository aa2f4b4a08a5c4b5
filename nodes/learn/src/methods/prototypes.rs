//! Prototypes: directions that embeddings are compared with, one row each (SwAV's clusters, DINO's last layer).

use crate::layers::{Entry, Layout, Parameter, Role, Tensors, join};
use crate::losses::cosines;
use crate::rng::Stream;

/// A matrix of prototypes, `[count][dim]`. Scores are cosines, so only their directions count.
pub(super) struct Prototypes {
    pub(super) count: usize,
    dim: usize,
    weight: Parameter,
    /// While set, no optimiser touches them.
    pub(super) frozen: bool,
}

impl Prototypes {
    pub(super) fn new(count: usize, dim: usize, stream: &mut Stream) -> Self {
        let mut weight = Parameter::normal(count * dim, 1.0, stream);
        weight.value = crate::metrics::normalised(&weight.value, dim).into();
        Self {
            count,
            dim,
            weight,
            frozen: false,
        }
    }

    /// Scales every prototype to length one, so that steps turn all of them alike.
    pub(super) fn normalise(&mut self) {
        self.weight.value = crate::metrics::normalised(&self.weight.value, self.dim).into();
    }

    /// The values as a loss takes them.
    pub(super) fn matrix(&self) -> (Vec<f32>, (usize, usize)) {
        (self.weight.value.to_vec(), (self.count, self.dim))
    }

    /// Cosines of rows to all prototypes, `[n][count]`, outside the tape.
    pub(super) fn scores(&self, rows: &[f32]) -> Vec<f32> {
        cosines(rows, &self.weight.value, self.dim)
    }

    /// Takes the loss's gradient, unless they are frozen.
    pub(super) fn add_gradient(&mut self, gradient: &[f32]) {
        if !self.frozen {
            self.weight.grad.iter_mut().zip(gradient).for_each(|(g, d)| *g += d);
        }
    }
}

impl Tensors for Prototypes {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let role = if self.frozen { Role::Buffer } else { Role::Weight };
        let (name, shape) = (join(prefix, "weight"), vec![self.count, self.dim]);
        out.push(Entry::parameter(name, shape, Layout::Same, role, &mut self.weight));
    }
}
