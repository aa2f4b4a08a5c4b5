//! Optimisers over ten steps on a quadratic, and the learning-rate schedule.

use flow_learn::device::Cpu;
use flow_learn::layers::Buffer;
use flow_learn::optim::{OptimizerConfig, ParamMut, Schedule};
use serde_json::json;

use super::Outcome;
use super::case::{Case, CaseError, Check, VALUE};

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let optional = |name: &str| case.number(name).unwrap_or(0.0);
    let declared = match case.case.as_str() {
        "sgd_momentum_l2" | "sgd_nesterov" => json!({
            "name": "sgd", "momentum": case.number("momentum")?, "nesterov": case.case == "sgd_nesterov",
            "weight_decay": optional("weight_decay"),
        }),
        "adam" | "adamw" => json!({
            "name": case.case, "betas": case.numbers("betas")?, "eps": case.number("eps")?,
            "weight_decay": optional("weight_decay"),
        }),
        "lars" => json!({
            "name": "lars", "momentum": case.number("momentum")?, "weight_decay": optional("weight_decay"),
            "eta": case.number("eta")?,
        }),
        "warmup_cosine" => return schedule(case),
        _ => return Ok(Outcome::NotBuilt),
    };
    let config: OptimizerConfig = serde_json::from_value(declared).map_err(|e| CaseError::Refused(e.to_string()))?;
    let mut optimizer = config.build();
    let (mut w, c) = (Buffer::from(case.input("w0")?.f32()), case.input("c")?.f32());
    let mut path = Vec::new();
    for _ in 0..case.output("w")?.len() / w.len().max(1) {
        let mut grad = gradient(&w, &c).into();
        let parameter = ParamMut {
            name: "w",
            value: &mut w,
            grad: &mut grad,
            lr: case.number("lr")? as f32,
            decay: true,
        };
        optimizer.step(&Cpu, &mut [parameter]);
        path.extend_from_slice(&w);
    }
    let mut check = Check::default();
    check.relative("w", &path, case.output("w")?, VALUE);
    Ok(check.outcome())
}

/// The gradient of the cases' objective.
fn gradient(w: &[f32], c: &[f32]) -> Vec<f32> {
    w.iter().zip(c).map(|(w, c)| c * w).collect()
}

fn schedule(case: &Case) -> Result<Outcome, CaseError> {
    let steps = case.size("steps")?;
    let schedule = Schedule::warmup_cosine(case.number("lr")? as f32, case.size("warmup_steps")?, steps);
    let found: Vec<f32> = (0..steps).map(|step| schedule.at(step)).collect();
    let mut check = Check::default();
    check.relative("lr", &found, case.output("lr")?, VALUE);
    Ok(check.outcome())
}
