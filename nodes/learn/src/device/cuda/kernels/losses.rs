//! Losses with their gradients: see [`crate::losses`] for what they are.

use super::product::Product;
use super::{Arg, Block, Done, Kernels, fits, int, long};

/// Which column of its scores a row is drawn to, and what does not count.
enum Target {
    /// The row's partner in the other half of the batch; the row itself does not count.
    Partner,
    /// The first column.
    First,
}

impl Kernels {
    /// `unit` gets the rows of `z` with length one, the result their lengths.
    fn unit_rows(&self, dim: usize, z: &Block, unit: &Block) -> Done<Block> {
        fits(unit, z.len());
        let rows = z.len() / dim;
        let norms = self.take(rows)?;
        let sizes = [Arg::Int(int(rows)), Arg::Int(int(dim))];
        let args: Vec<Arg<'_>> = sizes.into_iter().chain([z, unit, &norms].map(Arg::Block)).collect();
        self.by_row("unit_rows", rows, &args)?;
        Ok(norms)
    }

    /// Turns the gradient of unit rows into that of the rows.
    fn unit_rows_backward(&self, dim: usize, unit: &Block, norms: &Block, gradient: &Block) -> Done {
        let sizes = [Arg::Int(int(norms.len())), Arg::Int(int(dim))];
        let args: Vec<Arg<'_>> = sizes
            .into_iter()
            .chain([unit, norms, gradient].map(Arg::Block))
            .collect();
        self.by_row("unit_rows_backward", norms.len(), &args)
    }

    /// Scores become `share` times their gradient; `losses` gets each row's loss.
    fn contrast(&self, target: &Target, share: f32, scores: &Block, losses: &Block) -> Done {
        let rows = losses.len();
        let (pairs, shift) = match target {
            Target::Partner => (1, rows / 2),
            Target::First => (0, 0),
        };
        let numbers = [int(rows), int(scores.len() / rows), pairs, int(shift)].map(Arg::Int);
        let last = [Arg::Float(share), Arg::Block(scores), Arg::Block(losses)];
        let args: Vec<Arg<'_>> = numbers.into_iter().chain(last).collect();
        self.by_row("contrast_rows", rows, &args)
    }

    /// `loss = factor sum(values)`, one value.
    pub(super) fn sum(&self, values: &Block, factor: f32, loss: &Block) -> Done {
        fits(loss, 1);
        let args = [
            long(values.len()),
            Arg::Float(factor),
            Arg::Block(values),
            Arg::Block(loss),
        ];
        self.blocks("sum_values", [1, 1, 1], 8 * 8, &args)
    }

    /// Cross-entropy of logits, `[n][classes]`, with a distribution for each row; overwrites the gradient and the value.
    ///
    /// # Errors
    /// The device's.
    pub fn cross_entropy(
        &self,
        classes: usize,
        logits: &Block,
        targets: &Block,
        gradient: &Block,
        loss: &Block,
    ) -> Done {
        fits(targets, logits.len());
        fits(gradient, logits.len());
        let rows = logits.len() / classes;
        let losses = self.take(rows)?;
        let sizes = [Arg::Int(int(rows)), Arg::Int(int(classes))];
        let blocks = [logits, targets, gradient, &losses].map(Arg::Block);
        let args: Vec<Arg<'_>> = sizes.into_iter().chain(blocks).collect();
        self.by_row("cross_entropy", rows, &args)?;
        self.sum(&losses, 1.0 / rows as f32, loss)
    }

    /// NT-Xent of projections, `[2 n][dim]`; overwrites the gradient and the value. See [`crate::losses::nt_xent`].
    ///
    /// # Errors
    /// The device's.
    pub fn nt_xent(&self, dim: usize, z: &Block, temperature: f32, gradient: &Block, loss: &Block) -> Done {
        fits(gradient, z.len());
        let rows = z.len() / dim;
        let (unit, scores, losses) = (self.take(z.len())?, self.take(rows * rows)?, self.take(rows)?);
        let norms = self.unit_rows(dim, z, &unit)?;
        let (u, s) = ((&unit, 0), (&scores, 0));
        let product = Product::plain([rows, rows, dim], [dim, 1], [1, dim], rows);
        self.product(&product, 1.0 / temperature, u, u, None, s)?;
        let share = 1.0 / (rows as f32 * temperature);
        self.contrast(&Target::Partner, share, &scores, &losses)?;
        // Each row is in its own scores and, as a column, in all others'.
        let own = Product::plain([rows, dim, rows], [rows, 1], [dim, 1], dim);
        self.product(&own, 1.0, s, u, None, (gradient, 0))?;
        let others = Product {
            left: [1, rows, 0, 0],
            accumulate: true,
            ..own
        };
        self.product(&others, 1.0, s, u, None, (gradient, 0))?;
        self.unit_rows_backward(dim, &unit, &norms, gradient)?;
        self.sum(&losses, 1.0 / rows as f32, loss)
    }

    /// InfoNCE of queries and their keys, `[n][dim]`, against negatives, `[negatives][dim]`; overwrites the queries' gradient and the
    /// value. See [`crate::losses::info_nce`].
    ///
    /// # Errors
    /// The device's.
    pub fn info_nce(
        &self,
        dim: usize,
        [queries, keys, negatives]: [&Block; 3],
        temperature: f32,
        gradient: &Block,
        loss: &Block,
    ) -> Done {
        fits(keys, queries.len());
        fits(gradient, queries.len());
        let (rows, others) = (queries.len() / dim, negatives.len() / dim);
        let (unit, key, other) = (
            self.take(queries.len())?,
            self.take(keys.len())?,
            self.take(negatives.len())?,
        );
        let norms = self.unit_rows(dim, queries, &unit)?;
        self.unit_rows(dim, keys, &key)?;
        self.unit_rows(dim, negatives, &other)?;
        let (scores, losses, step) = (self.take(rows * (1 + others))?, self.take(rows)?, 1 + others);
        // The key's score is a row's first, the negatives' follow.
        let sizes = [Arg::Int(int(rows)), Arg::Int(int(dim)), Arg::Float(1.0 / temperature)];
        let last = [
            Arg::Block(&unit),
            Arg::Block(&key),
            Arg::Int(int(step)),
            Arg::Block(&scores),
        ];
        let args: Vec<Arg<'_>> = sizes.into_iter().chain(last).collect();
        self.by_row("row_products", rows, &args)?;
        let product = Product::plain([rows, others, dim], [dim, 1], [1, dim], step);
        self.product(&product, 1.0 / temperature, (&unit, 0), (&other, 0), None, (&scores, 1))?;
        self.contrast(&Target::First, 1.0 / (rows as f32 * temperature), &scores, &losses)?;
        let back = Product::plain([rows, dim, others], [step, 1], [dim, 1], dim);
        self.product(&back, 1.0, (&scores, 1), (&other, 0), None, (gradient, 0))?;
        let numbers = [long(gradient.len()), Arg::Int(int(dim)), Arg::Int(int(step))];
        let args: Vec<Arg<'_>> = numbers
            .into_iter()
            .chain([&scores, &key, gradient].map(Arg::Block))
            .collect();
        self.flat("add_scaled_rows", gradient.len(), &args)?;
        self.unit_rows_backward(dim, &unit, &norms, gradient)?;
        self.sum(&losses, 1.0 / rows as f32, loss)
    }
}
