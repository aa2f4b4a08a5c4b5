//! The node kinds: each a thin adapter from its TOML parameters to learning code.

pub mod artifacts;
pub mod pictures;
pub mod predict;
pub mod show;
pub mod sources;

mod augment;
mod budget;
mod classes;
mod command;
mod concat;
mod dataset;
pub mod device;
mod evaluate;
mod failure;
mod finetune;
mod inspect;
mod memory;
mod onnx;
mod parts;
mod pretext;
mod pretrain;
mod pseudo_label;
mod quiet;
mod sketches;
mod tasks;
mod torch;

pub use augment::AugmentNode;
pub use command::CommandNode;
pub use concat::ConcatNode;
pub use dataset::{PartNode, SourceNode};
pub use evaluate::{CompareNode, ControlNode, ProbeNode, ScoreNode, SummaryNode};
pub use finetune::FinetuneNode;
pub use inspect::InspectNode;
pub use onnx::{OnnxModel, onnx_model};
pub use pretext::PretextNode;
pub use pretrain::PretrainNode;
pub use pseudo_label::PseudoLabelNode;
pub use torch::{TorchWeights, torch_weights};

pub use flow_learn::measure;

/// All node kinds, each form of one on a separate line. A new one is a file and a line.
pub fn registry() -> flow_engine::Registry {
    let mut registry = flow_engine::Registry::new();
    registry
        .register::<SourceNode>()
        .register::<PartNode>()
        .register::<AugmentNode>()
        .register::<PretextNode>()
        .register::<PretrainNode>()
        .register::<PseudoLabelNode>()
        .register::<FinetuneNode>()
        .register::<ScoreNode>()
        .register::<ControlNode>()
        .register::<ProbeNode>()
        .register::<CompareNode>()
        .register::<SummaryNode>()
        .register::<InspectNode>()
        .register::<CommandNode>()
        .register::<ConcatNode>();
    registry
}

/// The vector instructions that the kernels use on this machine.
pub fn instruction_set() -> &'static str {
    flow_learn::kernels::instruction_set()
}

/// The example of a node kind that is written elsewhere, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../ARCHITECTURE.md")]
struct Architecture;
