//! SimCLR (Chen et al. 2020, 2002.05709): two views of an image attract, all other views of the batch repel.
//!
//! For the 2N projections `z` of a batch, with `s_ij = cos(z_i, z_j)`, the loss of a pair of views is (eq. 1)
//! `l(i, j) = -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t)`, averaged over all 2N (both directions).
//!
//! The projector (linear, batch norm, ReLU, linear) is thrown away afterwards: the encoder's features are what is used.
//! Both views go through the network in one batch, so batch norm sees 2N images, as in the paper.

use serde::{Deserialize, Serialize};

use super::{Batch, Method, MethodError, Settings, StepOutcome, embedding_deviation};
use crate::backbones::Encoder;
use crate::layers::{BatchNorm, Entry, FeatureMap, Layer, Linear, MapShape, NormSettings, Pass, Sequential, Tensors};
use crate::losses::{nt_xent, value_and_grads};
use crate::rng::Stream;

/// Hyper-parameters; defaults for batches of some hundred small images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimclrSettings {
    /// Temperature `t`, above 0; .1 to .5 as a rule. The paper's best for CIFAR-10 is .5 (appendix B.9).
    pub temperature: f32,
    /// Width of the projector's hidden layer.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
}

impl Default for SimclrSettings {
    fn default() -> Self {
        Self {
            temperature: 0.5,
            hidden: 256,
            projection: 64,
        }
    }
}

impl Settings for SimclrSettings {
    fn name(&self) -> &'static str {
        "simclr"
    }

    fn views(&self) -> usize {
        2
    }

    fn check(&self, batch: usize, _image: MapShape) -> Result<(), MethodError> {
        let setting = |key, message| Err(MethodError::Setting { key, message });
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return setting(
                "temperature",
                format!(
                    "{} found, expected a number above 0 (.1 to .5 as a rule)",
                    self.temperature
                ),
            );
        }
        if self.hidden == 0 || self.projection == 0 {
            return setting(
                "projection",
                "the projector needs at least one dimension in `hidden` and `projection`".into(),
            );
        }
        if batch < 2 {
            return setting(
                "batch",
                format!("{batch} found, but an image needs others in its batch to contrast with; expected at least 2"),
            );
        }
        Ok(())
    }

    fn build(&self, encoder: &Encoder, stream: &Stream) -> Box<dyn Method> {
        let mut stream = stream.child("projector");
        let projector = Sequential::default()
            .with("0", Linear::new(encoder.dim, self.hidden, false, &mut stream))
            .with("1", BatchNorm::new(self.hidden, true, NormSettings::default()))
            .with("3", Linear::new(self.hidden, self.projection, true, &mut stream));
        Box::new(Simclr {
            temperature: self.temperature,
            projection: self.projection,
            projector,
        })
    }
}

struct Simclr {
    temperature: f32,
    projection: usize,
    projector: Sequential,
}

impl Method for Simclr {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut views = batch.map(2, encoder.input, pass);
        let half = views.data.len() / 2;
        let (first, second) = views.data.split_at_mut(half);
        batch.view_into("first view", first);
        batch.view_into("second view", second);

        let features = encoder.forward(views, pass);
        let projections = self.projector.forward(features, pass);
        let health = embedding_deviation(&projections.data, self.projection);
        let (n, shape) = (projections.n, projections.shape);
        let z = (projections.data.to_vec(), (n, self.projection));
        let (loss, [gradient]) = value_and_grads([z], |[z]| nt_xent(z, self.temperature))?;

        let gradient = FeatureMap::new(n, shape, gradient);
        if let Some(dfeatures) = self.projector.backward(gradient, pass, true) {
            encoder.backward(dfeatures, pass, false);
        }
        Ok(StepOutcome { loss, health })
    }
}

impl Tensors for Simclr {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.projector.entries(prefix, out);
    }
}
