//! Every kernel against the CPU's, on shapes drawn from a seed: what the tests do on the emulator, and `flow doctor` on a GPU.

mod layers;
mod losses;
mod products;
mod training;

use super::kernels::{Kernels, Precision};
use super::launcher::Done;
use super::memory::Block;
use crate::rng::Stream;

/// How far a kernel may be from the CPU's, as root of mean squares relative to the result's: in f32, and with factors in TF32 and BF16.
pub const EXACT: f32 = 1e-5;
/// See [`EXACT`].
pub const TF32: f32 = 3e-3;
/// See [`EXACT`]. Factors have three bits less than TF32's.
pub const BF16: f32 = 8.0 * TF32;

/// How one kernel did on one shape.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The kernel.
    pub kernel: &'static str,
    /// The shape.
    pub case: String,
    /// Relative root of mean squares of the difference; infinite if a value was not written or is no number.
    pub error: f32,
    /// What it may be.
    pub bound: f32,
    /// Whether it gave the same bits again.
    pub repeated: bool,
}

impl Compared {
    /// Whether it is near enough, and the same again.
    pub fn passes(&self) -> bool {
        self.error <= self.bound && self.repeated
    }
}

/// How large the shapes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// For the emulator.
    Small,
    /// For a GPU.
    Large,
}

/// All kernels on shapes that derive from the seed.
///
/// # Errors
/// The device's.
pub fn compare(kernels: &Kernels, seed: u64, extent: Extent) -> Done<Vec<Compared>> {
    let mut check = Check {
        kernels,
        stream: Stream::new(seed, "kernels"),
        extent,
        found: Vec::new(),
    };
    check.convolutions()?;
    check.groups()?;
    check.elementwise()?;
    check.batch_norm()?;
    check.layer_norm()?;
    check.pools()?;
    check.rows()?;
    check.attention()?;
    check.optimisers()?;
    check.losses()?;
    Ok(check.found)
}

/// What an output holds before the kernel runs.
enum Start<'a> {
    /// NaN: the kernel must write every value.
    Poison(usize),
    /// Values that the kernel changes.
    Values(&'a [f32]),
}

/// A kernel's work on inputs and outputs.
type Work<'a> = &'a dyn Fn(&Kernels, &[Block], &[Block]) -> Done;

struct Check<'a> {
    kernels: &'a Kernels,
    stream: Stream,
    extent: Extent,
    found: Vec<Compared>,
}

impl Check<'_> {
    /// From `low` to `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.stream.below(high - low + 1)
    }

    fn one_of(&mut self, of: &[usize]) -> usize {
        of[self.stream.below(of.len())]
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.stream.normal()).collect()
    }

    fn positive(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.stream.range(0.2, 2.0)).collect()
    }

    /// The bound of a product.
    fn product_bound(&self) -> f32 {
        match self.kernels.precision() {
            Precision::Tf32 => TF32,
            Precision::Bf16 => BF16,
            Precision::Fp32 => EXACT,
        }
    }

    /// Larger sizes where there is a GPU for them.
    fn larger(&self, size: usize, factor: usize) -> usize {
        match self.extent {
            Extent::Small => size,
            Extent::Large => size * factor,
        }
    }

    fn once(&self, inputs: &[&[f32]], starts: &[Start<'_>], work: Work<'_>) -> Done<Vec<Vec<f32>>> {
        let kernels = self.kernels;
        let inputs = inputs.iter().map(|v| kernels.place(v)).collect::<Done<Vec<_>>>()?;
        let place = |start: &Start<'_>| match start {
            Start::Values(values) => kernels.place(values),
            Start::Poison(len) => kernels.place(&vec![f32::NAN; *len]),
        };
        let outputs = starts.iter().map(place).collect::<Done<Vec<_>>>()?;
        work(kernels, &inputs, &outputs)?;
        outputs.iter().map(|block| kernels.fetch(block)).collect()
    }

    /// Runs a kernel twice, and notes how far it is from what is expected.
    fn case(
        &mut self,
        (kernel, case): (&'static str, String),
        bound: f32,
        (inputs, starts): (&[&[f32]], &[Start<'_>]),
        expected: &[&[f32]],
        work: Work<'_>,
    ) -> Done {
        let (first, again) = (self.once(inputs, starts, work)?, self.once(inputs, starts, work)?);
        let bits = |all: &[Vec<f32>]| all.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        let errors = first
            .iter()
            .zip(expected)
            .map(|(found, expected)| relative_error(found, expected));
        self.found.push(Compared {
            kernel,
            case,
            error: errors.fold(0.0, f32::max),
            bound,
            repeated: bits(&first) == bits(&again),
        });
        Ok(())
    }
}

/// Root of the squared difference over that of the expected values; infinite if it is no number.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let difference: f64 = found.iter().zip(expected).map(|(f, e)| square(f - e)).sum();
    let size: f64 = expected.iter().map(|e| square(*e)).sum();
    let error = (difference / size.max(1e-30)).sqrt() as f32;
    if error.is_nan() || found.len() != expected.len() {
        return f32::INFINITY;
    }
    error
}
