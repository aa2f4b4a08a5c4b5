//! SimMatch's loss of likeness (Zheng et al. 2022, 2203.06915, eq. 5): `-1/n sum_i sum_j q_ij log softmax(z_i . m_j / t)_j`, with `z` scaled to length
//! one; memory `m` and targets `q` take no gradient.

use super::rows::{check_constant, check_temperature, transposed, unit_rows};
use super::{LossError, Traced, TracedScalar, constant, cross, log_probabilities};
use dfdx::prelude::*;

/// Loss of projections `(n, dim)` with a memory, `[rows][dim]`, of rows of length one and target likenesses, `[n][rows]`.
///
/// # Errors
/// If the sizes do not fit or the temperature is not above 0.
pub fn likeness(z: Traced, memory: &[f32], targets: &[f32], temperature: f32) -> Result<TracedScalar, LossError> {
    let (n, dim) = *z.shape();
    check_temperature("likeness", temperature)?;
    let rows = memory.len() / dim.max(1);
    check_constant("likeness", "the memory", memory.len(), (rows, dim))?;
    check_constant("likeness", "the targets", targets.len(), (n, rows))?;
    let memory = constant(transposed(memory, dim), (dim, rows))?;
    let scores = unit_rows(z)?.try_matmul(memory)?;
    cross(
        log_probabilities(scores, temperature)?,
        constant(targets.to_vec(), (n, rows))?,
    )
}
