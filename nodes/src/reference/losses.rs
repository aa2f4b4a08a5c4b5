//! Losses and their gradients, through dfdx's tape as in training.

use flow_learn::losses::{
    LossError, Traced, TracedScalar, cross_entropy, distillation, fixmatch_unlabelled, mean_teacher_mse, nt_xent,
    soft_cross_entropy, value_and_grads,
};

use super::Outcome;
use super::case::{Case, CaseError, Check, GRADIENT, VALUE};

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let values = |name: &str| case.input(name).map(|g| g.f32());
    match case.case.as_str() {
        "nt_xent" => contrast(case),
        "cross_entropy" => {
            let labels = case.input("labels")?.classes();
            let smoothing = case.number("label_smoothing")? as f32;
            one(case, "logits", |x| cross_entropy(x, &labels, smoothing))
        }
        "soft_cross_entropy" => {
            let targets = values("targets")?;
            one(case, "logits", |x| soft_cross_entropy(x, &targets))
        }
        "fixmatch_unlabelled" => {
            let (weak, threshold) = (values("weak")?, case.number("threshold")? as f32);
            one(case, "strong", |x| fixmatch_unlabelled(x, &weak, threshold))
        }
        "mean_teacher_mse" => {
            let teacher = values("teacher")?;
            one(case, "student", |x| mean_teacher_mse(x, &teacher))
        }
        "distillation" => {
            let (teacher, temperature) = (values("teacher")?, case.number("temperature")? as f32);
            one(case, "student", |x| distillation(x, &teacher, temperature))
        }
        _ => Ok(Outcome::NotBuilt),
    }
}

/// A loss of one matrix.
fn one(
    case: &Case,
    name: &str,
    loss: impl FnOnce(Traced) -> Result<TracedScalar, LossError>,
) -> Result<Outcome, CaseError> {
    let [rows, columns] = case.dims::<2>(name)?;
    let input = (case.input(name)?.f32(), (rows, columns));
    let (value, [gradient]) = value_and_grads([input], |[x]| loss(x)).map_err(|e| CaseError::Refused(e.to_string()))?;
    let mut check = Check::default();
    check.relative("loss", &[value], case.output("loss")?, VALUE);
    check.relative(
        &format!("gradient of {name}"),
        &gradient,
        case.gradient(name)?,
        GRADIENT,
    );
    Ok(check.outcome())
}

/// NT-Xent takes both views as one matrix.
fn contrast(case: &Case) -> Result<Outcome, CaseError> {
    let [n, dim] = case.dims::<2>("z0")?;
    let z = [case.input("z0")?.f32(), case.input("z1")?.f32()].concat();
    let temperature = case.number("temperature")? as f32;
    let (value, [gradient]) = value_and_grads([(z, (2 * n, dim))], |[z]| nt_xent(z, temperature))
        .map_err(|e| CaseError::Refused(e.to_string()))?;
    let mut check = Check::default();
    check.relative("loss", &[value], case.output("loss")?, VALUE);
    for (name, part) in ["z0", "z1"].iter().zip(gradient.chunks_exact(n * dim)) {
        check.relative(&format!("gradient of {name}"), part, case.gradient(name)?, GRADIENT);
    }
    Ok(check.outcome())
}
