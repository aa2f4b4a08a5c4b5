//! Losses of whole steps of pre-training methods: both directions of a prediction, colours in bins, teachers of two views.

use flow_learn::losses::{DinoTemperatures, byol, cross_entropy, dino, gan_discriminator, simsiam, soft_cross_entropy};
use flow_learn::methods::Palette;

use super::Outcome;
use super::case::{Case, CaseError, Check, Golden, VALUE};
use super::losses::{one, two};

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let values = |name: &str| case.input(name).map(Golden::f32);
    let number = |name: &str| case.number(name).map(|v| v as f32);
    match case.case.as_str() {
        "simsiam" | "byol" => {
            let loss = if case.case == "byol" { byol } else { simsiam };
            let (z1, z2) = (values("z1")?, values("z2")?);
            two(case, ["p1", "p2"], |p| loss(p, [&z1, &z2]))
        }
        "colorization" => {
            let frequencies: Vec<f64> = values("frequencies")?.into_iter().map(f64::from).collect();
            let palette = Palette::new(number("size")?, places(&values("bins")?));
            let palette = palette.rebalanced(&frequencies, number("rebalance")?);
            let targets = palette.targets(&places(&values("colours")?));
            one(case, "logits", |x| soft_cross_entropy(x, &targets))
        }
        "annealed_mean" => {
            let [_, bins] = case.dims::<2>("logits")?;
            let palette = Palette::new(number("size")?, places(&values("bins")?));
            let (logits, temperature) = (values("logits")?, number("temperature")?);
            let rows = logits.chunks_exact(bins);
            let found: Vec<f32> = rows.flat_map(|row| palette.annealed_mean(row, temperature)).collect();
            let mut check = Check::default();
            check.relative("colours", &found, case.output("colours")?, VALUE);
            Ok(check.outcome())
        }
        "dino_two_views" => {
            let (teacher, centre) = (values("teacher")?, values("center")?);
            let (first, second) = teacher.split_at(teacher.len() / 2);
            let other = [second, first].concat();
            let temperatures = DinoTemperatures {
                teacher: number("teacher_temperature")?,
                student: number("student_temperature")?,
            };
            one(case, "student", |s| dino(s, &other, &centre, temperatures))
        }
        "sela_heads" => {
            let labels = case.input("labels")?.classes();
            one(case, "logits", |x| cross_entropy(x, &labels, 0.0))
        }
        "gan_discriminator" => {
            let smoothing = number("label_smoothing")?;
            two(case, ["real", "fake"], |logits| gan_discriminator(logits, smoothing))
        }
        _ => Ok(Outcome::NotBuilt),
    }
}

/// Pairs of a*b* coordinates.
fn places(values: &[f32]) -> Vec<[f32; 2]> {
    values.as_chunks::<2>().0.to_vec()
}
