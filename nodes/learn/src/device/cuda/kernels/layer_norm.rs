//! Layer normalisation.

use super::{Arg, Block, COLUMN_SUMS, Done, Kernels, Splits, fits, int};

impl Kernels {
    /// Overwrites `y` and `moments`, `[rows][2]`: each row's mean and `1 / sqrt(variance + eps)`.
    ///
    /// # Errors
    /// The device's.
    pub fn layer_norm(&self, x: &Block, weight: &Block, bias: &Block, eps: f32, y: &Block, moments: &Block) -> Done {
        let (dim, rows) = (weight.len(), x.len() / weight.len());
        fits(y, x.len());
        fits(moments, 2 * rows);
        let numbers = [Arg::Int(int(rows)), Arg::Int(int(dim)), Arg::Float(eps)];
        let args: Vec<Arg<'_>> = numbers
            .into_iter()
            .chain([x, weight, bias, y, moments].map(Arg::Block))
            .collect();
        self.by_row("layer_norm", rows, &args)
    }

    /// Overwrites `dy` with the gradient of the input and adds to those of weight and bias.
    ///
    /// # Errors
    /// The device's.
    pub fn layer_norm_backward(
        &self,
        x: &Block,
        moments: &Block,
        weight: &Block,
        dy: &Block,
        dweight: &Block,
        dbias: &Block,
    ) -> Done {
        let (dim, rows) = (weight.len(), x.len() / weight.len());
        fits(dy, x.len());
        let splits = Splits::new(rows, dim);
        let parts = self.take(splits.parts())?;
        let numbers = [rows, dim, splits.per_split].map(|v| Arg::Int(int(v)));
        let args: Vec<Arg<'_>> = numbers
            .into_iter()
            .chain([x, moments, dy, &parts].map(Arg::Block))
            .collect();
        self.blocks("layer_norm_parts", splits.grid(), COLUMN_SUMS, &args)?;
        self.column_merge(splits, &parts, dweight, Some(dbias))?;
        let numbers = [rows, dim].map(|v| Arg::Int(int(v)));
        let args: Vec<Arg<'_>> = numbers
            .into_iter()
            .chain([x, moments, weight, dy].map(Arg::Block))
            .collect();
        self.by_row("layer_norm_backward", rows, &args)
    }
}
