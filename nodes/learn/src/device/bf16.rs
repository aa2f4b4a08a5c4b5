//! The CPU with factors of bf16.

use super::{Cpu, Device, Memory};
use crate::kernels::conv::{Bf16, ConvShape};
use crate::layers::Buffer;

/// The host, whose convolutions and linear layers multiply numbers of bf16: weights, what is between layers, gradients and sums stay in f32,
/// and so do attention, norms, losses and optimisers.
#[derive(Clone, Copy, Debug)]
pub struct CpuBf16(Bf16);

impl CpuBf16 {
    /// How it is called in keys.
    pub const IDENTITY: &str = "cpu bf16";

    /// None where the CPU does not multiply bf16.
    pub fn new() -> Option<Self> {
        Bf16::new().map(Self)
    }
}

impl Device for CpuBf16 {
    fn identity(&self) -> &'static str {
        Self::IDENTITY
    }

    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        Cpu.allocate(len)
    }

    fn conv_forward(&self, shape: &ConvShape, x: &Buffer, weight: &Buffer, bias: Option<&Buffer>, y: &mut Buffer) {
        let bias = bias.map(|bias| &**bias);
        self.0.forward(shape, x, weight, bias, y.overwrite());
    }

    fn conv_backward_input(&self, shape: &ConvShape, dy: &Buffer, weight: &Buffer, dx: &mut Buffer) {
        self.0.backward_input(shape, dy, weight, dx.overwrite());
    }

    fn conv_backward_weight(
        &self,
        shape: &ConvShape,
        x: &Buffer,
        dy: &Buffer,
        dweight: &mut Buffer,
        dbias: Option<&mut Buffer>,
    ) {
        self.0
            .backward_weight(shape, x, dy, dweight, dbias.map(|dbias| &mut **dbias));
    }
}
