//! What a node needs of the machine's memory at least, asked while planning: what cannot fit is refused before anything is made.

use std::sync::OnceLock;

use flow_engine::Machine;
use flow_engine::node::{InputFacts, ParamError};
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::optim::OptimizerConfig;
use flow_learn::train::embed_batch;
use rustix::process::{Resource, getrlimit};

use crate::artifacts::{DatasetFacts, NetworkFacts};
use crate::failure::{at_with, backbone_error};

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

/// Bytes that are in memory of each example of a set that is not: what it is called, its label, what its duplicates are found by.
const BESIDE: u128 = 1 << 10;

/// Whether a data set fits while it is made: where all of it is `in_memory`, each example takes its values in bytes.
///
/// # Errors
/// At `key`.
pub(crate) fn data_set_fits(key: &str, data: &DatasetFacts, in_memory: bool) -> Result<(), ParamError> {
    let examples: u128 = data
        .splits
        .iter()
        .flat_map(|splits| splits.values())
        .map(|n| *n as u128)
        .sum();
    let noun = data.input.modality.noun();
    let bytes = if in_memory { values(data.input) } else { BESIDE };
    fits(key, &format!("{examples} {noun}"), examples * bytes)
}

const WEIGHTS: &str = "the network's weights, gradients and moments";

/// A training step, by what it holds in memory.
pub(crate) struct Step<'a> {
    pub(crate) batch: usize,
    /// Views of each example that go through the network together, at least.
    pub(crate) views: usize,
    pub(crate) data: &'a DatasetFacts,
    pub(crate) backbone: Option<&'a BackboneSettings>,
    pub(crate) optimizer: &'a OptimizerConfig,
}

impl Step<'_> {
    /// Whether it fits: the views of a batch as floats, what the network's layers hold of each, and of each parameter its value, its gradient and
    /// the optimiser's moments.
    ///
    /// # Errors
    /// At `batch`, or at the backbone's setting that makes it large.
    pub(crate) fn fits(&self) -> Result<(), ParamError> {
        let input = self.data.input;
        let (layers, weights) = match self.backbone {
            None => (0, 0),
            Some(backbone) => {
                let (key, parameters) = backbone.parameters(input).map_err(|e| backbone_error(&e))?;
                let weights = parameters.saturating_mul(4 * (2 + self.optimizer.moments() as u128));
                fits(&format!("backbone.{key}"), WEIGHTS, weights)?;
                (backbone.values_of_an_example(input), weights)
            }
        };
        let views = (self.batch as u128).saturating_mul(self.views as u128);
        let held = views.saturating_mul(values(input).saturating_add(layers).saturating_mul(4));
        let noun = input.modality.noun();
        let what = match self.views {
            1 => format!("a step of {} {noun}", self.batch),
            views => format!("a step of {} {noun}, {views} views of each,", self.batch),
        };
        fits("batch", &what, held.saturating_add(weights))
    }
}

/// Bytes of a GPU's memory that a process takes before it trains: the driver's own and kernels.
const GPU_OVERHEAD: u128 = 1 << 30;
/// Bytes of a parameter with its gradient and two moments.
const PARAMETER: u128 = 16;
/// How often a training step holds what layers hold at least: the inputs of each layer, what passes keep, gradients.
const GPU_COPIES: u128 = 16;

/// Bytes of a GPU's memory that a training step on so many views takes, by estimate.
pub(crate) fn gpu_bytes(views: usize, input: NetworkInput, backbone: &BackboneSettings) -> u64 {
    let layers = backbone.values_of_an_example(input).saturating_mul(GPU_COPIES);
    let view = values(input).saturating_add(layers).saturating_mul(4);
    let parameters = backbone.parameters(input).map_or(0, |(_, parameters)| parameters);
    let bytes = GPU_OVERHEAD
        .saturating_add(view.saturating_mul(views as u128))
        .saturating_add(parameters.saturating_mul(PARAMETER));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The same of taking features, which keeps nothing for a backward pass.
pub(crate) fn gpu_bytes_to_embed(input: NetworkInput, backbone: &BackboneSettings) -> u64 {
    gpu_bytes(embed_batch(input.shape).div_ceil(2), input, backbone)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_do_not_fit_are_refused_with_their_size() {
        let error = fits("backbone.widths", WEIGHTS, 1 << 60).expect_err("there is no such machine");
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        // The machine's own memory is another on each.
        let (said, _) = error.message.rsplit_once(digits).expect("a size");
        insta::assert_snapshot!(format!("{}[x] GiB", said.trim_end_matches(digits)));
    }
}
