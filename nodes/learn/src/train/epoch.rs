//! An epoch under way: its order, how far it is and what it showed so far, kept in checkpoints to the last bit.

use std::collections::BTreeMap;

use crate::methods::{MethodError, Metric};
use crate::state::{StateDict, StateError, Tensor};

/// What an epoch showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochOutcome {
    /// Mean loss.
    pub loss: f32,
    /// Means of the method's own metrics, and of what the monitor sees afterwards, by name.
    pub metrics: BTreeMap<String, f32>,
}

/// An epoch under way.
pub(super) struct PartialEpoch {
    /// The images in the order of this epoch.
    pub(super) order: Vec<u32>,
    /// Steps done.
    pub(super) step: usize,
    pub(super) means: Means,
}

/// What the names of the tensors of an epoch under way begin with.
const PREFIX: &str = "epoch.";

impl PartialEpoch {
    pub(super) fn save(&self, state: &mut StateDict) {
        let mut save = |name: &str, data: Vec<f32>| {
            let shape = vec![data.len()];
            state.tensors.insert(format!("{PREFIX}{name}"), Tensor { shape, data });
        };
        // Whole numbers up to 2^24 are themselves as f32.
        save("order", self.order.iter().map(|index| *index as f32).collect());
        save("step", vec![self.step as f32]);
        let sums = self.means.metrics.iter().map(|(_, sum)| *sum);
        let sums = if self.means.metrics.is_empty() {
            self.means.resumed.clone()
        } else {
            sums.collect()
        };
        save("loss", in_pieces(self.means.loss).to_vec());
        save("figures", sums.into_iter().flat_map(in_pieces).collect());
    }

    pub(super) fn load(state: &StateDict) -> Option<Self> {
        let read = |name: &str| {
            state
                .tensors
                .get(&format!("{PREFIX}{name}"))
                .map(|tensor| tensor.data.as_slice())
        };
        let step = *read("step")?.first()? as usize;
        Some(Self {
            order: read("order")?.iter().map(|index| *index as u32).collect(),
            step,
            means: Means {
                steps: step,
                loss: from_pieces(read("loss")?),
                metrics: Vec::new(),
                resumed: read("figures")?.chunks(PIECES).map(from_pieces).collect(),
            },
        })
    }
}

/// What the names of the history's tensors begin with.
const HISTORY: &str = "history.";

/// Adds what the epochs showed to a checkpoint.
pub(super) fn save_history(epochs: &[EpochOutcome], state: &mut StateDict) {
    let mut save = |name: &str, data: Vec<f32>| {
        let shape = vec![data.len()];
        state.tensors.insert(format!("{HISTORY}{name}"), Tensor { shape, data });
    };
    save("loss", epochs.iter().map(|h| h.loss).collect());
    let names: Option<Vec<String>> = epochs.first().map(|h| h.metrics.keys().cloned().collect());
    for name in names.unwrap_or_default() {
        let value = |h: &EpochOutcome| h.metrics.get(&name).copied().unwrap_or(f32::NAN);
        save(&format!("figures.{name}"), epochs.iter().map(value).collect());
    }
}

/// The reverse of [`save_history`].
pub(super) fn load_history(state: &StateDict) -> Result<Vec<EpochOutcome>, StateError> {
    let name = format!("{HISTORY}loss");
    let losses = state.tensors.get(&name).ok_or(StateError::Missing { name })?;
    let metrics: Vec<(&str, &Tensor)> = state
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(HISTORY)?.strip_prefix("figures.")?, tensor)))
        .collect();
    let outcome = |(i, loss): (usize, &f32)| EpochOutcome {
        loss: *loss,
        metrics: metrics
            .iter()
            .filter_map(|(name, tensor)| Some(((*name).to_owned(), *tensor.data.get(i)?)))
            .collect(),
    };
    Ok(losses.data.iter().enumerate().map(outcome).collect())
}

/// An f64 is so many f32, each of 16 of its bits.
const PIECES: usize = 4;

/// Sums are kept to the last bit, so that a resumed epoch gives the same means.
fn in_pieces(sum: f64) -> [f32; PIECES] {
    std::array::from_fn(|piece| ((sum.to_bits() >> (16 * piece)) & 0xffff) as f32)
}

fn from_pieces(pieces: &[f32]) -> f64 {
    let bits = pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| (*piece as u64) << (16 * at));
    f64::from_bits(bits.fold(0, |all, piece| all | piece))
}

/// Sums over an epoch's steps.
#[derive(Default)]
pub(super) struct Means {
    steps: usize,
    loss: f64,
    metrics: Vec<(Metric, f64)>,
    /// Sums of the metrics up to a checkpoint, until the next step says again which metrics they are.
    resumed: Vec<f64>,
}

impl Means {
    pub(super) fn add(&mut self, loss: f32, metrics: Vec<Metric>) {
        self.steps += 1;
        self.loss += f64::from(loss);
        if self.metrics.is_empty() {
            let mut sums = std::mem::take(&mut self.resumed).into_iter();
            self.metrics = metrics
                .iter()
                .map(|metric| (*metric, sums.next().unwrap_or(0.0)))
                .collect();
        }
        for ((_, sum), metric) in self.metrics.iter_mut().zip(metrics) {
            *sum += f64::from(metric.value);
        }
    }

    /// The means, unless one of them shows that training collapsed.
    pub(super) fn finish(&self, epoch: usize, advice: &'static str) -> Result<EpochOutcome, MethodError> {
        let mean = |sum: f64| (sum / self.steps.max(1) as f64) as f32;
        for (metric, sum) in &self.metrics {
            metric.check(mean(*sum), epoch, advice)?;
        }
        Ok(EpochOutcome {
            loss: mean(self.loss),
            metrics: self
                .metrics
                .iter()
                .map(|(f, sum)| (f.name.to_owned(), mean(*sum)))
                .collect(),
        })
    }
}
