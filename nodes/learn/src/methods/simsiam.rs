//! SimSiam (Chen & He 2021, 2011.10566): one view predicts the other; a stopped gradient is all that prevents collapse.
//!
//! With projections `z` and predictions `p = h(z)` of two views (eq. 2): `L = -1/2 [cos(p_1, sg z_2) + cos(p_2, sg z_1)]`.
//!
//! Traps: the projector ends in a batch norm without scale and shift (section 3), each view has its own batch statistics, and the
//! predictor's learning rate stays constant: it must keep up with representations that change (table 1, c).

use super::batch::{Batch, Setup};
use super::heads::{Norms, backward, forward, gradient, matrix, mlp};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{Layer, Pass, Sequential, tensors};
use crate::losses::{simsiam, value_and_grads};
use crate::settings::{WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has widths of 2048, 2048 and 512 for ResNet-50.
    pub struct SimsiamSettings {
        /// Width of the projector's two hidden layers.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of projection and prediction.
        projection: usize = 256, in WIDTH;
        /// Width of the predictor's hidden layer, a quarter of the projection in the paper.
        predictor: usize = 64, in WIDTH;
    }
}

impl Settings for SimsiamSettings {
    fn name(&self) -> &'static str {
        "simsiam"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `batch` or lower `predictor`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.projection];
        Ok(Box::new(Simsiam {
            projector: mlp(&widths, Norms::All, &mut setup.stream.child("projector")),
            predictor: mlp(
                &[self.projection, self.predictor, self.projection],
                Norms::Hidden,
                &mut setup.stream.child("predictor"),
            ),
        }))
    }
}

struct Simsiam {
    projector: Sequential,
    predictor: Sequential,
}

impl Method for Simsiam {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let (n, views) = (batch.len(), ["first view", "second view"]);
        let [(z1, p1), (z2, p2)] = views.map(|name| {
            let view = batch.view(name, encoder, pass);
            let z = forward(&mut [encoder, &mut self.projector], view, pass);
            let target = z.data.to_vec();
            (target, self.predictor.forward(z, pass))
        });
        let dim = p1.shape.len();
        let metrics = vec![Metric::spread(&z1, dim), Metric::alignment(&z1, &z2, dim)];
        let (loss, [d1, d2]) = value_and_grads([matrix(&p1), matrix(&p2)], |p| simsiam(p, [&z1, &z2]))?;
        for dp in [d2, d1] {
            let networks: &mut [&mut dyn Layer] = &mut [encoder, &mut self.projector, &mut self.predictor];
            backward(networks, gradient(n, dp), pass);
        }
        Ok(StepOutcome { loss, metrics })
    }

    fn unscheduled(&self) -> &'static [&'static str] {
        &["predictor"]
    }
}

tensors!(Simsiam: projector, predictor);
