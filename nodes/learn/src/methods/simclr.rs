//! SimCLR (Chen et al. 2020, 2002.05709): two views of an image attract, all other views of the batch repel.
//!
//! For the 2N projections `z` of a batch, with `s_ij = cos(z_i, z_j)`, the loss of a pair of views is (eq. 1)
//! `l(i, j) = -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t)`, averaged over all 2N (both directions).
//!
//! The projector (linear, batch norm, ReLU, linear) is thrown away afterwards: the encoder's features are what is used.
//! Both views go through the network in one batch, so batch norm sees 2N images, as in the paper.
//!
//! Traps: a view is no negative of itself (its similarity is masked), and sums of exponentials overflow at low temperatures (log-sum-exp). Two images
//! of a small batch are seldom alike; the fewer classes there are, the more negatives are false.

use super::heads::{Norms, backward, forward, gradient, mlp, two_views};
use super::{Batch, Method, MethodError, Metric, Settings, Setup, StepOutcome};
use crate::backbones::Encoder;
use crate::layers::{Pass, Sequential, tensors};
use crate::settings::{TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; defaults for batches of some hundred small images.
    pub struct SimclrSettings {
        /// Temperature `t`, above 0; .1 to .5 as a rule. The paper's best for CIFAR-10 is .5 (appendix B.9).
        temperature: f32 = 0.5, in TEMPERATURE;
        /// Width of the projector's hidden layer.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the projection.
        projection: usize = 64, in WIDTH;
    }
}

impl Settings for SimclrSettings {
    fn name(&self) -> &'static str {
        "simclr"
    }

    fn views(&self) -> f64 {
        2.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `warmup_epochs` or raise `temperature`"
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.projection];
        Ok(Box::new(Simclr {
            temperature: self.temperature,
            projector: mlp(&widths, Norms::Hidden, &mut setup.stream.child("projector")),
        }))
    }
}

/// SimCLR with a projector of any depth.
pub(super) struct Simclr {
    pub(super) temperature: f32,
    pub(super) projector: Sequential,
}

impl Method for Simclr {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let views = two_views(batch, encoder, pass);
        let z = forward(&mut [encoder, &mut self.projector], views, pass);
        z.data.fetch_ahead();
        let dim = z.shape.len();
        let (loss, dz) = pass.device().nt_xent(dim, &z.data, self.temperature)?;
        backward(&mut [encoder, &mut self.projector], gradient(z.n, dz), pass);
        let (first, second) = z.data.split_at(z.data.len() / 2);
        Ok(StepOutcome {
            loss: loss.get(),
            metrics: vec![Metric::spread(&z.data, dim), Metric::alignment(first, second, dim)],
        })
    }
}

tensors!(Simclr: projector as "");
