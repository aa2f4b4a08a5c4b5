//! Losses and their gradients, through dfdx's tape as in training.

use flow_learn::clustering::sinkhorn;
use flow_learn::losses::{
    DinoTemperatures, LossError, Traced, TracedScalar, VicregWeights, barlow_twins, binary_cross_entropy, consistency,
    cosine_scores, cross_entropy, dino, distillation, fixmatch_unlabelled, info_nce, masked_patches, negative_cosine,
    normalised_patches, nt_xent, pirl, probabilities, reconstruction, scan, soft_cross_entropy, swapped, swav,
    value_and_grads, vicreg, weighted_cross_entropy,
};

use super::Outcome;
use super::case::{Case, CaseError, Check, GRADIENT, Golden, VALUE};

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let values = |name: &str| case.input(name).map(Golden::f32);
    match case.case.as_str() {
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
            let [_, classes] = case.dims::<2>("teacher")?;
            let teacher = probabilities(&values("teacher")?, classes, 1.0);
            one(case, "student", |x| consistency(x, &teacher))
        }
        "distillation" => {
            let (teacher, temperature) = (values("teacher")?, case.number("temperature")? as f32);
            one(case, "student", |x| distillation(x, &teacher, temperature))
        }
        "reconstruction" => {
            let targets = values("targets")?;
            one(case, "found", |x| reconstruction(x, &targets, None))
        }
        "reconstruction_masked" => {
            let (targets, weights) = (values("targets")?, values("weights")?);
            one(case, "found", |x| reconstruction(x, &targets, Some(&weights)))
        }
        "masked_patches" => {
            let [_, len] = case.dims::<2>("patches")?;
            let targets = normalised_patches(&values("patches")?, len);
            let hidden: Vec<bool> = values("hidden")?.iter().map(|h| *h > 0.0).collect();
            one(case, "found", |x| masked_patches(x, &targets, &hidden))
        }
        "binary_cross_entropy" => {
            let targets = values("targets")?;
            one(case, "logits", |x| binary_cross_entropy(x, &targets))
        }
        "weighted_cross_entropy" => {
            let (labels, weights) = (case.input("labels")?.classes(), values("weights")?);
            one(case, "logits", |x| weighted_cross_entropy(x, &labels, &weights))
        }
        _ => of_features(case),
    }
}

/// Losses of features, of which those of two views are alike.
fn of_features(case: &Case) -> Result<Outcome, CaseError> {
    let values = |name: &str| case.input(name).map(Golden::f32);
    let number = |name: &str| case.number(name).map(|v| v as f32);
    match case.case.as_str() {
        "nt_xent" => contrast(case),
        "moco_info_nce" => {
            let (keys, queue, temperature) = (values("k")?, values("queue")?, number("temperature")?);
            one(case, "q", |q| info_nce(q, &keys, &queue, temperature))
        }
        "negative_cosine" => {
            let targets = values("z")?;
            one(case, "p", |p| negative_cosine(p, &targets))
        }
        "barlow_twins" => {
            let lambda = number("lambda")?;
            two(case, ["z0", "z1"], |[a, b]| barlow_twins(a, b, lambda))
        }
        "vicreg" => {
            let weights = VicregWeights {
                invariance: number("lambda")?,
                variance: number("mu")?,
                covariance: number("nu")?,
            };
            two(case, ["z0", "z1"], |[a, b]| vicreg(a, b, weights))
        }
        "sinkhorn" => assignments(case),
        "swav_swapped" => {
            let [_, prototypes] = case.dims::<2>("s0")?;
            let (epsilon, iterations, temperature) =
                (number("epsilon")?, case.size("iterations")?, number("temperature")?);
            let assigned = |name| values(name).map(|s| sinkhorn(&s, prototypes, epsilon, iterations));
            let (a, b) = (assigned("s0")?, assigned("s1")?);
            two(case, ["s0", "s1"], |scores| swav(scores, [&a, &b], temperature))
        }
        "dino_one_pair" => {
            let (teacher, centre) = (values("teacher")?, values("center")?);
            let temperatures = DinoTemperatures {
                teacher: number("teacher_temperature")?,
                student: number("student_temperature")?,
            };
            one(case, "student", |s| dino(s, &teacher, &centre, temperatures))
        }
        "scan" => {
            let weight = number("entropy_weight")?;
            two(case, ["anchor", "neighbor"], |[a, b]| scan(a, b, weight))
        }
        "prototype_prediction" => {
            let (targets, temperature) = (values("targets")?, number("temperature")?);
            two(case, ["z", "prototypes"], |[z, c]| {
                swapped(cosine_scores(z, c)?, &targets, temperature)
            })
        }
        "pirl_info_nce" => {
            let (positives, negatives) = (values("memory_positive")?, values("memory_negatives")?);
            let (temperature, weight) = (number("temperature")?, number("weight")?);
            two(case, ["image", "patches"], |[image, patches]| {
                pirl(image, patches, &positives, &negatives, temperature, weight)
            })
        }
        _ => Ok(Outcome::NotBuilt),
    }
}

/// A loss of one matrix.
pub(super) fn one(
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

/// A loss of two matrices.
pub(super) fn two(
    case: &Case,
    names: [&str; 2],
    loss: impl FnOnce([Traced; 2]) -> Result<TracedScalar, LossError>,
) -> Result<Outcome, CaseError> {
    let input = |name: &str| -> Result<_, CaseError> {
        let [rows, columns] = case.dims::<2>(name)?;
        Ok((case.input(name)?.f32(), (rows, columns)))
    };
    let inputs = [input(names[0])?, input(names[1])?];
    let (value, gradients) = value_and_grads(inputs, loss).map_err(|e| CaseError::Refused(e.to_string()))?;
    let mut check = Check::default();
    check.relative("loss", &[value], case.output("loss")?, VALUE);
    for (name, gradient) in names.iter().zip(&gradients) {
        check.relative(&format!("gradient of {name}"), gradient, case.gradient(name)?, GRADIENT);
    }
    Ok(check.outcome())
}

/// Sinkhorn-Knopp has no gradient.
fn assignments(case: &Case) -> Result<Outcome, CaseError> {
    let [_, clusters] = case.dims::<2>("scores")?;
    let (epsilon, iterations) = (case.number("epsilon")? as f32, case.size("iterations")?);
    let found = sinkhorn(&case.input("scores")?.f32(), clusters, epsilon, iterations);
    let mut check = Check::default();
    check.relative("q", &found, case.output("q")?, VALUE);
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
