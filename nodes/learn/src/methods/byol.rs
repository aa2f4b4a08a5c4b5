//! BYOL (Grill et al. 2020, 2006.07733): one view predicts what a momentum copy makes of the other.
//!
//! With predictions `p` of the trained network and projections `z'` of its momentum copy (eq. 2), averaged over both directions:
//! `L = 2 - 2 cos(p, sg z')`. The momentum rises along a cosine from `momentum` to 1 at the end.
//!
//! Traps: each view has its own batch statistics, in both networks. The copy's weights follow, its batch norms' running statistics do not: they
//! are the copy's own (see `momentum`). The momentum rises to 1, or the target never comes to rest.

use super::batch::{Batch, Setup};
use super::heads::{Norms, backward, forward, gradient, matrix, mlp};
use super::momentum::{Momentum, rising};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{Layer, Pass, Sequential, tensors};
use crate::losses::{byol, value_and_grads};
use crate::settings::{SHARE, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has widths of 4096 and 256 for ResNet-50.
    pub struct ByolSettings {
        /// Momentum of the copy at the start; .996 in the paper, .99 for short trainings (its appendix I for 300 epochs).
        momentum: f32 = 0.99, in SHARE;
        /// Width of the hidden layers of projector and predictor.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of projection and prediction.
        projection: usize = 128, in WIDTH;
    }
}

impl Settings for ByolSettings {
    fn name(&self) -> &'static str {
        "byol"
    }

    fn views(&self) -> f64 {
        2.0 + 2.0 / 3.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `momentum`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.projection];
        let projector = |setup: &Setup<'_>| mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector"));
        let (trained, copy) = (projector(setup), projector(setup));
        let widths = [self.projection, self.hidden, self.projection];
        Ok(Box::new(Byol {
            momentum: self.momentum,
            projector: trained,
            predictor: mlp(&widths, Norms::Hidden, &mut setup.stream.child("predictor")),
            target: Momentum::new(setup, copy),
        }))
    }
}

struct Byol {
    momentum: f32,
    projector: Sequential,
    predictor: Sequential,
    target: Momentum<Sequential>,
}

impl Method for Byol {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let n = batch.len();
        self.target.follow(
            encoder,
            &mut self.projector,
            rising(self.momentum, batch.progress),
            pass,
        );
        let [(z1, p1), (z2, p2)] = ["first view", "second view"].map(|name| {
            let view = batch.view(name, encoder, pass);
            let target: &mut [&mut dyn Layer] = &mut [&mut self.target.encoder, &mut self.target.head];
            let z = forward(target, view.clone(), &mut pass.no_grad());
            let trained: &mut [&mut dyn Layer] = &mut [encoder, &mut self.projector, &mut self.predictor];
            (z.data.to_vec(), forward(trained, view, pass))
        });
        let dim = p1.shape.len();
        let metrics = vec![Metric::spread(&z1, dim), Metric::alignment(&z1, &z2, dim)];
        let (loss, [d1, d2]) = value_and_grads([matrix(&p1), matrix(&p2)], |p| byol(p, [&z1, &z2]))?;
        for dp in [d2, d1] {
            let networks: &mut [&mut dyn Layer] = &mut [encoder, &mut self.projector, &mut self.predictor];
            backward(networks, gradient(n, dp), pass);
        }
        Ok(StepOutcome { loss, metrics })
    }
}

tensors!(Byol: projector, predictor, target);
