//! What trainings of all tasks have in common: they go on in stretches, and from checkpoints.

use std::ops::ControlFlow;

use flow_learn::tasks::LocatingFit;
use flow_learn::train::{EpochOutcome, Fit, TrainError};

/// A fit that goes on in stretches.
pub(super) trait Fitting {
    fn step(&self) -> usize;
    fn images_seen(&self) -> u64;
    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError>;
    fn checkpoint(&mut self) -> Vec<u8>;
    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError>;
    /// What the parts done showed, if that is looked at.
    fn history(&self) -> &[EpochOutcome] {
        &[]
    }
}

impl Fitting for Fit<'_> {
    fn step(&self) -> usize {
        self.step()
    }
    fn images_seen(&self) -> u64 {
        self.images_seen()
    }
    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError> {
        self.run(steps, watch)
    }
    fn checkpoint(&mut self) -> Vec<u8> {
        self.checkpoint()
    }
    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.resume(bytes)
    }
    fn history(&self) -> &[EpochOutcome] {
        self.history()
    }
}

impl Fitting for LocatingFit<'_> {
    fn step(&self) -> usize {
        self.step()
    }
    fn images_seen(&self) -> u64 {
        self.images_seen()
    }
    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError> {
        self.run(steps, watch)
    }
    fn checkpoint(&mut self) -> Vec<u8> {
        self.checkpoint()
    }
    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.resume(bytes)
    }
}
