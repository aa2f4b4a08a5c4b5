//! Batch normalisation.

use super::{Arg, Block, COLUMN_SUMS, Done, Kernels, Splits, fits, flag, int, long, perhaps};
use crate::kernels::norm::unbiased;

/// A batch norm as it is applied: see [`crate::kernels::norm::Applied`].
#[derive(Clone, Copy, Debug)]
pub struct Normalised<'a> {
    /// The input, `[rows][channels]`.
    pub x: &'a Block,
    /// Mean that is subtracted.
    pub mean: &'a Block,
    /// `1 / sqrt(variance + eps)`.
    pub inverse_std: &'a Block,
    /// Gamma.
    pub weight: &'a Block,
    /// Beta.
    pub bias: &'a Block,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Normalised<'_> {
    fn channels(&self) -> usize {
        self.mean.len()
    }

    fn constants(&self) -> [Arg<'_>; 4] {
        [self.mean, self.inverse_std, self.weight, self.bias].map(Arg::Block)
    }
}

impl Kernels {
    /// Overwrites mean and `1 / sqrt(variance + eps)` of each column; `running` mean and variance, if given, move by their share towards
    /// them. See [`crate::device::Device::batch_statistics`].
    ///
    /// # Errors
    /// The device's.
    pub fn batch_statistics(
        &self,
        x: &Block,
        eps: f32,
        [mean, inverse_std]: [&Block; 2],
        running: Option<([&Block; 2], f32)>,
    ) -> Done {
        let channels = mean.len();
        fits(inverse_std, channels);
        let splits = Splits::new(x.len() / channels, channels);
        let parts = self.take(splits.parts())?;
        let [rows, columns, per] = [splits.rows, channels, splits.per_split].map(|v| Arg::Int(int(v)));
        let args = [rows, columns, per, Arg::Block(x), Arg::Block(&parts)];
        self.blocks("moments_parts", splits.grid(), COLUMN_SUMS, &args)?;
        let count = Arg::Int(int(splits.count));
        let (running, share) = running.map_or(([Arg::Null; 2], 0.0), |(of, share)| (of.map(Arg::Block), share));
        let numbers = [eps, share, unbiased(splits.rows)].map(Arg::Float);
        let blocks = [x, &parts, mean, inverse_std].map(Arg::Block);
        let args: Vec<Arg<'_>> = [rows, columns, per, count]
            .into_iter()
            .chain(numbers)
            .chain(blocks)
            .chain(running)
            .collect();
        self.by_row("moments_merge", channels, &args)
    }

    /// Overwrites `inverse` with `1 / sqrt(variance + eps)`.
    ///
    /// # Errors
    /// The device's.
    pub fn inverse_std(&self, variance: &Block, eps: f32, inverse: &Block) -> Done {
        fits(inverse, variance.len());
        let args = [
            Arg::Int(int(variance.len())),
            Arg::Float(eps),
            Arg::Block(variance),
            Arg::Block(inverse),
        ];
        self.flat("inverse_deviation", variance.len(), &args)
    }

    /// Overwrites `y` with the normalised input.
    ///
    /// # Errors
    /// The device's.
    pub fn normalise(&self, norm: &Normalised<'_>, y: &Block) -> Done {
        fits(y, norm.x.len());
        let first = [
            long(y.len()),
            Arg::Int(int(norm.channels())),
            flag(norm.relu),
            Arg::Block(norm.x),
        ];
        let args: Vec<Arg<'_>> = first
            .into_iter()
            .chain(norm.constants())
            .chain([Arg::Block(y)])
            .collect();
        self.by_four("normalise", y.len(), &args)
    }

    /// Turns `dy` into the gradient of the input and adds to `dweight` and `dbias`: see [`crate::kernels::norm::backward`].
    ///
    /// # Errors
    /// The device's.
    pub fn normalise_backward(
        &self,
        norm: &Normalised<'_>,
        batch_statistics: bool,
        dy: &Block,
        dweight: &Block,
        dbias: &Block,
    ) -> Done {
        fits(dy, norm.x.len());
        let channels = norm.channels();
        let splits = Splits::new(dy.len() / channels, channels);
        let (parts, constants) = (self.take(splits.parts())?, self.take(2 * channels)?);
        let [rows, columns, per, count] =
            [splits.rows, channels, splits.per_split, splits.count].map(|v| Arg::Int(int(v)));
        let first = [rows, columns, per, flag(norm.relu), Arg::Block(norm.x), Arg::Block(dy)];
        let args: Vec<Arg<'_>> = first
            .into_iter()
            .chain(norm.constants())
            .chain([Arg::Block(&parts)])
            .collect();
        self.blocks("gradient_parts", splits.grid(), COLUMN_SUMS, &args)?;
        let first = [rows, columns, count, flag(batch_statistics)];
        let blocks = [
            &parts,
            norm.mean,
            norm.inverse_std,
            norm.weight,
            dweight,
            dbias,
            &constants,
        ]
        .map(Arg::Block);
        let args: Vec<Arg<'_>> = first.into_iter().chain(blocks).collect();
        self.by_row("gradient_merge", channels, &args)?;
        let first = [long(dy.len()), columns, flag(norm.relu), Arg::Block(norm.x)];
        let last = [Arg::Block(&constants), Arg::Block(dy)];
        let args: Vec<Arg<'_>> = first.into_iter().chain(norm.constants()).chain(last).collect();
        self.by_four("normalise_backward", dy.len(), &args)
    }

    /// Adds a split matrix's sums of columns.
    pub(super) fn column_merge(&self, splits: Splits, parts: &Block, first: &Block, second: Option<&Block>) -> Done {
        let [columns, count] = [splits.columns, splits.count].map(|v| Arg::Int(int(v)));
        let args = [columns, count, Arg::Block(parts), Arg::Block(first), perhaps(second)];
        self.by_row("column_merge", splits.columns, &args)
    }
}
