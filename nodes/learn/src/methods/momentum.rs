//! A momentum copy of encoder and head: a teacher that slowly follows (He et al. 2020, 1911.05722, eq. 2).
//!
//! `theta_k = m theta_k + (1 - m) theta_q` for weights, biases and the scales and shifts of batch norms. The batch norms' running
//! statistics are the copy's own: it sees whole batches in training mode, as in the published code of MoCo and BYOL.

use super::batch::Setup;
use crate::backbones::Encoder;
use crate::layers::{Entry, Pass, Role, Tensors, join};

/// An encoder and a head of the same shapes as the trained ones. No optimiser touches them.
pub(super) struct Momentum<H> {
    pub(super) encoder: Encoder,
    pub(super) head: H,
}

impl<H: Tensors> Momentum<H> {
    /// A copy; `head` is one with the same initial weights as the trained head.
    pub(super) fn new(setup: &mut Setup<'_>, head: H) -> Self {
        let encoder = setup.twin();
        Self { encoder, head }
    }

    /// One step towards the trained networks.
    pub(super) fn follow(&mut self, encoder: &mut Encoder, head: &mut H, momentum: f32, pass: &Pass) {
        let device = pass.device();
        let (mut trained, mut own) = (Vec::new(), Vec::new());
        encoder.entries("encoder", &mut trained);
        head.entries("head", &mut trained);
        self.encoder.entries("encoder", &mut own);
        self.head.entries("head", &mut own);
        let pairs = own.iter_mut().zip(&trained);
        for (own, trained) in pairs.filter(|(_, trained)| trained.role != Role::Buffer) {
            device.follow(own.value, trained.value, 1.0, 1.0 - momentum);
        }
    }
}

impl<H: Tensors> Tensors for Momentum<H> {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let first = out.len();
        self.encoder.entries(&join(prefix, "encoder"), out);
        self.head.entries(&join(prefix, "head"), out);
        out[first..].iter_mut().for_each(|entry| entry.role = Role::Buffer);
    }
}

/// A momentum that rises from `base` to 1 along a cosine (Grill et al. 2020, 2006.07733, section 3.2): the teacher comes to rest.
pub(super) fn rising(base: f32, progress: f32) -> f32 {
    1.0 - (1.0 - base) * ((std::f32::consts::PI * progress).cos() + 1.0) / 2.0
}
