//! Barlow Twins and VICReg with their gradients: see [`crate::losses`] for what they are.

use super::product::Product;
use super::{Arg, Block, Done, Kernels, Normalised, fits, int};
use crate::losses::{BARLOW_TWINS_EPS, VICREG_EPS, VicregWeights};

/// Two views' projections, `[n][dim]` each, or their gradients.
type Views<'a> = [&'a Block; 2];

/// What a view's columns are taken to: mean 0 and, if asked, deviation 1.
struct Columns<'a> {
    of: &'a Block,
    mean: Block,
    inverse_std: Block,
    /// The columns after that.
    values: Block,
}

/// A scale of one and a shift of zero for each column.
struct Plain {
    ones: Block,
    zeros: Block,
}

impl<'a> Columns<'a> {
    fn norm(&'a self, plain: &'a Plain) -> Normalised<'a> {
        Normalised {
            x: self.of,
            mean: &self.mean,
            inverse_std: &self.inverse_std,
            weight: &plain.ones,
            bias: &plain.zeros,
            relu: false,
        }
    }
}

impl Kernels {
    fn plain_columns(&self, dim: usize) -> Done<Plain> {
        let (ones, zeros) = (self.take(dim)?, self.take(dim)?);
        self.fill(&ones, 1.0)?;
        self.fill(&zeros, 0.0)?;
        Ok(Plain { ones, zeros })
    }

    /// A view's columns with mean 0 and, with `eps`, deviation 1.
    fn columns<'a>(&self, plain: &Plain, of: &'a Block, eps: Option<f32>) -> Done<Columns<'a>> {
        let dim = plain.ones.len();
        let (mean, inverse_std) = (self.take(dim)?, self.take(dim)?);
        self.batch_statistics(of, eps.unwrap_or(1.0), [&mean, &inverse_std], None)?;
        if eps.is_none() {
            self.fill(&inverse_std, 1.0)?;
        }
        let columns = Columns {
            of,
            mean,
            inverse_std,
            values: self.take(of.len())?,
        };
        self.normalise(&columns.norm(plain), &columns.values)?;
        Ok(columns)
    }

    /// `out = left' right / degrees`, `[dim][dim]`, of two views' columns.
    fn of_columns(&self, dim: usize, degrees: f32, [left, right]: Views<'_>) -> Done<Block> {
        let out = self.take(dim * dim)?;
        let product = Product::plain([dim, dim, left.len() / dim], [1, dim], [dim, 1], dim);
        self.product(&product, 1.0 / degrees, (left, 0), (right, 0), None, (&out, 0))?;
        Ok(out)
    }

    /// Barlow Twins of two views' projections; overwrites the gradients and the value. See [`crate::losses::barlow_twins`].
    ///
    /// # Errors
    /// The device's.
    pub fn barlow_twins(&self, dim: usize, views: Views<'_>, lambda: f32, gradients: Views<'_>, loss: &Block) -> Done {
        let n = views[0].len() / dim;
        for of in views.iter().chain(&gradients) {
            fits(of, n * dim);
        }
        let plain = self.plain_columns(dim)?;
        let a = self.columns(&plain, views[0], Some(BARLOW_TWINS_EPS))?;
        let b = self.columns(&plain, views[1], Some(BARLOW_TWINS_EPS))?;
        let correlation = self.of_columns(dim, n as f32, [&a.values, &b.values])?;
        let losses = self.take(dim)?;
        let args = [
            Arg::Int(int(dim)),
            Arg::Float(lambda),
            Arg::Block(&correlation),
            Arg::Block(&losses),
        ];
        self.by_row("correlation_rows", dim, &args)?;
        // The first view meets the correlation's rows, the second its columns.
        let mut back = Product::plain([n, dim, dim], [dim, 1], [1, dim], dim);
        let by = (&correlation, 0);
        self.product(&back, 1.0 / n as f32, (&b.values, 0), by, None, (gradients[0], 0))?;
        back.right = [dim, 1, 0, 0];
        self.product(&back, 1.0 / n as f32, (&a.values, 0), by, None, (gradients[1], 0))?;
        let (unused, also_unused) = (self.take(dim)?, self.take(dim)?);
        for (columns, gradient) in [&a, &b].into_iter().zip(gradients) {
            self.fill(&unused, 0.0)?;
            self.fill(&also_unused, 0.0)?;
            self.normalise_backward(&columns.norm(&plain), true, gradient, &unused, &also_unused)?;
        }
        self.sum(&losses, 1.0, loss)
    }

    /// VICReg of two views' projections; overwrites the gradients and the value. See [`crate::losses::vicreg`].
    ///
    /// # Errors
    /// The device's.
    pub fn vicreg(
        &self,
        dim: usize,
        views: Views<'_>,
        weights: VicregWeights,
        gradients: Views<'_>,
        loss: &Block,
    ) -> Done {
        let n = views[0].len() / dim;
        for of in views.iter().chain(&gradients) {
            fits(of, n * dim);
        }
        let losses = self.take(n + 2 * dim)?;
        let numbers = [Arg::Int(int(n)), Arg::Int(int(dim))];
        let factor = Arg::Float(weights.invariance / (n * dim) as f32);
        let blocks = [views[0], views[1], gradients[0], gradients[1], &losses].map(Arg::Block);
        let args: Vec<Arg<'_>> = numbers.into_iter().chain([factor]).chain(blocks).collect();
        self.by_row("distance_rows", n, &args)?;
        let plain = self.plain_columns(dim)?;
        let degrees = (n - 1) as f32;
        let mut back = Product::plain([n, dim, dim], [dim, 1], [dim, 1], dim);
        back.accumulate = true;
        for (i, (view, gradient)) in views.into_iter().zip(gradients).enumerate() {
            let centred = self.columns(&plain, view, None)?;
            let covariance = self.of_columns(dim, degrees, [&centred.values; 2])?;
            let numbers = [
                degrees,
                weights.variance / (2 * dim) as f32,
                weights.covariance / dim as f32,
                VICREG_EPS,
            ];
            let blocks = [Arg::Block(&covariance), Arg::From(&losses, n + i * dim)];
            let args: Vec<Arg<'_>> = [Arg::Int(int(dim))]
                .into_iter()
                .chain(numbers.map(Arg::Float))
                .chain(blocks)
                .collect();
            self.by_row("covariance_rows", dim, &args)?;
            let values = (&centred.values, 0);
            self.product(&back, 1.0, values, (&covariance, 0), None, (gradient, 0))?;
        }
        self.sum(&losses, 1.0, loss)
    }
}
