//! Memory of a device that is given back to a pool and taken again: an allocation of the driver's waits for all that runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::launcher::{Address, DeviceError, Done, Launcher};

/// Bytes of a megabyte.
const MEGABYTE: usize = 1 << 20;

/// Values on the device; goes back to its pool when dropped.
#[derive(Debug)]
pub struct Block {
    address: Address,
    bytes: usize,
    len: usize,
    pool: Arc<Pool>,
}

impl Block {
    /// Where it begins.
    pub fn address(&self) -> Address {
        self.address
    }

    /// How many values of 4 bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(self.bytes).or_default().push(self.address);
    }
}

/// What was given back, by size. Since the device does one thing after the other, memory can be taken again at once.
#[derive(Debug)]
pub struct Pool {
    launcher: Arc<dyn Launcher>,
    free: Mutex<BTreeMap<usize, Vec<Address>>>,
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Pool {
    /// Nothing is allocated yet.
    pub fn new(launcher: Arc<dyn Launcher>) -> Self {
        Self {
            launcher,
            free: Mutex::default(),
            held: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// The most bytes that were ever allocated.
    pub fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    /// Memory for `len` values, with unspecified contents.
    ///
    /// # Errors
    /// If there is none left, even after what is not in use was given back to the driver.
    pub fn take(self: &Arc<Self>, len: usize) -> Done<Block> {
        let bytes = rounded(4 * len);
        let reused = self.free().get_mut(&bytes).and_then(Vec::pop);
        let address = match reused {
            Some(address) => address,
            None => self.allocate(bytes)?,
        };
        Ok(Block {
            address,
            bytes,
            len,
            pool: Arc::clone(self),
        })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Vec<Address>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allocate(&self, bytes: usize) -> Done<Address> {
        let address = match self.launcher.allocate(bytes)? {
            Some(address) => address,
            None => {
                self.trim()?;
                self.launcher.allocate(bytes)?.ok_or_else(|| DeviceError::Memory {
                    wanted: bytes.div_ceil(MEGABYTE),
                    held: self.held.load(Relaxed).div_ceil(MEGABYTE),
                })?
            }
        };
        let held = self.held.fetch_add(bytes, Relaxed) + bytes;
        self.most.fetch_max(held, Relaxed);
        Ok(address)
    }

    /// Gives all that is not in use back to the driver.
    fn trim(&self) -> Done {
        self.launcher.synchronise()?;
        for (bytes, addresses) in std::mem::take(&mut *self.free()) {
            for address in addresses {
                self.launcher.free(address);
                self.held.fetch_sub(bytes, Relaxed);
            }
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *self.free());
        all.into_values()
            .flatten()
            .for_each(|address| self.launcher.free(address));
    }
}

/// The size that is allocated for so many bytes: the next of eight sizes between two powers of two, and at least 512.
fn rounded(bytes: usize) -> usize {
    let bytes = bytes.max(512);
    let step = (bytes.next_power_of_two() / 16).max(512);
    bytes.next_multiple_of(step)
}
