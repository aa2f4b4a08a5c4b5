//! Training loops: pre-training without labels, fitting a classifier, and using a network.
//!
//! A loop's randomness derives from the seed and the place in training (epoch, step, position), never from what ran before,
//! so a run that resumes from a checkpoint gives the bits of one that was never interrupted.

mod classifier;
mod classify;
mod epoch;
mod feed;
mod fit_settings;
mod guesses;
mod infer;
mod joint;
mod length;
mod monitor;
mod optimizers;
mod prefetch;
mod pretrain;
mod steps;

pub use classifier::{Classifier, Examples, Pool};
pub use classify::Fit;
pub use epoch::EpochOutcome;
pub use fit_settings::FitSettings;
pub use infer::{Outputs, embed, embed_batch, outputs, predict};
pub(crate) use joint::JointLoss;
pub use joint::JointLossSettings;
pub use length::Length;
pub use monitor::{held_out, hold_out};
pub(crate) use optimizers::Optimizers;
pub use prefetch::WaitTimes;
pub use pretrain::{PretrainSettings, Pretraining};
pub(crate) use steps::Steps;
pub use steps::Training;

use crate::backbones::BackboneError;
use crate::device::{Device, DeviceError};
use crate::layers::{Entry, Role};
use crate::losses::LossError;
use crate::methods::MethodError;
use crate::optim::{Optimizer, ParamMut};
use crate::settings::SettingError;
use crate::state::{StateDict, StateError, Tensor};

/// Why training cannot start or go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// The backbone cannot be built.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The method cannot run.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The loss refused its inputs.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Weights or a checkpoint do not fit.
    #[error(transparent)]
    State(#[from] StateError),
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The caller asked to stop; what was done since the last checkpoint is dropped.
    #[error("stopped")]
    Stopped,
}

/// One optimiser step over all parameters, whose gradients are cleared.
pub(crate) fn update(device: &dyn Device, optimizer: &mut dyn Optimizer, lr: f32, entries: Vec<Entry<'_>>) {
    update_each(device, optimizer, |_| lr, entries);
}

/// [`update`] with a learning rate for each parameter's name.
fn update_each(
    device: &dyn Device,
    optimizer: &mut dyn Optimizer,
    lr: impl Fn(&str) -> f32,
    mut entries: Vec<Entry<'_>>,
) {
    entries.retain(|e| e.role != Role::Buffer);
    let parameters = entries.iter_mut().filter_map(|e| {
        Some(ParamMut {
            name: &e.name,
            value: e.value,
            grad: e.grad.as_deref_mut()?,
            lr: lr(&e.name),
            decay: e.role == Role::Weight,
        })
    });
    optimizer.step(device, &mut parameters.collect::<Vec<_>>());
}

/// The optimiser's buffers as tensors of a checkpoint, named behind `prefix`.
fn save_optimizer(optimizer: &dyn Optimizer, prefix: &str, to: &mut StateDict) {
    for (name, data) in optimizer.state() {
        to.tensors.insert(
            format!("{prefix}.{name}"),
            Tensor {
                shape: vec![data.len()],
                data,
            },
        );
    }
}

/// The reverse of [`save_optimizer`].
fn load_optimizer(optimizer: &mut dyn Optimizer, prefix: &str, from: &StateDict) {
    let behind = |name: &String| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned());
    let state = from
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((behind(name)?, tensor.data.clone())));
    optimizer.load_state(state.collect());
}

/// Indices `position .. position + count` of an endless concatenation of permutations of `0..n`: every example comes up
/// once before any comes up again.
pub(crate) fn draw(order: &crate::rng::Stream, n: usize, position: usize, count: usize) -> Vec<u32> {
    let mut drawn = Vec::with_capacity(count);
    let mut at = position;
    while drawn.len() < count {
        let permutation = order.index((at / n) as u64).permutation(n);
        let from = at % n;
        let take = (n - from).min(count - drawn.len());
        drawn.extend_from_slice(&permutation[from..from + take]);
        at += take;
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::rng::Stream;

    #[test]
    fn every_example_comes_up_once_before_any_comes_up_again() {
        let order = Stream::new(3, "order");
        let all: Vec<u32> = (0..10).flat_map(|step| draw(&order, 7, step * 5, 5)).collect();
        for round in all.chunks_exact(7) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<u32>>());
        }
        assert_eq!(
            &all[20..25],
            draw(&order, 7, 20, 5),
            "a draw depends on its position only"
        );
    }
}
