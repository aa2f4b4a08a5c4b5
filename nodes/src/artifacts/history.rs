//! How a pre-training went, epoch by epoch, next to its encoder: what reports plot. It has no times, so equal trainings give equal bytes.

use std::collections::BTreeMap;

use flow_engine::node::{Input, NodeError};
use flow_learn::train::EpochOutcome;
use serde::{Deserialize, Serialize};

use super::{decoded, from_json, to_json};

const FILE: &str = "history.json";

/// The format on disk.
const VERSION: u32 = 2;

/// What each epoch showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The format's version.
    pub version: u32,
    /// Epochs in order.
    pub epochs: Vec<Epoch>,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss.
    pub loss: f32,
    /// The method's metrics and the monitor's, by name: `rank_me`, `deviation`, `knn`, ...
    pub metrics: BTreeMap<String, f32>,
}

impl History {
    /// Of a pre-training's epochs.
    pub fn of(epochs: &[EpochOutcome]) -> Self {
        let epoch = |outcome: &EpochOutcome| Epoch {
            loss: outcome.loss,
            metrics: outcome.metrics.clone(),
        };
        Self {
            version: VERSION,
            epochs: epochs.iter().map(epoch).collect(),
        }
    }

    /// The file's name and bytes.
    pub fn to_file(&self) -> (String, Vec<u8>) {
        (FILE.into(), to_json(self))
    }

    /// From files.
    ///
    /// # Errors
    /// If the encoder has no history, as one that was not pre-trained here.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, FILE, from_json)
    }
}
