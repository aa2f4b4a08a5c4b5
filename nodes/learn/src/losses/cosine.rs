//! Cosines of the rows of one matrix to those of another: scores of embeddings against prototypes.

use dfdx::prelude::*;

use super::rows::{transposed, transposed_copy, unit_rows};
use super::{LossError, Traced, invalid};
use crate::kernels::conv::{self, ConvShape};
use crate::metrics::normalised;

/// `(n, dim)` and `(count, dim)` to `(n, count)`, on the tape. No row need be normalised.
///
/// # Errors
/// If the sizes do not fit.
pub fn cosine_scores(rows: Traced, others: Traced) -> Result<Traced, LossError> {
    let (dim, other) = (rows.shape().1, others.shape().1);
    if dim != other {
        return invalid("cosine", format!("rows of {dim} and of {other} values found"));
    }
    let others = transposed_copy(unit_rows(others)?)?;
    Ok(unit_rows(rows)?.try_matmul(others)?)
}

/// `[n][dim]` and `[count][dim]` to `[n][count]`, outside the tape.
///
/// # Panics
/// With `BUG:` if the sizes do not fit.
pub fn cosines(rows: &[f32], others: &[f32], dim: usize) -> Vec<f32> {
    let (n, count) = (rows.len() / dim, others.len() / dim);
    let weight = transposed(&normalised(others, dim), dim);
    let mut scores = vec![0.0; n * count];
    conv::forward(
        &ConvShape::matrix(n, dim, count),
        &normalised(rows, dim),
        &weight,
        None,
        &mut scores,
    );
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::value_and_grads;
    use crate::rng::Stream;

    #[test]
    fn on_and_beside_the_tape_are_the_same() {
        let mut stream = Stream::new(1, "cosine");
        let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal()).collect() };
        let (rows, others) = (normals(5 * 4), normals(3 * 4));
        let beside = cosines(&rows, &others, 4);
        let mut traced = Vec::new();
        value_and_grads([(rows, (5, 4)), (others, (3, 4))], |[a, b]| {
            let scores = cosine_scores(a, b)?;
            traced = scores.as_vec();
            Ok(scores.try_sum::<Rank0, _>()?)
        })
        .expect("sizes fit");
        assert!(traced.iter().zip(&beside).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
