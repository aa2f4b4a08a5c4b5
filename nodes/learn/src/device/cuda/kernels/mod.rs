//! The kernels' Rust side: grids, sizes, workspace and the order of arguments, for the driver and the emulator alike.
//!
//! Work is split by the shape alone, never by what the device is: the bits are the same on every card of an architecture.

mod attention;
mod conv;
mod elementwise;
mod layer_norm;
mod losses;
mod norm;
mod optim;
mod pool;
mod product;
mod redundancy;
mod rows;

use std::sync::Arc;

pub use norm::Normalised;
pub use optim::{AdamTensor, Update};

use super::launcher::{Arg, Done, Launcher, THREADS};
use super::memory::{Block, Pool};

/// How products are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// On tensor cores, the factors rounded to 10 bits of fraction, sums in f32.
    #[default]
    Tf32,
    /// All in f32.
    Fp32,
    /// On tensor cores, the factors of convolutions and linear layers rounded to 7 bits of fraction; sums, and all that is kept, in f32.
    Bf16,
}

/// The kernels of one device.
#[derive(Debug)]
pub struct Kernels {
    launcher: Arc<dyn Launcher>,
    pool: Arc<Pool>,
    precision: Precision,
    large_tiles: bool,
}

impl Kernels {
    /// Kernels that run on `launcher`.
    pub fn new(launcher: Arc<dyn Launcher>, precision: Precision) -> Self {
        let pool = Arc::new(Pool::new(Arc::clone(&launcher)));
        Self {
            launcher,
            pool,
            precision,
            large_tiles: false,
        }
    }

    /// The same with the largest tiles for products of any size: so tests see them on shapes that are small.
    #[must_use]
    pub fn with_large_tiles(self) -> Self {
        Self {
            large_tiles: true,
            ..self
        }
    }

    /// What they run on.
    pub fn launcher(&self) -> &Arc<dyn Launcher> {
        &self.launcher
    }

    /// How products are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The most bytes that were allocated at a time.
    pub fn most_memory(&self) -> usize {
        self.pool.most()
    }

    /// Memory for `len` values, with unspecified contents.
    ///
    /// # Errors
    /// If there is none left.
    pub fn take(&self, len: usize) -> Done<Block> {
        self.pool.take(len)
    }

    /// Memory with these values.
    ///
    /// # Errors
    /// If there is none left.
    pub fn place(&self, values: &[f32]) -> Done<Block> {
        let block = self.take(values.len())?;
        self.launcher.upload(values, &block)?;
        Ok(block)
    }

    /// Memory with these numbers.
    fn place_numbers(&self, numbers: impl IntoIterator<Item = u32>) -> Done<Block> {
        // Copied as they are: no bit of a value is looked at on the way.
        let values: Vec<f32> = numbers.into_iter().map(f32::from_bits).collect();
        self.place(&values)
    }

    /// The values of some memory.
    ///
    /// # Errors
    /// Those of all that was done before.
    pub fn fetch(&self, block: &Block) -> Done<Vec<f32>> {
        let mut values = vec![0.0; block.len()];
        self.launcher.download(block, &mut values)?;
        Ok(values)
    }

    /// A kernel with a thread for each of `threads`.
    fn flat(&self, kernel: &'static str, threads: usize, args: &[Arg<'_>]) -> Done {
        if threads == 0 {
            return Ok(());
        }
        let blocks = threads.div_ceil(THREADS as usize);
        self.launcher.launch(kernel, [count(blocks), 1, 1], 0, args)
    }

    /// A kernel with a thread for every four of `len` values.
    fn by_four(&self, kernel: &'static str, len: usize, args: &[Arg<'_>]) -> Done {
        self.flat(kernel, len.div_ceil(4), args)
    }

    /// A kernel with a warp for each of `rows`.
    fn by_row(&self, kernel: &'static str, rows: usize, args: &[Arg<'_>]) -> Done {
        if rows == 0 {
            return Ok(());
        }
        self.launcher.launch(kernel, [count(rows.div_ceil(8)), 1, 1], 0, args)
    }

    /// A kernel with blocks of a grid and shared memory.
    fn blocks(&self, kernel: &'static str, grid: [usize; 3], shared: usize, args: &[Arg<'_>]) -> Done {
        if grid.contains(&0) {
            return Ok(());
        }
        self.launcher.launch(kernel, grid.map(count), count(shared), args)
    }
}

/// How the rows of a matrix are split for sums of its columns.
#[derive(Clone, Copy, Debug)]
struct Splits {
    rows: usize,
    columns: usize,
    per_split: usize,
    count: usize,
}

impl Splits {
    /// At least 128 rows each, and at most 512 blocks of 32 columns in all.
    fn new(rows: usize, columns: usize) -> Self {
        let most = (512 / columns.div_ceil(32).max(1)).max(1);
        let per_split = rows.div_ceil(most).max(128);
        Self {
            rows,
            columns,
            per_split,
            count: rows.div_ceil(per_split),
        }
    }

    /// Values of the two sums of all splits.
    fn parts(self) -> usize {
        2 * self.count * self.columns
    }

    fn grid(self) -> [usize; 3] {
        [self.columns.div_ceil(32), self.count, 1]
    }
}

/// Bytes of shared memory that sums of columns take.
const COLUMN_SUMS: usize = 8 * 64 * 4;

/// A size as the kernels take it.
fn int(size: usize) -> i32 {
    i32::try_from(size).expect("BUG: more than 2^31 values in a kernel's dimension")
}

fn count(size: usize) -> u32 {
    u32::try_from(size).expect("BUG: more than 2^32 blocks of a kernel")
}

fn long(size: usize) -> Arg<'static> {
    Arg::Long(size as i64)
}

/// A flag as the kernels take it.
fn flag(on: bool) -> Arg<'static> {
    Arg::Int(i32::from(on))
}

/// Memory, or a null pointer.
fn perhaps(block: Option<&Block>) -> Arg<'_> {
    block.map_or(Arg::Null, Arg::Block)
}

/// What is written must be what the shape says, since nothing on the device looks.
fn fits(block: &Block, len: usize) {
    assert_eq!(block.len(), len, "BUG: memory does not fit the kernel's shape");
}
