//! What trainings of a fixed number of steps have in common, whatever their heads are.

use std::ops::ControlFlow;

use super::{EpochOutcome, TrainError, WaitTimes};
use crate::device::DeviceError;
use crate::settings::SettingError;
use crate::state::{StateDict, StateError, Tensor};

/// A training that goes on in stretches, and from checkpoints.
pub trait Training {
    /// Steps done.
    fn step(&self) -> usize;

    /// Images that went through the network, forward and backward, so far: see [`super::FitSettings::cost`].
    fn images_seen(&self) -> u64;

    /// Runs up to `steps` more steps, calling `watch(step, loss)` after each, which may break off between steps: unlike a
    /// pre-training's epoch, nothing is lost then.
    ///
    /// # Errors
    /// If the loss is no number any more.
    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError>;

    /// Everything that the rest of the training depends on.
    ///
    /// # Errors
    /// The device's: what it could not give any more is no checkpoint.
    fn checkpoint(&mut self) -> Result<Vec<u8>, DeviceError>;

    /// Goes on from a checkpoint of the same settings and data.
    ///
    /// # Errors
    /// If it is not one.
    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError>;

    /// What the parts done showed, if that is looked at.
    fn history(&self) -> &[EpochOutcome] {
        &[]
    }
}

/// What a checkpoint calls the steps done.
const STEP: &str = "step";

/// The steps of a training, of which each next one's examples are made while one is learnt from.
pub(crate) struct Steps<P> {
    done: usize,
    total: usize,
    /// The next step's examples, if they are made already.
    ready: Option<P>,
    wait_times: WaitTimes,
}

impl<P: Send> Steps<P> {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            done: 0,
            total,
            ready: None,
            wait_times: WaitTimes::default(),
        }
    }

    pub(crate) fn done(&self) -> usize {
        self.done
    }

    pub(crate) fn wait_times(&self) -> WaitTimes {
        self.wait_times
    }

    /// As [`Training::run`]: `prepare` makes the examples of a step from its number alone, and `learn` takes a step on them; its loss comes back.
    pub(crate) fn run(
        &mut self,
        count: usize,
        prepare: impl Fn(usize) -> P + Sync,
        mut learn: impl FnMut(usize, P) -> Result<f32, TrainError> + Send,
        mut watch: impl FnMut(usize, f32) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let until = (self.done + count).min(self.total);
        while self.done < until {
            let (step, next, total) = (self.done, self.done + 1, self.total);
            let examples = self.ready.take().unwrap_or_else(|| prepare(step));
            let (loss, made) = self
                .wait_times
                .overlap(|| learn(step, examples), || (next < total).then(|| prepare(next)));
            self.ready = made;
            let loss = loss?;
            if !loss.is_finite() {
                let message = format!("the loss became {loss} in step {step}: training diverged, lower it");
                return Err(SettingError::new("lr", message).into());
            }
            self.done = next;
            if watch(next, loss).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        Ok(())
    }

    pub(crate) fn save(&self, state: &mut StateDict) {
        let done = Tensor {
            shape: vec![1],
            data: vec![self.done as f32],
        };
        state.tensors.insert(STEP.into(), done);
    }

    pub(crate) fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        let done = state.tensors.get(STEP).and_then(|tensor| tensor.data.first());
        self.done = *done.ok_or(StateError::Missing { name: STEP.into() })? as usize;
        self.ready = None;
        Ok(())
    }
}
