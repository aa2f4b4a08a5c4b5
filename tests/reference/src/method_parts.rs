//! What pre-training methods compute beside their losses: metrics of health, assignments, enlargement.

use flow_learn::clustering::sinkhorn_until;
use flow_learn::layers::{BufferPool, FeatureMap, Layer, MapShape, Mode, Pass, Upsample};
use flow_learn::metrics;

use super::Outcome;
use super::case::{Case, CaseError, Check, GRADIENT, VALUE, swap};

/// Rounds that bring Sinkhorn-Knopp to its fixed point, and how near.
const ROUNDS: usize = 10_000;
const TOLERANCE: f32 = 1e-7;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    let mut check = Check::default();
    match case.case.as_str() {
        "rank_me" => {
            let [_, dim] = case.dims::<2>("x")?;
            let found = metrics::rank_me(&case.input("x")?.f32(), dim) as f32;
            check.relative("rank", &[found], case.output("rank")?, VALUE);
        }
        "embedding_deviation" => {
            let [_, dim] = case.dims::<2>("x")?;
            let found = metrics::embedding_deviation(&case.input("x")?.f32(), dim);
            check.relative("deviation", &[found], case.output("deviation")?, VALUE);
        }
        "balanced_assignment" => {
            let [_, clusters] = case.dims::<2>("logits")?;
            let epsilon = (1.0 / case.number("lambda")?) as f32;
            let found = sinkhorn_until(&case.input("logits")?.f32(), clusters, epsilon, TOLERANCE, ROUNDS);
            check.relative("q", &found, case.output("q")?, GRADIENT);
        }
        "upsample_nearest" => upsample(case, &mut check)?,
        _ => return Ok(Outcome::NotBuilt),
    }
    Ok(check.outcome())
}

/// The golden values are channel-first.
fn upsample(case: &Case, check: &mut Check) -> Result<(), CaseError> {
    let [n, c, h, w] = case.dims::<4>("x")?;
    let mut layer = Upsample {
        factor: case.size("factor")?,
    };
    let x = swap(&case.input("x")?.f32(), n, c, h * w);
    let mut pass = Pass::recording(Mode::Train, &std::sync::Arc::<BufferPool>::default());
    let y = layer.forward(FeatureMap::new(n, MapShape { h, w, c }, x), &mut pass);
    let pixels = y.shape.h * y.shape.w;
    check.relative("y", &swap(&y.data, n, pixels, c), case.output("y")?, VALUE);
    let weight = swap(&case.input("weight")?.f32(), n, c, pixels);
    if let Some(dx) = layer.backward(FeatureMap::new(n, y.shape, weight), &mut pass, true) {
        let dx = swap(&dx.data, n, h * w, c);
        check.relative("gradient of x", &dx, case.gradient("x")?, GRADIENT);
    }
    Ok(())
}
