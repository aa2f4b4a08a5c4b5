//! Layers with explicit forward and backward passes over channel-last feature maps and named parameters.
//!
//! A network is a list of layers ([`Sequential`]). Losses are dfdx's: a network's output enters dfdx's tape, the loss gives its
//! gradient back, and [`Layer::backward`] takes it from there. The block boundary is also where another device's version of a
//! block can stand.

mod activation;
mod attention;
mod batch_norm;
mod buffer;
mod conv;
mod conv_norm;
mod conv_transpose;
mod dropout;
mod feature_map;
mod gelu;
mod graph;
mod layer_norm;
mod leaky_relu;
mod linear;
mod mlp;
mod parameter;
mod pass;
mod pool;
mod profile;
mod residual;
mod sequential;
mod token_embedding;
mod token_linear;
mod transformer;
mod upsample;

pub use activation::Relu;
pub use attention::{Attention, Lengths};
pub use batch_norm::{BatchNorm, NormSettings};
pub use buffer::{Buffer, BufferPool};
pub use conv::{Conv2d, ConvSettings};
pub use conv_norm::ConvNorm;
pub use conv_transpose::{ConvTranspose2d, TransposeSettings};
pub use dropout::Dropout;
pub use feature_map::{FeatureMap, MapShape};
pub use gelu::Gelu;
pub(crate) use graph::as_int;
pub use graph::{Attribute, Constant, Graph, NoGraph, Operator, Value};
pub use layer_norm::LayerNorm;
pub use leaky_relu::LeakyRelu;
pub use linear::Linear;
pub use mlp::Mlp;
pub(crate) use parameter::{Carried, tensors};
pub use parameter::{Entry, Layout, Parameter, Role, Tensors};
pub use pass::{Mode, Pass};
pub use pool::{GridPool, MaxPool};
pub use profile::Timing;
pub use residual::Residual;
pub use sequential::Sequential;
pub use token_embedding::TokenEmbedding;
pub use token_linear::TokenLinear;
pub use transformer::{Transformer, TransformerBlock, TransformerShape};
pub use upsample::{Unflatten, Upsample};

/// One layer, or a block of layers.
pub trait Layer: Tensors + Send + Sync {
    /// What comes out for one image of shape `input`.
    fn output_shape(&self, input: MapShape) -> MapShape;

    /// The output for a batch. In a recording pass, what backward needs is put on the pass's tape.
    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap;

    /// Takes the gradient of the output of the last forward pass that has not been taken back, adds to the parameters'
    /// gradients and returns the gradient of the input (unless `need_dx` is false, as in a network's first layer).
    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap>;

    /// What it makes of `x`, of shape `input` for one image, in evaluation mode, as operators; its tensors are named behind `prefix` as in its state.
    ///
    /// # Errors
    /// If it has no such description, which is the default.
    fn describe(&self, graph: &mut Graph, x: Value, input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let _ = (graph, x, input, prefix);
        Err(NoGraph {
            what: "a layer of this network".to_owned(),
        })
    }
}

/// `prefix.name`, or the one of them that is not empty.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", _) => name.to_owned(),
        (_, "") => prefix.to_owned(),
        _ => format!("{prefix}.{name}"),
    }
}
