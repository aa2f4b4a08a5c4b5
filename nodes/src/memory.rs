//! What a node needs of the machine's memory at least, asked while planning: what cannot fit is refused before anything is made.

use std::sync::OnceLock;

use flow_engine::Machine;
use flow_engine::node::{InputFacts, ParamError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::train::EMBED_BATCH;
use rustix::process::{Resource, getrlimit};

use crate::artifacts::{DatasetFacts, NetworkFacts};
use crate::failure::at_with;

/// Bytes that this process may have; more than there are if that is not known.
fn most() -> u128 {
    static MOST: OnceLock<u64> = OnceLock::new();
    let machine = *MOST.get_or_init(|| Machine::here().memory.unwrap_or(u64::MAX));
    let limit = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    u128::from(machine.min(limit))
}

/// Whether so many bytes fit into memory; `what` takes them, and less of the parameter `key` would take fewer.
///
/// # Errors
/// At `key`, with both sizes.
pub(crate) fn fits(key: &str, what: &str, bytes: u128) -> Result<(), ParamError> {
    let most = most();
    if bytes <= most {
        return Ok(());
    }
    let gib = |bytes: u128| bytes as f64 / f64::from(1 << 30);
    let message = format!(
        "{what} would take at least {:.1} GiB of memory, and there are {:.1} GiB",
        gib(bytes),
        gib(most)
    );
    Err(at_with(key, message, format!("lower `{key}`")))
}

/// Whether a data set fits, of which each example takes its values in bytes.
///
/// # Errors
/// At `key`.
pub(crate) fn data_set_fits(key: &str, data: &DatasetFacts) -> Result<(), ParamError> {
    let examples: u128 = data
        .splits
        .iter()
        .flat_map(|splits| splits.values())
        .map(|n| *n as u128)
        .sum();
    let noun = data.input.modality.noun();
    fits(key, &format!("{examples} {noun}"), examples * values(data.input))
}

/// Whether a training step fits: the examples of a batch as floats, and what the network's layers hold of each.
///
/// # Errors
/// At `batch`.
pub(crate) fn batch_fits(
    batch: usize,
    data: &DatasetFacts,
    backbone: Option<&BackboneSettings>,
) -> Result<(), ParamError> {
    let layers = backbone.map_or(0, |backbone| backbone.values_of_an_example(data.input));
    let example = 4 * (values(data.input) + layers);
    let noun = data.input.modality.noun();
    fits("batch", &format!("a step of {batch} {noun}"), batch as u128 * example)
}

/// Bytes of a GPU's memory that a process takes before it trains: the driver's own, kernels, weights with their gradients and moments.
const GPU_OVERHEAD: u128 = 1 << 30;
/// How often a training step holds what layers hold at least: the inputs of each layer, what passes keep, gradients.
const GPU_COPIES: u128 = 16;

/// Bytes of a GPU's memory that a training step on so many views takes, by estimate.
pub(crate) fn gpu_bytes(views: usize, input: NetworkInput, backbone: &BackboneSettings) -> u64 {
    let view = 4 * (values(input) + GPU_COPIES * backbone.values_of_an_example(input));
    u64::try_from(GPU_OVERHEAD + views as u128 * view).unwrap_or(u64::MAX)
}

/// The same of taking features, which keeps nothing for a backward pass.
pub(crate) fn gpu_bytes_to_embed(input: NetworkInput, backbone: &BackboneSettings) -> u64 {
    gpu_bytes(EMBED_BATCH / 2, input, backbone)
}

/// The same with the network at a port, if it is known.
pub(crate) fn gpu_bytes_of(inputs: &InputFacts, port: &str) -> Option<u64> {
    let network = inputs.get::<NetworkFacts>(port)?;
    Some(gpu_bytes_to_embed(network.input, network.backbone.as_ref()?))
}

/// Values of an example.
fn values(input: NetworkInput) -> u128 {
    let channels = match input.modality {
        Modality::Images => input.shape.c,
        // A token is a number of 16 bits.
        Modality::Texts { .. } => 2,
    };
    input.shape.h as u128 * input.shape.w as u128 * channels as u128
}
