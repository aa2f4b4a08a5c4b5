//! Metrics. Discrete ones must be exact; the golden values carry nine digits.

use flow_learn::metrics;

use super::Outcome;
use super::case::{Case, CaseError, Check, VALUE};

/// Nine printed digits of a float.
const EXACT: f64 = 1e-7;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let mut check = Check::default();
    match case.case.as_str() {
        "labels" => {
            let (truth, predicted) = (case.input("true")?.classes(), case.input("predicted")?.classes());
            let classes = case.size("classes")?;
            for name in case.outputs.keys() {
                let found = match name.as_str() {
                    "accuracy" => vec![metrics::accuracy(&truth, &predicted)],
                    "macro_f1" => vec![metrics::macro_f1(&truth, &predicted, classes)],
                    "balanced_accuracy" => vec![metrics::balanced_accuracy(&truth, &predicted, classes)],
                    "confusion" => metrics::confusion(&truth, &predicted, classes)
                        .iter()
                        .map(|c| *c as f64)
                        .collect(),
                    "nmi" => vec![metrics::nmi(&truth, &predicted)],
                    "ari" => vec![metrics::ari(&truth, &predicted)],
                    "hungarian_accuracy" => vec![metrics::hungarian_accuracy(&truth, &predicted, classes)],
                    _ => return Ok(Outcome::NotBuilt),
                };
                check.metrics(name, &found, case.output(name)?, EXACT);
            }
        }
        "probabilities" => {
            let (truth, probabilities) = (case.input("true")?.classes(), case.input("probabilities")?.f32());
            let classes = case.size("classes")?;
            for name in case.outputs.keys() {
                let (found, tolerance) = match name.as_str() {
                    "log_loss" => (metrics::log_loss(&truth, &probabilities, classes), VALUE),
                    "top2_accuracy" => (metrics::top_k_accuracy(&truth, &probabilities, classes, 2), EXACT),
                    "ece" => (
                        metrics::ece(&truth, &probabilities, classes, case.size("ece_bins")?),
                        VALUE,
                    ),
                    _ => return Ok(Outcome::NotBuilt),
                };
                check.metrics(name, &[found], case.output(name)?, tolerance);
            }
        }
        "weighted_knn" => {
            let [_, dim] = case.dims::<2>("train")?;
            let votes = metrics::weighted_knn(
                &case.input("train")?.f32(),
                &case.input("train_labels")?.classes(),
                &case.input("test")?.f32(),
                dim,
                case.size("classes")?,
                case.size("k")?,
                case.number("temperature")? as f32,
            );
            check.relative("votes", &votes.votes, case.output("votes")?, VALUE);
            let predicted: Vec<f64> = votes.predicted.iter().map(|p| *p as f64).collect();
            check.metrics("predicted", &predicted, case.output("predicted")?, 0.0);
        }
        "mean_iou" => {
            let (predicted, truth) = (case.input("predicted")?.classes(), case.input("true")?.classes());
            let classes = case.size("classes")?;
            check.metrics(
                "iou",
                &metrics::iou(&predicted, &truth, classes),
                case.output("iou")?,
                EXACT,
            );
            check.metrics(
                "mean_iou",
                &[metrics::mean_iou(&predicted, &truth, classes)],
                case.output("mean_iou")?,
                EXACT,
            );
        }
        _ => return Ok(Outcome::NotBuilt),
    }
    Ok(check.outcome())
}
