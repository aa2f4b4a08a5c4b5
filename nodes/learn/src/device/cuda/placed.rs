//! Memory of a device as buffers hold it, and the first failure, which it shares with its device.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernels::Kernels;
use super::launcher::{Done, Download};
use super::memory::Block;
use crate::device::{Arriving, DeviceError, Memory};

/// What a device and its memory share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kernels: Kernels,
    failure: Mutex<Option<DeviceError>>,
}

impl Shared {
    pub(super) fn new(kernels: Kernels) -> Self {
        Self {
            kernels,
            failure: Mutex::default(),
        }
    }

    pub(super) fn failure(&self) -> Option<DeviceError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something, unless something failed before.
    pub(super) fn done<T>(&self, work: impl FnOnce(&Kernels) -> Done<T>) -> Option<T> {
        if self.failure().is_some() {
            return None;
        }
        let keep = |error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        };
        work(&self.kernels).map_err(keep).ok()
    }
}

/// Memory of a device: none if it could not be had, after which the device does nothing any more.
#[derive(Debug)]
pub(super) struct Placed {
    block: Option<Block>,
    shared: Arc<Shared>,
}

impl Placed {
    pub(super) fn new(len: usize, shared: &Arc<Shared>) -> Self {
        Self {
            block: shared.done(|kernels| kernels.take(len)),
            shared: Arc::clone(shared),
        }
    }
}

impl Memory for Placed {
    fn upload(&mut self, from: &[f32]) {
        if let Some(block) = &self.block {
            self.shared.done(|kernels| kernels.launcher().upload(from, block));
        }
    }

    fn download(&self, to: &mut [f32]) {
        let block = self.block.as_ref();
        let done = block.and_then(|block| self.shared.done(|kernels| kernels.launcher().download(block, to)));
        if done.is_none() {
            to.fill(f32::NAN);
        }
    }

    fn begin_download(&self) -> Option<Box<dyn Arriving>> {
        let block = self.block.as_ref()?;
        let download = self.shared.done(|kernels| kernels.launcher().begin_download(block))?;
        let shared = Arc::clone(&self.shared);
        Some(Box::new(ArrivingBlock { download, shared }))
    }

    fn duplicate(&self) -> Box<dyn Memory> {
        let copy = |from: &Block| {
            self.shared.done(|kernels| {
                let to = kernels.take(from.len())?;
                kernels.launcher().copy(from, &to)?;
                Ok(to)
            })
        };
        Box::new(Self {
            block: self.block.as_ref().and_then(copy),
            shared: Arc::clone(&self.shared),
        })
    }
}

/// Values on their way; the device stays open for them.
#[derive(Debug)]
struct ArrivingBlock {
    download: Box<dyn Download>,
    shared: Arc<Shared>,
}

impl Arriving for ArrivingBlock {
    fn arrive(self: Box<Self>, to: &mut [f32]) {
        let Self { download, shared } = *self;
        if shared.done(|_| download.finish(to)).is_none() {
            to.fill(f32::NAN);
        }
    }
}

/// The block in a device's memory, if it could be had.
pub(super) fn block(memory: &dyn Memory) -> Option<&Block> {
    let memory: &dyn Any = memory;
    memory
        .downcast_ref::<Placed>()
        .expect("BUG: another device's memory")
        .block
        .as_ref()
}
