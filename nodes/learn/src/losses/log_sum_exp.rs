//! The logarithm of the sum of exponentials of each row, of a matrix that is as large as a batch squared, or a batch times a queue.
//!
//! `l_i = m_i + log sum_j exp(s_ij - m_i)` with `m_i = max_j s_ij`, and `dl_i / ds_ij = exp(s_ij - m_i) / sum_j exp(s_ij - m_i)`: one step of the tape, a
//! thread for some rows. dfdx's own is nine passes of one thread, and gives the same bits.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::{LossError, Traced};

/// A recorded value for each row.
pub(super) type TracedRows = Tensor<(usize,), f32, Cpu, OwnedTape<f32, Cpu>>;

/// Values that a thread takes at a time, at least.
const PIECE: usize = 16 * 1024;

/// The logarithms for the rows of `scores`, `(rows, columns)`; if asked, of a square matrix without its diagonal.
pub(super) fn log_sum_exp_rows(scores: Traced, without_diagonal: bool) -> Result<TracedRows, LossError> {
    let (rows, columns) = *scores.shape();
    let (scores, mut tape) = scores.split_tape();
    let mut exponentials = scores.as_vec();
    let of_row = |(row, values): (usize, &mut [f32])| {
        let counts = |column: usize| !(without_diagonal && column == row);
        let counting = values.iter().enumerate().filter(|(column, _)| counts(*column));
        let most = counting.fold(f32::NEG_INFINITY, |most, (_, value)| most.max(*value));
        let mut sum = 0.0f32;
        for (column, value) in values.iter_mut().enumerate() {
            *value = if counts(column) { (*value - most).exp() } else { 0.0 };
            sum += *value;
        }
        (sum, sum.ln() + most)
    };
    let by_row = exponentials.par_chunks_mut(columns.max(1)).enumerate();
    let (sums, logarithms): (Vec<f32>, Vec<f32>) = by_row.with_min_len(least_rows(columns)).map(of_row).unzip();
    let found = Cpu::default().try_tensor_from_vec(logarithms, (rows,))?;
    let (of_scores, of_found) = (scores.ghost(), found.ghost());
    tape.add_backward_op(move |gradients| {
        let given = gradients.get(&of_found).as_vec();
        let to = gradients.get_or_alloc_mut(&of_scores)?;
        let by_row = to
            .par_chunks_mut(columns.max(1))
            .zip(exponentials.par_chunks(columns.max(1)));
        let by_row = by_row
            .zip(sums.par_iter().zip(&given))
            .with_min_len(least_rows(columns));
        by_row.for_each(|((to, exponentials), (sum, given))| {
            let factor = sum.recip() * given;
            to.iter_mut().zip(exponentials).for_each(|(to, e)| *to += e * factor);
        });
        Ok(())
    });
    Ok(found.put_tape(tape))
}

fn least_rows(columns: usize) -> usize {
    PIECE.div_ceil(columns.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::{Matrix, constant, value_and_grads};
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn values_and_gradients_have_the_bits_of_dfdxs_own() {
        let mut stream = Stream::new(4, "scores");
        for (rows, columns, diagonal) in [
            (1, 1, false),
            (4, 4, true),
            (37, 37, true),
            (300, 300, true),
            (50, 700, false),
        ] {
            let scores: Vec<f32> = (0..rows * columns).map(|_| 9.0 * stream.normal()).collect();
            let weights: Vec<f32> = (0..rows).map(|_| stream.normal()).collect();
            let weighted = |logarithms: TracedRows| -> Result<_, LossError> {
                let weights = Cpu::default().try_tensor_from_vec(weights.clone(), (rows,))?;
                Ok(logarithms.try_mul(weights)?.try_sum::<Rank0, _>()?)
            };
            let input = || [(scores.clone(), (rows, columns))];
            let ours = value_and_grads(input(), |[s]| weighted(log_sum_exp_rows(s, diagonal)?));
            let dfdxs = value_and_grads(input(), |[s]| {
                let mut mask = vec![0.0; rows * columns];
                if diagonal {
                    mask.iter_mut().step_by(columns + 1).for_each(|v| *v = -1e9);
                }
                let mask: Matrix = constant(mask, (rows, columns))?;
                weighted(s.try_add(mask)?.try_logsumexp::<(usize,), Axis<1>>()?)
            });
            assert_eq!(ours, dfdxs, "{rows} x {columns}");
        }
    }
}
