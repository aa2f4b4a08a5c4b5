//! A network without its head: what turns examples into features.

use std::sync::Arc;

use super::{TextEncoder, VisionTransformer};
use crate::data::{Modality, NetworkInput};
use crate::device::Device;
use crate::inside::Stages;
use crate::layers::{
    BufferPool, Dropout, Entry, FeatureMap, Graph, Layer, MapShape, NoGraph, Pass, Sequential, Tensors, Value,
};

/// Image or text in, feature vector out.
pub struct Encoder {
    pub(super) network: Network,
    /// Of its features.
    pub(super) dropout: Dropout,
    /// Shape of the examples it takes.
    pub input: MapShape,
    /// What they are.
    pub modality: Modality,
    /// Length of its feature vectors.
    pub dim: usize,
    /// Where it runs: on the host until it is told otherwise.
    pub device: Arc<dyn Device>,
}

pub(super) enum Network {
    /// Convolutions, of which the first `trunk` layers come before the pooling.
    Stages {
        layers: Sequential,
        trunk: usize,
    },
    Transformer(VisionTransformer),
    Text(TextEncoder),
}

impl Network {
    pub(super) fn layer(&self) -> &dyn Layer {
        match self {
            Self::Stages { layers, .. } => layers,
            Self::Transformer(vit) => vit,
            Self::Text(network) => network,
        }
    }

    fn layer_mut(&mut self) -> &mut dyn Layer {
        match self {
            Self::Stages { layers, .. } => layers,
            Self::Transformer(vit) => vit,
            Self::Text(network) => network,
        }
    }
}

impl Encoder {
    /// A pool of buffers for passes where it runs.
    pub fn buffers(&self) -> Arc<BufferPool> {
        Arc::new(BufferPool::on(Arc::clone(&self.device)))
    }

    /// The examples that it takes.
    pub fn takes(&self) -> NetworkInput {
        NetworkInput {
            shape: self.input,
            modality: self.modality,
        }
    }

    /// The network for texts, if it is one: for methods that look at its tokens.
    pub fn text(&mut self) -> Option<&mut TextEncoder> {
        match &mut self.network {
            Network::Text(network) => Some(network),
            _ => None,
        }
    }

    /// The vision transformer, if it is one: for methods that look at its patches and tokens.
    pub fn transformer(&mut self) -> Option<&mut VisionTransformer> {
        match &mut self.network {
            Network::Transformer(vit) => Some(vit),
            _ => None,
        }
    }

    /// Shapes of the last maps of each size, finest first; `None` if it is no network of convolutions.
    pub fn stages(&self) -> Option<Vec<MapShape>> {
        match &self.network {
            Network::Stages { layers, trunk } => Some(
                layers
                    .stages(self.input, *trunk)
                    .into_iter()
                    .map(|(_, shape)| shape)
                    .collect(),
            ),
            _ => None,
        }
    }

    /// Its stages one by one, if it is a convolutional network: to look into it.
    pub fn inside(&mut self) -> Option<Stages<'_>> {
        match &mut self.network {
            Network::Stages { layers, .. } => Some(Stages::new(layers, self.input)),
            _ => None,
        }
    }

    /// The maps of [`Encoder::stages`] for a batch; none if there are no stages.
    pub fn forward_stages(&mut self, x: FeatureMap, pass: &mut Pass) -> Vec<FeatureMap> {
        let Network::Stages { layers, trunk } = &mut self.network else {
            return Vec::new();
        };
        let places: Vec<usize> = layers
            .stages(self.input, *trunk)
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        layers.forward_to(x, &places, pass)
    }

    /// The way back of [`Encoder::forward_stages`], from the gradients of the maps that were looked at.
    pub fn backward_stages(&mut self, gradients: Vec<Option<FeatureMap>>, pass: &mut Pass) {
        if let Network::Stages { layers, trunk } = &mut self.network {
            let places: Vec<usize> = layers
                .stages(self.input, *trunk)
                .into_iter()
                .map(|(place, _)| place)
                .collect();
            layers.backward_from(gradients, &places, pass);
        }
    }

    /// Patches that it cuts an image into; none if it cuts none.
    pub fn patches(&self) -> Option<usize> {
        match &self.network {
            Network::Transformer(vit) => Some(vit.patches()),
            _ => None,
        }
    }

    /// Rows and columns of these patches.
    pub fn patch_grid(&self) -> Option<(usize, usize)> {
        match &self.network {
            Network::Transformer(vit) => Some(vit.grid()),
            _ => None,
        }
    }
}

impl Layer for Encoder {
    fn output_shape(&self, input: MapShape) -> MapShape {
        self.network.layer().output_shape(input)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let features = self.network.layer_mut().forward(x, pass);
        self.dropout.forward(features, pass)
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dy = self.dropout.backward(dy, pass, true)?;
        self.network.layer_mut().backward(dy, pass, need_dx)
    }

    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        self.network.layer().describe(graph, x, input, prefix)
    }
}

impl Tensors for Encoder {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.network.layer_mut().entries(prefix, out);
    }
}
