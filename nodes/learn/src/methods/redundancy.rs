//! The step that Barlow Twins and VICReg share: two views, each with its own batch statistics, and a symmetric loss of both projections.

use super::batch::Batch;
use super::heads::{backward, forward, gradient};
use super::outcome::{MethodError, Metric, StepOutcome};
use crate::backbones::Encoder;
use crate::device::{Device, LossValue};
use crate::layers::{Buffer, Pass, Sequential};
use crate::losses::LossError;

/// Forward and backward pass of two views under `loss`, which takes the dimensions of their projections and these.
pub(super) fn step(
    encoder: &mut Encoder,
    projector: &mut Sequential,
    batch: &Batch<'_>,
    pass: &mut Pass,
    loss: impl FnOnce(&dyn Device, usize, [&Buffer; 2]) -> Result<(LossValue, [Buffer; 2]), LossError>,
) -> Result<StepOutcome, MethodError> {
    let [a, b] = ["first view", "second view"].map(|name| {
        let view = batch.view(name, encoder, pass);
        forward(&mut [encoder, projector], view, pass)
    });
    a.data.fetch_ahead();
    b.data.fetch_ahead();
    let dim = a.shape.len();
    let (loss, [da, db]) = loss(&*pass.device(), dim, [&a.data, &b.data])?;
    for gradient_of in [db, da] {
        backward(&mut [encoder, projector], gradient(a.n, gradient_of), pass);
    }
    Ok(StepOutcome {
        loss: loss.get(),
        metrics: vec![Metric::spread(&a.data, dim), Metric::alignment(&a.data, &b.data, dim)],
    })
}
