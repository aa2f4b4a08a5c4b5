//! VICReg (Bardes et al. 2022, 2105.04906): projections of two views agree, every dimension varies, none repeats another.
//!
//! `L = lambda mean((a - b)^2) + mu [v(a) + v(b)] / 2 + nu [c(a) + c(b)]` (eq. 6), with a hinge `v` on each dimension's deviation and the
//! squared covariances `c`: see [`crate::losses::vicreg`].
//!
//! Traps: the variance term is halved for each view, covariances are unbiased, deviations are of the batch as it is, not normalised. With little
//! weight on the variance all images are mapped to one place (`spread`).

use super::batch::{Batch, Setup};
use super::heads::{Norms, mlp};
use super::outcome::{MethodError, StepOutcome};
use super::{Method, Settings, redundancy};
use crate::backbones::Encoder;
use crate::layers::{Pass, Sequential, tensors};
use crate::losses::VicregWeights;
use crate::settings::{ABOVE_ZERO, WIDTH, settings};

settings! {
    /// Hyper-parameters; weights of the paper (section 4.2), which has three layers of 8192.
    pub struct VicregSettings {
        /// Weight `lambda` of the distance between views; 25 in the paper.
        invariance: f32 = 25.0, in ABOVE_ZERO;
        /// Weight `mu` of the deviations' hinge; 25 in the paper. Below the invariance, training collapses.
        variance: f32 = 25.0, in ABOVE_ZERO;
        /// Weight `nu` of the covariances; 1 in the paper.
        covariance: f32 = 1.0, in ABOVE_ZERO;
        /// Width of the projector's two hidden layers.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the projection.
        projection: usize = 256, in WIDTH;
    }
}

impl Settings for VicregSettings {
    fn name(&self) -> &'static str {
        "vicreg"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "raise `variance`, lower `invariance` or lower `lr`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.projection];
        Ok(Box::new(Vicreg {
            weights: VicregWeights {
                invariance: self.invariance,
                variance: self.variance,
                covariance: self.covariance,
            },
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
        }))
    }
}

struct Vicreg {
    weights: VicregWeights,
    projector: Sequential,
}

impl Method for Vicreg {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        redundancy::step(encoder, &mut self.projector, batch, pass, |device, dim, views| {
            device.vicreg(dim, views, self.weights)
        })
    }
}

tensors!(Vicreg: projector);
