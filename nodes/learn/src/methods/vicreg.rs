//! VICReg (Bardes et al. 2022, 2105.04906): projections of two views agree, every dimension varies, none repeats another.
//!
//! `L = lambda mean((a - b)^2) + mu [v(a) + v(b)] / 2 + nu [c(a) + c(b)]` (eq. 6), with a hinge `v` on each dimension's deviation and the
//! squared covariances `c`: see [`crate::losses::vicreg`].
//!
//! Traps: the variance term is halved for each view, covariances are unbiased, deviations are of the batch as it is, not normalised. With little
//! weight on the variance all images are mapped to one place (`spread`).

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Premises, Setup};
use super::heads::{Norms, mlp};
use super::outcome::{MethodError, StepOutcome, check_least, check_positive, check_widths};
use super::{Method, Settings, redundancy};
use crate::backbones::Encoder;
use crate::layers::{Entry, Pass, Sequential, Tensors, join};
use crate::losses::{VicregWeights, vicreg};

/// Hyper-parameters; weights of the paper (section 4.2), which has three layers of 8192.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VicregSettings {
    /// Weight `lambda` of the distance between views; 25 in the paper.
    pub invariance: f32,
    /// Weight `mu` of the deviations' hinge; 25 in the paper. Below the invariance, training collapses.
    pub variance: f32,
    /// Weight `nu` of the covariances; 1 in the paper.
    pub covariance: f32,
    /// Width of the projector's two hidden layers.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
}

impl Default for VicregSettings {
    fn default() -> Self {
        Self {
            invariance: 25.0,
            variance: 25.0,
            covariance: 1.0,
            hidden: 256,
            projection: 256,
        }
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

    fn check(&self, premises: &Premises) -> Result<(), MethodError> {
        check_positive("invariance", self.invariance, "25 in the paper")?;
        check_positive("variance", self.variance, "25 in the paper")?;
        check_positive("covariance", self.covariance, "1 in the paper")?;
        check_widths(&[("hidden", self.hidden), ("projection", self.projection)])?;
        check_least("batch", premises.batch, 2, "a variance needs several images")
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
        redundancy::step(encoder, &mut self.projector, batch, pass, |[a, b]| {
            vicreg(a, b, self.weights)
        })
    }
}

impl Tensors for Vicreg {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.projector.entries(&join(prefix, "projector"), out);
    }
}
