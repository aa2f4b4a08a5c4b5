//! Networks as ONNX files: an encoder, or a classifier with its head, as onnxruntime and others take them.
//!
//! The input `images` is `[n][c][h][w]`, n free. Outputs are `features` `[n][dim]` and, of a classifier, `logits` `[n][classes]`. The
//! metadata says what the images must be like and what the classes are called.

mod proto;

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::Artifact;
use flow_engine::node::NodeError;
use flow_learn::backbones::Encoder;
use flow_learn::layers::{Attribute, Constant, Graph, Layer, MapShape, Operator, Value};
use flow_learn::state::{StateDict, Tensor};
use prost::Message;
use serde_json::json;

use crate::artifacts::{EncoderArtifact, ModelArtifact, Normalisation, TrainedNetwork};
use crate::failure::failure;

/// The operators are those of this version; LayerNormalization came with it.
const OPSET: i64 = 17;
/// The version of the file format that came with the operators.
const IR_VERSION: i64 = 8;

const IMAGES: &str = "images";
const FEATURES: &str = "features";
const LOGITS: &str = "logits";
/// What the head's tensors are named behind.
const HEAD: &str = "head";

/// A file in ONNX's format.
pub struct OnnxModel {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the reader should know, a line each.
    pub notes: Vec<String>,
}

/// The network of an entry that holds an encoder or a classifier of images. With `preprocessing`, images in [0, 1] go in and
/// their normalisation is part of the network; without, normalised ones.
///
/// # Errors
/// If the entry holds neither, cannot be read, or its network has no description as operators.
pub fn onnx_model(artifact: &Artifact, preprocessing: bool) -> Result<OnnxModel, NodeError> {
    match TrainedNetwork::read(artifact)? {
        TrainedNetwork::Encoder(EncoderArtifact {
            mut encoder,
            normalisation,
            ..
        }) => model(&mut encoder, None, &normalisation, preprocessing),
        TrainedNetwork::Model(ModelArtifact {
            mut classifier,
            normalisation,
            head,
            ..
        }) => {
            let state = StateDict::of(&mut classifier.head, HEAD);
            let head = Head {
                state,
                layer: &classifier.head,
                class_names: &head.class_names,
            };
            model(&mut classifier.encoder, Some(head), &normalisation, preprocessing)
        }
    }
}

/// A classifier's last layer.
struct Head<'a> {
    state: StateDict,
    layer: &'a dyn Layer,
    class_names: &'a [String],
}

fn model(
    encoder: &mut Encoder,
    head: Option<Head<'_>>,
    normalisation: &Normalisation,
    preprocessing: bool,
) -> Result<OnnxModel, NodeError> {
    if encoder.modality.is_text() {
        return Err(failure(
            "the network takes texts; ONNX files are written for networks of images",
        ));
    }
    let (input, dim) = (encoder.input, encoder.dim);
    let mut state = StateDict::of(encoder, "").tensors;
    let mut graph = Graph::default();
    let mut x = Value(IMAGES.to_owned());
    if preprocessing {
        x = normalise(&mut graph, &mut state, normalisation, &x);
    }
    let features = encoder.describe(&mut graph, x, input, "").map_err(failure)?;
    let mut outputs = vec![(FEATURES, features.clone(), dim)];
    let mut classes = None;
    if let Some(head) = head {
        let logits = head.layer.describe(&mut graph, features, MapShape::vector(dim), HEAD);
        outputs.push((LOGITS, logits.map_err(failure)?, head.class_names.len()));
        state.extend(head.state.tensors);
        classes = Some(head.class_names);
    }
    for (name, value, _) in &outputs {
        graph.rename(value, name);
    }
    let metadata = [
        (
            "flow.input",
            json!({ "channels": input.c, "height": input.h, "width": input.w }),
        ),
        (
            "flow.normalisation",
            json!({ "mean": normalisation.mean, "std": normalisation.std, "in_the_network": preprocessing }),
        ),
        ("flow.classes", json!(classes)),
    ];
    let metadata = metadata.map(|(key, value)| proto::Pair {
        key: key.to_owned(),
        value: value.to_string(),
    });
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "flow".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(proto::Graph {
            name: "flow".to_owned(),
            initializer: initializers(&graph, &state),
            node: graph
                .operators
                .into_iter()
                .enumerate()
                .map(|(place, operator)| node(place, operator))
                .collect(),
            input: vec![value_info(IMAGES, &[input.c, input.h, input.w])],
            output: outputs.iter().map(|(name, _, len)| value_info(name, &[*len])).collect(),
        }),
        opset_import: vec![proto::OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata.to_vec(),
    };
    let takes = if preprocessing {
        "it takes images in [0, 1]: their normalisation is part of the network".to_owned()
    } else {
        let Normalisation { mean, std } = normalisation;
        format!(
            "it takes images in [0, 1], normalised with mean {mean:?} and deviation {std:?}; `--with-preprocessing` makes that part of the network"
        )
    };
    Ok(OnnxModel {
        bytes: model.encode_to_vec(),
        notes: vec![takes],
    })
}

/// `(x - mean) / std` of each channel.
fn normalise(
    graph: &mut Graph,
    state: &mut BTreeMap<String, Tensor>,
    normalisation: &Normalisation,
    x: &Value,
) -> Value {
    let mut tensor = |name: &str, data: &[f32]| {
        let tensor = Tensor {
            shape: vec![1, data.len(), 1, 1],
            data: data.to_vec(),
        };
        state.insert(name.to_owned(), tensor);
        Value(name.to_owned())
    };
    let mean = tensor("normalisation.mean", &normalisation.mean);
    let std = tensor("normalisation.std", &normalisation.std);
    let centred = graph.apply("Sub", &[x, &mean]);
    graph.apply("Div", &[&centred, &std])
}

/// The tensors that the operators take, and the constants.
fn initializers(graph: &Graph, state: &BTreeMap<String, Tensor>) -> Vec<proto::Tensor> {
    let taken: BTreeSet<&str> = graph
        .operators
        .iter()
        .flat_map(|o| &o.inputs)
        .map(|value| value.0.as_str())
        .collect();
    let tensors = state
        .iter()
        .filter(|(name, _)| taken.contains(name.as_str()))
        .map(|(name, tensor)| proto::Tensor {
            dims: tensor.shape.iter().map(|size| *size as i64).collect(),
            data_type: proto::FLOAT,
            name: name.clone(),
            raw_data: tensor.bytes(),
        });
    let constants = graph.constants.iter().map(|(value, constant)| {
        let (dims, data_type, raw_data) = match constant {
            Constant::Ints(ints) => (
                vec![ints.len() as i64],
                proto::INT64,
                ints.iter().flat_map(|int| int.to_le_bytes()).collect(),
            ),
            Constant::Float(float) => (Vec::new(), proto::FLOAT, float.to_le_bytes().to_vec()),
        };
        proto::Tensor {
            dims,
            data_type,
            name: value.0.clone(),
            raw_data,
        }
    });
    tensors.chain(constants).collect()
}

fn node(place: usize, operator: Operator) -> proto::Node {
    let attribute = |(name, value): (&str, Attribute)| {
        let mut attribute = proto::Attribute {
            name: name.to_owned(),
            ..Default::default()
        };
        match value {
            Attribute::Int(int) => (attribute.i, attribute.kind) = (int, proto::ATTRIBUTE_INT),
            Attribute::Ints(ints) => (attribute.ints, attribute.kind) = (ints, proto::ATTRIBUTE_INTS),
            Attribute::Float(float) => (attribute.f, attribute.kind) = (float, proto::ATTRIBUTE_FLOAT),
        }
        attribute
    };
    proto::Node {
        input: operator.inputs.into_iter().map(|value| value.0).collect(),
        output: vec![operator.output.0],
        name: format!("{}_{place}", operator.op),
        op_type: operator.op.to_owned(),
        attribute: operator.attributes.into_iter().map(attribute).collect(),
    }
}

/// A value of a free number of examples.
fn value_info(name: &str, shape: &[usize]) -> proto::ValueInfo {
    let free = proto::Size::Free("n".to_owned());
    let sizes = shape.iter().map(|size| proto::Size::Fixed(*size as i64));
    let dim = [free]
        .into_iter()
        .chain(sizes)
        .map(|size| proto::Dimension { size: Some(size) });
    proto::ValueInfo {
        name: name.to_owned(),
        of: Some(proto::Type {
            tensor_type: Some(proto::TensorType {
                elem_type: proto::FLOAT,
                shape: Some(proto::Shape { dim: dim.collect() }),
            }),
        }),
    }
}

#[cfg(test)]
mod tests;
