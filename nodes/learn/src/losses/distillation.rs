//! Distillation of SimCLR v2 (Chen et al. 2020, 2006.10029, eq. 2):
//! `L = -1/n sum_i sum_c softmax(teacher_i / T)_c log softmax(student_i / T)_c`, without the `T^2` of Hinton et al.

use super::{LossError, Traced, TracedScalar, constant, cross, invalid, log_probabilities, probabilities};
use dfdx::prelude::*;

/// Cross-entropy of the student's logits `(n, classes)` with the teacher's, `[n][classes]`, which take no gradient.
///
/// # Errors
/// If the sizes do not fit or the temperature is not above zero.
pub fn distillation(student: Traced, teacher: &[f32], temperature: f32) -> Result<TracedScalar, LossError> {
    let shape = *student.shape();
    if teacher.len() != shape.0 * shape.1 {
        return invalid(
            "distillation",
            format!(
                "{} teacher logits for {} x {} of the student",
                teacher.len(),
                shape.0,
                shape.1
            ),
        );
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return invalid(
            "distillation",
            format!("temperature {temperature} found, expected a number above 0"),
        );
    }
    let targets = constant(probabilities(teacher, shape.1, temperature), shape)?;
    cross(log_probabilities(student, temperature)?, targets)
}
