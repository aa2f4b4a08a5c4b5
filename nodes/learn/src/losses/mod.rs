//! Losses on dfdx's tape, one file each. They take tensors of run-time shape `(n, classes)` or `(n, dim)` and give a scalar.
//!
//! Networks are blocks with their own backward passes (see [`crate::layers`]); the tape begins where they end. A training step
//! calls [`value_and_grads`] with the network's output and gets back what the network's backward pass starts from.

mod barlow_twins;
mod binary;
mod consistency;
mod cosine;
mod cross_entropy;
mod dino;
mod distillation;
mod fairness;
mod fixmatch;
mod focal;
mod giou;
mod info_nce;
mod likeness;
mod log_sum_exp;
mod masked_patches;
mod masked_token;
mod negative_cosine;
mod nt_xent;
mod reconstruction;
mod rows;
mod scan;
mod segmentation;
mod swav;
mod vicreg;

pub use barlow_twins::barlow_twins;
pub(crate) use barlow_twins::{EPS as BARLOW_TWINS_EPS, check_barlow_twins};
pub use binary::{binary_cross_entropy, gan_discriminator};
pub use consistency::consistency;
pub use cosine::{cosine_scores, cosines};
pub(crate) use cross_entropy::check_targets;
pub use cross_entropy::{cross_entropy, soft_cross_entropy, weighted_cross_entropy};
pub use dino::{DinoTemperatures, dino, dino_targets};
pub use distillation::distillation;
pub use fairness::class_fairness;
pub use fixmatch::fixmatch_unlabelled;
pub use focal::focal;
pub use giou::giou;
pub(crate) use info_nce::check_info_nce;
pub use info_nce::{info_nce, pirl};
pub use likeness::likeness;
pub(crate) use masked_patches::moments;
pub use masked_patches::{masked_patches, normalised_patches};
pub use masked_token::{masked_token, word_scores};
pub use negative_cosine::{byol, negative_cosine, simsiam};
pub(crate) use nt_xent::check_nt_xent;
pub use nt_xent::nt_xent;
pub use reconstruction::reconstruction;
pub use scan::scan;
pub use segmentation::{segmentation, soft_segmentation};
pub use swav::{swapped, swav};
pub(crate) use vicreg::{EPS as VICREG_EPS, check_vicreg};
pub use vicreg::{VicregWeights, vicreg};

use dfdx::prelude::*;

/// A matrix of run-time shape on the CPU.
pub type Matrix<T = NoneTape> = Tensor<(usize, usize), f32, Cpu, T>;

/// A matrix whose operations are recorded.
pub type Traced = Matrix<OwnedTape<f32, Cpu>>;

/// A recorded scalar.
pub type TracedScalar = Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>;

/// Why a loss cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// A hyper-parameter or the batch is out of range.
    #[error("{loss}: {message}")]
    Invalid {
        /// The loss.
        loss: &'static str,
        /// What was found and what is expected.
        message: String,
    },
    /// dfdx could not get memory.
    #[error("out of memory while computing the loss ({0}); lower `batch`")]
    Memory(String),
}

impl From<CpuError> for LossError {
    fn from(error: CpuError) -> Self {
        Self::Memory(format!("{error:?}"))
    }
}

pub(crate) fn invalid<T>(loss: &'static str, message: impl Into<String>) -> Result<T, LossError> {
    Err(LossError::Invalid {
        loss,
        message: message.into(),
    })
}

/// A constant matrix like `like`.
pub(crate) fn constant(data: Vec<f32>, shape: (usize, usize)) -> Result<Matrix, LossError> {
    Ok(Cpu::default().try_tensor_from_vec(data, shape)?)
}

/// The loss of some matrices (values with `(rows, columns)`) and its gradient with respect to each.
///
/// # Errors
/// Those of the loss.
pub fn value_and_grads<const K: usize>(
    inputs: [(Vec<f32>, (usize, usize)); K],
    loss: impl FnOnce([Traced; K]) -> Result<TracedScalar, LossError>,
) -> Result<(f32, [Vec<f32>; K]), LossError> {
    let device = Cpu::default();
    let mut leaves: [Option<Matrix>; K] = std::array::from_fn(|_| None);
    let mut traced: [Option<Traced>; K] = std::array::from_fn(|_| None);
    for (i, (data, shape)) in inputs.into_iter().enumerate() {
        let leaf: Matrix = device.try_tensor_from_vec(data, shape)?;
        traced[i] = Some(leaf.trace(Gradients::leaky()));
        leaves[i] = Some(leaf);
    }
    let scalar = loss(traced.map(|t| t.expect("BUG: every input was traced")))?;
    let value = scalar.array();
    let mut gradients = scalar.try_backward()?;
    let mut taken: [Vec<f32>; K] = std::array::from_fn(|_| Vec::new());
    for (to, leaf) in taken.iter_mut().zip(&leaves) {
        let leaf = leaf.as_ref().expect("BUG: every input has a leaf");
        *to = std::mem::take(&mut **gradients.get_or_alloc_mut(leaf)?);
    }
    Ok((value, taken))
}

/// `first + weight * other`.
pub(crate) fn weighted_sum(first: TracedScalar, other: TracedScalar, weight: f32) -> Result<TracedScalar, LossError> {
    Ok(first.try_add(other * weight)?)
}

/// The value of a loss that is a part of another.
pub(crate) fn value_of(loss: &TracedScalar) -> f32 {
    loss.array()
}

/// A loss whose value and gradient are known, as one step of the tape: where a formula has a short derivative, that is a fraction of the passes over memory
/// that its parts would take.
pub(crate) fn closed_form(input: Traced, value: f32, gradient: Vec<f32>) -> Result<TracedScalar, LossError> {
    let (input, mut tape) = input.split_tape();
    let loss = Cpu::default().try_tensor_from_vec(vec![value], Rank0::default())?;
    let (of_input, of_loss) = (input.ghost(), loss.ghost());
    tape.add_backward_op(move |gradients| {
        let scale = gradients.get(&of_loss).array();
        let to = gradients.get_or_alloc_mut(&of_input)?;
        to.iter_mut().zip(&gradient).for_each(|(to, from)| *to += scale * from);
        Ok(())
    });
    Ok(loss.put_tape(tape))
}

/// A second handle on a matrix that several losses are of.
pub(crate) fn again(matrix: &Traced) -> Traced {
    matrix.with_empty_tape()
}

/// The mean of two losses, as of both directions of a symmetric one.
///
/// # Errors
/// If there is no memory for it.
pub fn mean_of(a: TracedScalar, b: TracedScalar) -> Result<TracedScalar, LossError> {
    Ok(a.try_add(b)? / 2.0)
}

/// `log_softmax` over the classes after division by a temperature.
pub(crate) fn log_probabilities<T: Tape<f32, Cpu>>(
    logits: Matrix<T>,
    temperature: f32,
) -> Result<Matrix<T>, LossError> {
    Ok((logits / temperature).try_log_softmax::<Axis<1>>()?)
}

/// Rows of probabilities of logits, `[n][classes]`, divided by a temperature, outside the tape.
pub fn probabilities(logits: &[f32], classes: usize, temperature: f32) -> Vec<f32> {
    let mut rows = logits.to_vec();
    for row in rows.chunks_exact_mut(classes) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|v| *v = ((*v - most) / temperature).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    rows
}

/// `-sum over rows and classes of target * log_probability / rows`.
pub(crate) fn cross(log_probability: Traced, targets: Matrix) -> Result<TracedScalar, LossError> {
    let rows = log_probability.shape().0.max(1) as f32;
    Ok((log_probability.try_mul(targets)?.try_sum::<Rank0, _>()? / rows).try_negate()?)
}
