//! Kernels over slices: channel-last convolution, normalisation, pooling, attention. They take shapes, know no layers, and split their
//! work so that the bits of a result do not depend on the number of threads.

pub mod attention;
mod bf16;
pub mod conv;
pub mod elementwise;
pub mod gelu;
pub mod layer_norm;
mod layout;
pub mod norm;
pub mod pool;
mod scratch;
pub(crate) mod simd;
pub(crate) mod tile;

/// The vector instructions that the kernels use on this machine.
pub fn instruction_set() -> &'static str {
    tile::instruction_set()
}
