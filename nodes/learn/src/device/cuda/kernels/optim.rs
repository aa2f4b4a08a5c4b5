//! Optimisers, all tensors in one launch.

use super::{Arg, Block, Done, Kernels, count, fits, int};

/// Values of a block, as in optim.cu.
const CHUNK: usize = 4096;

/// A tensor that SGD or LARS moves.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The values, to be updated.
    pub value: &'a Block,
    /// Their gradient, zero afterwards.
    pub grad: &'a Block,
    /// The velocity, to be updated.
    pub velocity: &'a Block,
    /// Learning rate.
    pub lr: f32,
    /// Weight decay.
    pub decay: f32,
    /// Whether LARS adapts its rate.
    pub adapted: bool,
}

/// A tensor that Adam moves.
#[derive(Clone, Copy, Debug)]
pub struct AdamTensor<'a> {
    /// The values, to be updated.
    pub value: &'a Block,
    /// Their gradient, zero afterwards.
    pub grad: &'a Block,
    /// First and second moment, to be updated.
    pub moments: [&'a Block; 2],
    /// Learning rate divided by the first correction.
    pub rate: f32,
    /// The root of the second correction.
    pub correction: f32,
    /// Decay that is added to the gradient.
    pub penalty: f32,
    /// What is kept of the values: 1 without decoupled decay.
    pub kept: f32,
}

/// Tensors as the kernels find them.
struct Table {
    tensors: usize,
    blocks: usize,
    /// The tensors' rows, and behind them the block at which each begins.
    rows: Block,
    starts: usize,
}

impl Table {
    fn args(&self) -> [Arg<'_>; 3] {
        [
            Arg::Int(int(self.tensors)),
            Arg::Block(&self.rows),
            Arg::From(&self.rows, self.starts),
        ]
    }
}

/// As `Tensor` in optim.cu: four pointers, a length, four constants.
type Row<'a> = ([&'a Block; 4], [f32; 4]);

impl Kernels {
    fn table(&self, rows: &[Row<'_>]) -> Done<Table> {
        let (mut words, mut starts) = (Vec::new(), vec![0u32]);
        let mut blocks = 0;
        for (memory, constants) in rows {
            let len = memory[0].len();
            memory.iter().for_each(|block| fits(block, len));
            for word in memory.map(Block::address).into_iter().chain([len as u64]) {
                words.extend([word as u32, (word >> 32) as u32]);
            }
            words.extend(constants.map(f32::to_bits));
            blocks += len.div_ceil(CHUNK);
            starts.push(count(blocks));
        }
        let starts_at = words.len();
        words.extend(starts);
        Ok(Table {
            tensors: rows.len(),
            blocks,
            rows: self.place_numbers(words)?,
            starts: starts_at,
        })
    }

    fn simple(&self, tensors: &[Update<'_>]) -> Done<Table> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for t in tensors {
            let constants = [t.lr, t.decay, f32::from(u8::from(t.adapted)), 0.0];
            rows.push(([t.value, t.grad, t.velocity, t.velocity], constants));
        }
        self.table(&rows)
    }

    /// A step of SGD: see [`crate::optim`].
    ///
    /// # Errors
    /// The device's.
    pub fn sgd(&self, tensors: &[Update<'_>], momentum: f32, nesterov: bool) -> Done {
        let table = self.simple(tensors)?;
        let last = [Arg::Float(momentum), Arg::Int(i32::from(nesterov))];
        let args: Vec<Arg<'_>> = table.args().into_iter().chain(last).collect();
        self.blocks("sgd", [table.blocks, 1, 1], 0, &args)
    }

    /// A step of Adam or AdamW.
    ///
    /// # Errors
    /// The device's.
    pub fn adam(&self, tensors: &[AdamTensor<'_>], [b1, b2]: [f32; 2], eps: f32) -> Done {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for t in tensors {
            let [first, second] = t.moments;
            rows.push((
                [t.value, t.grad, first, second],
                [t.rate, t.correction, t.penalty, t.kept],
            ));
        }
        let table = self.table(&rows)?;
        let args: Vec<Arg<'_>> = table.args().into_iter().chain([b1, b2, eps].map(Arg::Float)).collect();
        self.blocks("adam", [table.blocks, 1, 1], 0, &args)
    }

    /// A step of LARS.
    ///
    /// # Errors
    /// The device's.
    pub fn lars(&self, tensors: &[Update<'_>], momentum: f32, eta: f32) -> Done {
        let table = self.simple(tensors)?;
        // Two sums in f64 for each block.
        let parts = self.take(4 * table.blocks)?;
        let grid = [table.blocks, 1, 1];
        let args: Vec<Arg<'_>> = table.args().into_iter().chain([Arg::Block(&parts)]).collect();
        self.blocks("lars_parts", grid, 8 * 8, &args)?;
        let last = [Arg::Float(momentum), Arg::Float(eta)];
        let args: Vec<Arg<'_>> = args.into_iter().chain(last).collect();
        self.blocks("lars", grid, 8 * 8, &args)
    }
}
