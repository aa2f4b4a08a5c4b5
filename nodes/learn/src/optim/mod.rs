//! Optimisers over named parameter slices, and learning-rate schedules.
//!
//! Parameters live in the layers' own buffers, where the kernels read them; an optimiser walks them once per step. All follow
//! PyTorch's update rules, so that published settings carry over.

mod adam;
mod lars;
mod schedule;
mod sgd;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use schedule::{Schedule, check_lr, check_warmup};

use crate::device::{Device, Update};
use crate::layers::Buffer;
use crate::settings::SettingError;

/// One parameter with its gradient.
#[derive(Debug)]
pub struct ParamMut<'a> {
    /// A name that is the same in every step.
    pub name: &'a str,
    /// Values, to be updated.
    pub value: &'a mut Buffer,
    /// Gradient, same length, zero after the step.
    pub grad: &'a mut Buffer,
    /// Learning rate of this step.
    pub lr: f32,
    /// Whether weight decay (and LARS's adaptation) applies; not to biases and normalisation parameters.
    pub decay: bool,
}

/// An optimiser with its state.
pub trait Optimizer: Send {
    /// One update, computed on `device`.
    fn step(&mut self, device: &dyn Device, parameters: &mut [ParamMut<'_>]);
    /// Its buffers by name, for a checkpoint.
    fn state(&self) -> BTreeMap<String, Vec<f32>>;
    /// The reverse of [`Optimizer::state`].
    fn load_state(&mut self, state: BTreeMap<String, Vec<f32>>);
    /// Drops what it knows of the parameters whose names begin so, which begin anew.
    fn forget(&mut self, prefix: &str);
}

/// An optimiser as declared: `{ name = "sgd", momentum = 0.9, weight_decay = 5e-4 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd(sgd::SgdConfig),
    /// Adam with L2 penalty in the gradient.
    Adam(adam::AdamConfig),
    /// Adam with decoupled weight decay.
    AdamW(adam::AdamConfig),
    /// Layer-wise adaptive rates for large batches.
    Lars(lars::LarsConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Sgd(sgd::SgdConfig::default())
    }
}

impl OptimizerConfig {
    /// Whether every number is in its range; PyTorch's ranges, and a momentum below one.
    ///
    /// # Errors
    /// With the setting that is not, as `optimizer.momentum`.
    pub fn check(&self) -> Result<(), SettingError> {
        let checked = match self {
            Self::Sgd(config) if config.nesterov && config.momentum == 0.0 => {
                let message = "Nesterov's step needs a `momentum` above 0, found 0";
                Err(SettingError::new("nesterov", message))
            }
            Self::Sgd(config) => config.check_ranges(),
            Self::Adam(config) | Self::AdamW(config) => config.check_ranges(),
            Self::Lars(config) => config.check_ranges(),
        };
        checked.map_err(|error| error.within("optimizer"))
    }

    /// Values that it keeps of each parameter, at least.
    pub fn moments(&self) -> usize {
        match self {
            Self::Sgd(config) => usize::from(config.momentum != 0.0),
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::Lars(_) => 1,
        }
    }

    /// The optimiser at its first step.
    pub fn build(&self) -> Box<dyn Optimizer> {
        match self {
            Self::Sgd(config) => Box::new(sgd::Sgd::new(*config)),
            Self::Adam(config) => Box::new(adam::Adam::new(*config, false)),
            Self::AdamW(config) => Box::new(adam::Adam::new(*config, true)),
            Self::Lars(config) => Box::new(lars::Lars::new(*config)),
        }
    }
}

/// A buffer of zeros per parameter, made when first asked for.
#[derive(Debug, Default)]
struct Buffers(BTreeMap<String, Buffer>);

impl Buffers {
    /// Those of parameters of different names.
    fn of(&mut self, parameters: &[ParamMut<'_>]) -> Vec<&mut Buffer> {
        for parameter in parameters {
            if !self.0.contains_key(parameter.name) {
                let zeros = Buffer::from(vec![0.0; parameter.value.len()]);
                self.0.insert(parameter.name.to_owned(), zeros);
            }
        }
        let named = self.0.iter_mut().map(|(name, buffer)| (name.as_str(), buffer));
        let mut named: BTreeMap<&str, &mut Buffer> = named.collect();
        let mut own = |name| named.remove(name).expect("BUG: two parameters have one name");
        parameters.iter().map(|parameter| own(parameter.name)).collect()
    }

    /// What moves parameters that have a velocity.
    fn updates<'a>(&'a mut self, parameters: &'a mut [ParamMut<'_>], weight_decay: f32) -> Vec<Update<'a>> {
        let velocities = self.of(parameters);
        let pairs = parameters.iter_mut().zip(velocities);
        pairs
            .map(|(parameter, velocity)| Update {
                value: &mut *parameter.value,
                grad: &mut *parameter.grad,
                velocity,
                lr: parameter.lr,
                decay: if parameter.decay { weight_decay } else { 0.0 },
                adapted: parameter.decay,
            })
            .collect()
    }

    /// The values by name.
    fn state(&self) -> BTreeMap<String, Vec<f32>> {
        let values = self.0.iter();
        values.map(|(name, buffer)| (name.clone(), buffer.to_vec())).collect()
    }

    /// The reverse of [`Buffers::state`].
    fn load(state: BTreeMap<String, Vec<f32>>) -> Self {
        Self(state.into_iter().map(|(name, values)| (name, values.into())).collect())
    }

    fn forget(&mut self, prefix: &str) {
        self.0.retain(|name, _| !name.starts_with(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    /// Values of two parameters after each of three steps, the first of them forgotten after the first step if `forgets`.
    fn walked(config: &OptimizerConfig, forgets: bool) -> [[f32; 2]; 3] {
        let (mut optimizer, mut values) = (config.build(), [1.0f32, 1.0].map(|one| Buffer::from(vec![one])));
        std::array::from_fn(|step| {
            let mut grads = [0.5, 0.5].map(|grad| Buffer::from(vec![grad]));
            if forgets && step == 1 {
                values[0][0] = 1.0;
                optimizer.forget("head.");
            }
            let [head, body] = &mut values;
            let parameter = |(name, value, grad)| ParamMut {
                name,
                value,
                grad,
                lr: 0.1,
                decay: true,
            };
            let [of_head, of_body] = &mut grads;
            let parameters = [("head.weight", head, of_head), ("body.weight", body, of_body)];
            optimizer.step(&Cpu, &mut parameters.map(parameter));
            assert_eq!(grads.map(|grad| grad[0]), [0.0; 2], "a gradient is taken once");
            [values[0][0], values[1][0]]
        })
    }

    #[test]
    fn what_is_forgotten_begins_anew_and_the_rest_goes_on() {
        for config in [
            OptimizerConfig::Sgd(Default::default()),
            OptimizerConfig::Adam(Default::default()),
            OptimizerConfig::AdamW(Default::default()),
            OptimizerConfig::Lars(Default::default()),
        ] {
            let (kept, forgot) = (walked(&config, false), walked(&config, true));
            let of = |walk: [[f32; 2]; 3], i: usize| walk.map(|values| values[i]);
            assert_eq!(of(forgot, 0)[1..], of(kept, 0)[..2], "{config:?}");
            assert_eq!(of(forgot, 1), of(kept, 1), "{config:?}");
        }
    }
}
