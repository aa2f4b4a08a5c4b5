//! A CUDA device without a GPU: the very same kernels, compiled for the CPU, one thread at a time. For tests.
//!
//! Memory begins as NaN, warps take turns in an order that changes all the time, and a launch's arguments are those that the driver
//! would get; see `emulate.h` for what else is as on a GPU.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use flow_learn::device::cuda::launcher::{Address, Arg, DeviceError, Done, Download, Launcher, Packed, THREADS};
use flow_learn::device::cuda::memory::Block;

unsafe extern "C" {
    fn flow_emulator_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        shared: u32,
        arguments: *mut *mut c_void,
        no_barriers: c_int,
    ) -> c_int;
}

/// The directory of a `libcuda.so` that is NVIDIA's driver for all that flow knows, over the emulator: for LD_LIBRARY_PATH. What machine it
/// shows is told by the environment variables that `driver.cpp` names.
pub const DRIVER: &str = env!("FLOW_EMULATED_DRIVER");

/// Sixteen bytes, so that memory is aligned as a GPU's.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Four {
    _values: [f32; 4],
}

/// What a device was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Kernels to run.
    pub launches: usize,
    /// Copies from the host.
    pub uploads: usize,
    /// Copies to the host that all before was waited for.
    pub downloads: usize,
    /// Copies to the host that are waited for later.
    pub begun: usize,
}

/// An emulated device.
#[derive(Default)]
pub struct Emulator {
    asked: Mutex<Asked>,
    memory: Mutex<HashMap<Address, Vec<Four>>>,
    no_barriers: AtomicBool,
    limit: Option<usize>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emulator")
    }
}

impl Emulator {
    /// A device whose barriers are ignored, as if they had been forgotten in the kernels.
    pub fn without_barriers() -> Self {
        let emulator = Self::default();
        emulator.no_barriers.store(true, Relaxed);
        emulator
    }

    /// A device with so many bytes of memory.
    pub fn with_memory(bytes: usize) -> Self {
        Self {
            limit: Some(bytes),
            ..Self::default()
        }
    }

    /// What it was asked for since this was last called.
    pub fn take_asked(&self) -> Asked {
        std::mem::take(&mut *self.asked())
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Vec<Four>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values of a block, for as long as the memory is locked.
    fn with<R>(&self, block: &Block, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut blocks = self.blocks();
        let memory = blocks
            .get_mut(&block.address())
            .expect("BUG: memory that is not this device's");
        let values = memory.as_flattened_floats();
        work(&mut values[..block.len()])
    }
}

/// The values one after the other.
trait Flat {
    fn as_flattened_floats(&mut self) -> &mut [f32];
}

impl Flat for Vec<Four> {
    fn as_flattened_floats(&mut self) -> &mut [f32] {
        // SAFETY: a `Four` is four f32 and nothing else, so that its vector's memory is that many of them, initialised.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * 4) }
    }
}

/// Values as they were when their copy began.
#[derive(Debug)]
struct EmulatedDownload(Vec<f32>);

impl Download for EmulatedDownload {
    fn finish(self: Box<Self>, to: &mut [f32]) -> Done {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl Launcher for Emulator {
    fn allocate(&self, bytes: usize) -> Done<Option<Address>> {
        let mut blocks = self.blocks();
        let held: usize = blocks.values().map(|b| 16 * b.len()).sum();
        if self.limit.is_some_and(|limit| held + bytes > limit) {
            return Ok(None);
        }
        let memory = vec![Four { _values: [f32::NAN; 4] }; bytes.div_ceil(16)];
        let address = memory.as_ptr().expose_provenance() as Address;
        blocks.insert(address, memory);
        Ok(Some(address))
    }

    fn free(&self, address: Address) {
        self.blocks().remove(&address);
    }

    fn upload(&self, from: &[f32], to: &Block) -> Done {
        self.asked().uploads += 1;
        self.with(to, |to| to.copy_from_slice(from));
        Ok(())
    }

    fn download(&self, from: &Block, to: &mut [f32]) -> Done {
        self.asked().downloads += 1;
        self.with(from, |from| to.copy_from_slice(from));
        Ok(())
    }

    fn begin_download(&self, from: &Block) -> Done<Box<dyn Download>> {
        self.asked().begun += 1;
        Ok(Box::new(EmulatedDownload(self.with(from, |from| from.to_vec()))))
    }

    fn copy(&self, from: &Block, to: &Block) -> Done {
        let values = self.with(from, |from| from.to_vec());
        self.with(to, |to| to.copy_from_slice(&values));
        Ok(())
    }

    fn launch(&self, kernel: &'static str, grid: [u32; 3], shared: u32, args: &[Arg<'_>]) -> Done {
        self.asked().launches += 1;
        let name = CString::new(kernel).expect("BUG: a kernel's name has no zero");
        let mut packed = Packed::new(args);
        let mut pointers = packed.pointers();
        let no_barriers = c_int::from(self.no_barriers.load(Relaxed));
        // Kernels write to memory that Rust does not look at meanwhile: blocks are looked at under this lock alone.
        let _blocks = self.blocks();
        // SAFETY: every pointer is to an argument of the type that the kernel has, and the blocks that they name are borrowed by
        // `args` until it returns. What a kernel writes past a block's end is the fault that these tests look for.
        let code = unsafe {
            flow_emulator_launch(
                name.as_ptr(),
                grid.as_ptr(),
                THREADS,
                shared,
                pointers.as_mut_ptr(),
                no_barriers,
            )
        };
        let problem = match code {
            0 => return Ok(()),
            1 => "there is no kernel of this name",
            3 => "lanes of a warp wait for one that has ended",
            _ => "a block is no whole number of warps",
        };
        Err(DeviceError::Driver {
            what: format!("run `{kernel}`"),
            code: problem.to_owned(),
        })
    }

    fn synchronise(&self) -> Done {
        Ok(())
    }
}
