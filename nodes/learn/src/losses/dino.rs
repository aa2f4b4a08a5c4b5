//! DINO (Caron et al. 2021, 2104.14294, eq. 2): the student's distribution of one view matches the teacher's of another.
//!
//! `L = -1/n sum_i sum_k softmax((t_i - c) / t_t)_k log softmax(s_i / t_s)_k`, with the centre `c` (eq. 4) and a sharper teacher
//! (`t_t < t_s`). The teacher takes no gradient.

use super::rows::{check_constant, check_temperature};
use super::{LossError, Traced, TracedScalar, constant, cross, log_probabilities, probabilities};
use dfdx::prelude::*;

/// The temperatures of DINO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DinoTemperatures {
    /// `t_t`; .04 in the paper.
    pub teacher: f32,
    /// `t_s`; .1 in the paper.
    pub student: f32,
}

/// Loss of the student's outputs `(n, dim)` for one view given the teacher's for another, `[n][dim]`, and the centre, `[dim]`.
///
/// # Errors
/// If the sizes do not fit or a temperature is not above zero.
pub fn dino(
    student: Traced,
    teacher: &[f32],
    centre: &[f32],
    temperatures: DinoTemperatures,
) -> Result<TracedScalar, LossError> {
    let shape = *student.shape();
    check_temperature("DINO", temperatures.teacher)?;
    check_temperature("DINO", temperatures.student)?;
    check_constant("DINO", "the teacher", teacher.len(), shape)?;
    check_constant("DINO", "the centre", centre.len(), (1, shape.1))?;
    let targets = dino_targets(teacher, centre, temperatures.teacher);
    cross(
        log_probabilities(student, temperatures.student)?,
        constant(targets, shape)?,
    )
}

/// The teacher's distributions: centred, sharpened, outside the tape.
pub fn dino_targets(teacher: &[f32], centre: &[f32], temperature: f32) -> Vec<f32> {
    let centred: Vec<f32> = teacher
        .chunks_exact(centre.len())
        .flat_map(|row| row.iter().zip(centre).map(|(t, c)| t - c))
        .collect();
    probabilities(&centred, centre.len(), temperature)
}
