//! Barlow Twins (Zbontar et al. 2021, 2103.03230): the views' cross-correlation matrix becomes the identity.
//!
//! With the correlation `C` of the batch-standardised projections of two views (eq. 1):
//! `L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2`. Wide projections help: they are what is decorrelated.
//!
//! Traps: projections are standardised over the batch, not scaled to length one; each view has its own batch statistics; `lambda` belongs to
//! the number of dimensions, as there are `dim^2` terms of the second kind.

use super::batch::{Batch, Setup};
use super::heads::{Norms, mlp};
use super::outcome::{MethodError, StepOutcome};
use super::{Method, Settings, redundancy};
use crate::backbones::Encoder;
use crate::layers::{Pass, Sequential, tensors};
use crate::settings::{ABOVE_ZERO, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has three layers of 8192.
    pub struct BarlowTwinsSettings {
        /// Weight of the redundancy; .005 in the paper.
        lambda: f32 = 0.005, in ABOVE_ZERO;
        /// Width of the projector's two hidden layers.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the projection.
        projection: usize = 256, in WIDTH;
    }
}

impl Settings for BarlowTwinsSettings {
    fn name(&self) -> &'static str {
        "barlow-twins"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `warmup_epochs` or raise `lambda`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.projection];
        Ok(Box::new(BarlowTwins {
            lambda: self.lambda,
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
        }))
    }
}

struct BarlowTwins {
    lambda: f32,
    projector: Sequential,
}

impl Method for BarlowTwins {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        redundancy::step(encoder, &mut self.projector, batch, pass, |device, dim, views| {
            device.barlow_twins(dim, views, self.lambda)
        })
    }
}

tensors!(BarlowTwins: projector);
