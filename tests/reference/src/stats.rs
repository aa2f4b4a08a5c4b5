//! Statistics of a verdict, and the support vector machine that arms are held against.

use flow_learn::stats::{Arm, Run, difference, t_cdf, t_quantile};
use flow_learn::svm::{Svm, SvmSettings};

use super::Outcome;
use super::case::{Case, CaseError, Check};

/// Probabilities and quantiles.
const EXACT: f64 = 1e-8;
/// Share of images on which two solvers with the same tolerance may differ.
const ALIKE: f64 = 0.002;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let mut check = Check::default();
    match case.case.as_str() {
        "t_distribution" => {
            let (df, t) = (&case.input("df")?.data, &case.input("t")?.data);
            let cdf: Vec<f64> = df.iter().zip(t).map(|(df, t)| t_cdf(*t, *df)).collect();
            let quantile: Vec<f64> = df.iter().map(|df| t_quantile(0.975, *df)).collect();
            check.metrics("cdf", &cdf, case.output("cdf")?, EXACT);
            check.metrics("quantile_975", &quantile, case.output("quantile_975")?, EXACT);
        }
        "paired_images" | "paired_runs" => {
            let [runs, images] = case.dims::<2>("runs")?;
            let rows = |name: &str| -> Result<Arm, CaseError> {
                let runs = case.input(name)?.data.chunks_exact(images).map(<[f64]>::to_vec);
                Ok(Arm { runs: runs.collect() })
            };
            let name = |run: usize| Run {
                draw: run.to_string(),
                seed: run.to_string(),
            };
            let design: Vec<Run> = (0..runs).map(name).collect();
            let found = difference(&rows("runs")?, &rows("base")?, &design);
            let (low, high) = found.interval();
            check.metrics("mean", &[found.mean], case.output("mean")?, EXACT);
            check.metrics("interval", &[low, high], case.output("interval")?, EXACT);
            check.metrics("p", &[found.p()], case.output("p")?, EXACT);
            let equivalent = found.p_not_equivalent(case.number("margin")?);
            check.metrics(
                "p_not_equivalent",
                &[equivalent],
                case.output("p_not_equivalent")?,
                EXACT,
            );
        }
        "svc" => {
            let [_, dim] = case.dims::<2>("train")?;
            let (labels, truth) = (case.input("labels")?.classes(), case.input("truth")?.classes());
            let settings = SvmSettings {
                penalty: case.number("penalty")? as f32,
                gamma: case.number("gamma")? as f32,
            };
            let classes = labels.iter().max().map_or(0, |most| most + 1);
            let svm = Svm::fit(&case.input("train")?.f32(), &labels, dim, classes, settings);
            let predicted = svm.predict(&case.input("test")?.f32());
            let right = predicted.iter().zip(&truth).filter(|(p, t)| p == t).count();
            check.metrics(
                "accuracy",
                &[right as f64 / truth.len() as f64],
                case.output("accuracy")?,
                ALIKE,
            );
            let theirs = case.output("predicted")?;
            let other = predicted.iter().zip(theirs).filter(|(p, t)| **p as f64 != **t).count();
            check.metrics(
                "predicted otherwise",
                &[other as f64 / truth.len() as f64],
                &[0.0],
                ALIKE,
            );
        }
        _ => return Ok(Outcome::NotBuilt),
    }
    Ok(check.outcome())
}
