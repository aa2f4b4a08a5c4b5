//! A device for tests: memory of its own, filled with NaN, the CPU's kernels, and counters of what is carried to and fro.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::{Device, DeviceError, Memory};
use crate::layers::Buffer;

/// What was carried between the host and a [`Mock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes to the device.
    pub up: u64,
    /// Bytes from the device.
    pub down: u64,
    /// Copies in both directions.
    pub copies: u64,
}

/// Counters of a device's traffic.
#[derive(Debug, Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    copies: AtomicU64,
    /// Bytes that are allocated.
    held: AtomicU64,
    /// The most bytes that there are; no limit if it is 0.
    limit: u64,
    failure: OnceLock<DeviceError>,
}

/// A device in the host's memory.
#[derive(Debug, Default)]
pub struct Mock(Arc<Counters>);

impl Mock {
    /// One that has so many bytes of memory, as a GPU that others use too.
    pub fn with_memory(limit: u64) -> Self {
        Self(Arc::new(Counters {
            limit,
            ..Counters::default()
        }))
    }

    /// What was carried since the last call.
    pub fn take_traffic(&self) -> Traffic {
        Traffic {
            up: self.0.up.swap(0, Relaxed),
            down: self.0.down.swap(0, Relaxed),
            copies: self.0.copies.swap(0, Relaxed),
        }
    }
}

#[derive(Debug)]
struct MockMemory {
    values: Vec<f32>,
    counters: Arc<Counters>,
}

impl MockMemory {
    fn new(values: Vec<f32>, counters: &Arc<Counters>) -> Self {
        let bytes = size_of_val(values.as_slice()) as u64;
        let held = counters.held.fetch_add(bytes, Relaxed);
        if counters.limit > 0 && held + bytes > counters.limit {
            counters.failure.get_or_init(|| DeviceError::Memory {
                wanted: bytes.div_ceil(1 << 20) as usize,
                held: held.div_ceil(1 << 20) as usize,
            });
        }
        Self {
            values,
            counters: Arc::clone(counters),
        }
    }
}

impl Drop for MockMemory {
    fn drop(&mut self) {
        self.counters
            .held
            .fetch_sub(size_of_val(self.values.as_slice()) as u64, Relaxed);
    }
}

impl Memory for MockMemory {
    fn upload(&mut self, from: &[f32]) {
        self.counters.up.fetch_add(size_of_val(from) as u64, Relaxed);
        self.counters.copies.fetch_add(1, Relaxed);
        self.values.copy_from_slice(from);
    }

    fn download(&self, to: &mut [f32]) {
        self.counters.down.fetch_add(size_of_val(to) as u64, Relaxed);
        self.counters.copies.fetch_add(1, Relaxed);
        to.copy_from_slice(&self.values);
    }

    fn duplicate(&self) -> Box<dyn Memory> {
        Box::new(Self::new(self.values.clone(), &self.counters))
    }
}

/// The values in a mock's memory.
fn values(memory: &dyn Memory) -> &[f32] {
    let memory: &dyn Any = memory;
    &memory
        .downcast_ref::<MockMemory>()
        .expect("BUG: another device's memory")
        .values
}

/// The same, to be changed.
fn values_mut(memory: &mut dyn Memory) -> &mut [f32] {
    let memory: &mut dyn Any = memory;
    &mut memory
        .downcast_mut::<MockMemory>()
        .expect("BUG: another device's memory")
        .values
}

impl Device for Mock {
    fn identity(&self) -> &'static str {
        "mock"
    }

    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        Box::new(MockMemory::new(vec![f32::NAN; len], &self.0))
    }

    fn check(&self) -> Result<(), DeviceError> {
        self.0.failure.get().cloned().map_or(Ok(()), Err)
    }

    fn read<'a>(&self, buffer: &'a Buffer) -> &'a [f32] {
        values(buffer.on(self))
    }

    fn change<'a>(&self, buffer: &'a mut Buffer) -> &'a mut [f32] {
        values_mut(buffer.on_mut(self))
    }

    fn overwrite<'a>(&self, buffer: &'a mut Buffer) -> &'a mut [f32] {
        values_mut(buffer.out_on(self))
    }
}
