//! Mean Teacher's consistency loss (Tarvainen & Valpola 2017, 1703.01780): mean squared difference of probabilities.

use super::{LossError, Traced, TracedScalar, constant, invalid, probabilities};
use dfdx::prelude::*;

/// `mean((softmax(student) - softmax(teacher))^2)` over rows and classes; the teacher's logits, `[n][classes]`, take no
/// gradient.
///
/// # Errors
/// If the sizes do not fit.
pub fn mean_teacher_mse(student: Traced, teacher: &[f32]) -> Result<TracedScalar, LossError> {
    let shape = *student.shape();
    if teacher.len() != shape.0 * shape.1 {
        return invalid(
            "Mean Teacher",
            format!(
                "{} teacher logits for {} x {} of the student",
                teacher.len(),
                shape.0,
                shape.1
            ),
        );
    }
    let difference = student
        .try_softmax::<Axis<1>>()?
        .try_sub(constant(probabilities(teacher, shape.1, 1.0), shape)?)?;
    Ok(difference.try_square()?.try_mean::<Rank0, _>()?)
}
