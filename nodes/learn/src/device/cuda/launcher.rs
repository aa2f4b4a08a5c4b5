//! What runs CUDA kernels: the driver of a GPU, or the emulator of the tests. All that is above it knows of neither.

use std::fmt::Debug;

use super::memory::Block;
pub use crate::device::DeviceError;

/// An address in the device's memory.
pub type Address = u64;

/// Threads of a block, for every kernel.
pub const THREADS: u32 = 256;

/// A result of the device.
pub type Done<T = ()> = Result<T, DeviceError>;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// Memory, from its beginning.
    Block(&'a Block),
    /// Memory, from a value on.
    From(&'a Block, usize),
    /// No memory: a null pointer.
    Null,
    /// An `int`.
    Int(i32),
    /// A `long long`.
    Long(i64),
    /// A `float`.
    Float(f32),
    /// A structure of `int`s.
    Ints(&'a [i32]),
}

/// Memory and kernels of one device, in one order: each call begins where the one before has ended.
pub trait Launcher: Send + Sync + Debug {
    /// Memory with unspecified contents; nothing if there is none left.
    ///
    /// # Errors
    /// The driver's.
    fn allocate(&self, bytes: usize) -> Done<Option<Address>>;
    /// Gives memory back that was allocated here and that nothing refers to.
    fn free(&self, address: Address);
    /// Copies values to the device; `from` may change as soon as it returns.
    ///
    /// # Errors
    /// The driver's.
    fn upload(&self, from: &[f32], to: &Block) -> Done;
    /// Copies values from the device, when all before is done.
    ///
    /// # Errors
    /// The driver's, and those of all that was asked for before.
    fn download(&self, from: &Block, to: &mut [f32]) -> Done;
    /// Begins to copy values from the device to the host's own memory, behind all that was asked for before.
    ///
    /// # Errors
    /// The driver's.
    fn begin_download(&self, from: &Block) -> Done<Box<dyn Download>>;
    /// Copies a block to another of the same length.
    ///
    /// # Errors
    /// The driver's.
    fn copy(&self, from: &Block, to: &Block) -> Done;
    /// Runs `kernel` on `grid` blocks of [`THREADS`] threads with so many bytes of shared memory.
    ///
    /// # Errors
    /// The driver's.
    fn launch(&self, kernel: &'static str, grid: [u32; 3], shared: u32, args: &[Arg<'_>]) -> Done;
    /// Waits until all is done.
    ///
    /// # Errors
    /// Those of all that was asked for before.
    fn synchronise(&self) -> Done;
}

/// Values that are being copied to the host.
pub trait Download: Send + Sync + Debug {
    /// Waits for them, and copies them.
    ///
    /// # Errors
    /// The driver's, and those of all that was asked for before.
    fn finish(self: Box<Self>, to: &mut [f32]) -> Done;
}

/// The arguments as CUDA's driver takes them: a pointer to each one's value.
#[derive(Debug)]
pub struct Packed<'a> {
    words: Vec<u64>,
    args: &'a [Arg<'a>],
}

impl<'a> Packed<'a> {
    /// Packs arguments.
    pub fn new(args: &'a [Arg<'a>]) -> Self {
        let word = |arg: &Arg<'_>| match arg {
            Arg::Block(block) => block.address(),
            Arg::From(block, at) => block.address() + 4 * *at as u64,
            Arg::Null | Arg::Ints(_) => 0,
            Arg::Int(value) => u64::from(value.cast_unsigned()),
            Arg::Long(value) => value.cast_unsigned(),
            Arg::Float(value) => u64::from(value.to_bits()),
        };
        Self {
            words: args.iter().map(word).collect(),
            args,
        }
    }

    /// The pointers, good as long as this lives. Numbers shorter than a word are its low bytes: CUDA's hosts are little-endian.
    pub fn pointers(&mut self) -> Vec<*mut std::ffi::c_void> {
        let pairs = self.words.iter_mut().zip(self.args);
        pairs
            .map(|(word, arg)| match arg {
                Arg::Ints(values) => values.as_ptr().cast_mut().cast(),
                _ => std::ptr::from_mut(word).cast(),
            })
            .collect()
    }
}
