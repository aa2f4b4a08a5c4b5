//! Named tensors as bytes: weights, optimiser state and checkpoints, as safetensors with PyTorch's names and orders.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, View};

use crate::layers::{Entry, Tensors};

/// The key of our own text in the file's metadata. One key only: the format keeps metadata unordered.
const META: &str = "flow";

/// What a name ends with whose values are variances.
const VARIANCE: &str = "running_var";

/// PyTorch keeps this buffer as an integer.
const BATCH_COUNT: &str = "num_batches_tracked";

/// A tensor in PyTorch's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// Its values one after the other, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Whether a network can compute with the values.
    fn check(&self, name: &str) -> Result<(), StateError> {
        let unfit = |v: &&f32| !v.is_finite() || (**v < 0.0 && name.ends_with(VARIANCE));
        match self.data.iter().find(unfit) {
            None => Ok(()),
            Some(value) => Err(StateError::Value {
                name: name.to_owned(),
                value: *value,
            }),
        }
    }
}

/// Named tensors and a text with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the tensors are of, for the reader (JSON, as a rule); may be empty.
    pub meta: String,
}

/// Why a state does not fit, or its bytes cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Not a safetensors file, or a broken one.
    #[error("cannot read the tensors: {0}")]
    Unreadable(String),
    /// A type that is not used here.
    #[error("tensor `{name}` has type {found}, expected F32 (or I64 for {BATCH_COUNT})")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The network has a tensor that the state lacks.
    #[error("the weights lack `{name}`: they are of another network")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// The state has a tensor that the network lacks.
    #[error("the weights have `{name}`, which the network lacks: they are of another network")]
    Unexpected {
        /// The tensor.
        name: String,
    },
    /// A tensor holds what no network computes with.
    #[error("tensor `{name}` holds {value}, expected {}", if value.is_finite() { "a variance, which is at least 0" } else { "finite numbers" })]
    Value {
        /// The tensor.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// A tensor's shape differs.
    #[error("tensor `{name}` has shape {found:?}, the network's has {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The state's shape.
        found: Vec<usize>,
    },
}

impl StateDict {
    /// The tensors of a network, its parameters named behind `prefix`.
    pub fn of(of: &mut (impl Tensors + ?Sized), prefix: &str) -> Self {
        let mut entries = Vec::new();
        of.entries(prefix, &mut entries);
        Self {
            tensors: entries.iter().map(|e| (e.name.clone(), to_torch(e))).collect(),
            meta: String::new(),
        }
    }

    /// Copies the tensors behind `prefix` into a network.
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another shape, or holds NaN, an infinity or a negative variance; the network may then be half
    /// loaded.
    pub fn load(&self, of: &mut (impl Tensors + ?Sized), prefix: &str) -> Result<(), StateError> {
        let mut entries = Vec::new();
        of.entries(prefix, &mut entries);
        let behind =
            |name: &str| prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        let mut left: Vec<&String> = self.tensors.keys().filter(|name| behind(name)).collect();
        for entry in &mut entries {
            let name = &entry.name;
            let tensor = self
                .tensors
                .get(name)
                .ok_or_else(|| StateError::Missing { name: name.clone() })?;
            if tensor.shape != entry.shape {
                let (expected, found) = (entry.shape.clone(), tensor.shape.clone());
                return Err(StateError::Shape {
                    name: name.clone(),
                    expected,
                    found,
                });
            }
            tensor.check(name)?;
            let values = entry.value.overwrite();
            for (here, value) in entry.layout.indices(&entry.shape).into_iter().zip(&tensor.data) {
                values[here] = *value;
            }
            left.retain(|other| *other != name);
        }
        left.first()
            .map_or(Ok(()), |name| Err(StateError::Unexpected { name: (*name).clone() }))
    }

    /// Takes in all of `other`'s tensors.
    pub fn extend(&mut self, other: Self) {
        self.tensors.extend(other.tensors);
    }

    /// The safetensors file: the same tensors give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let meta = (!self.meta.is_empty()).then(|| HashMap::from([(META.to_owned(), self.meta.clone())]));
        let views = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), Bytes::of(name, tensor)));
        safetensors::serialize(views, meta).expect("BUG: tensors whose data fits their shapes can be serialised")
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If it is damaged, or has values that no weights have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let unreadable = |e: safetensors::SafeTensorError| StateError::Unreadable(e.to_string());
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(META))
            .cloned()
            .unwrap_or_default();
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let data = match view.dtype() {
                Dtype::F32 => view
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect(),
                Dtype::I64 => view
                    .data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b) as f32)
                    .collect(),
                other => {
                    return Err(StateError::Type {
                        name,
                        found: format!("{other:?}"),
                    });
                }
            };
            let mut shape = view.shape().to_vec();
            if name.ends_with(BATCH_COUNT) && shape.is_empty() {
                shape = vec![1];
            }
            tensors.insert(name, Tensor { shape, data });
        }
        Ok(Self { tensors, meta })
    }
}

fn to_torch(entry: &Entry<'_>) -> Tensor {
    let (values, indices) = (&entry.value[..], entry.layout.indices(&entry.shape));
    let data = indices.into_iter().map(|i| values[i]).collect();
    Tensor {
        shape: entry.shape.clone(),
        data,
    }
}

/// A tensor's bytes for the file.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Bytes {
    fn of(name: &str, tensor: &Tensor) -> Self {
        if name.ends_with(BATCH_COUNT) {
            let data = tensor.data.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect();
            return Self {
                dtype: Dtype::I64,
                shape: Vec::new(),
                data,
            };
        }
        Self {
            dtype: Dtype::F32,
            shape: tensor.shape.clone(),
            data: tensor.bytes(),
        }
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::BackboneSettings;
    use crate::layers::MapShape;
    use crate::rng::Stream;

    fn encoder(name: &str, seed: u64) -> crate::backbones::Encoder {
        let settings = BackboneSettings::named(name);
        settings
            .build(MapShape { h: 16, w: 16, c: 3 }, &Stream::new(seed, "test"))
            .expect("a valid backbone")
    }

    #[test]
    fn weights_survive_the_round_trip_to_the_bit() {
        let (mut a, mut b) = (encoder("resnet18", 1), encoder("resnet18", 2));
        let state = StateDict::of(&mut a, "encoder");
        let read = StateDict::from_bytes(&state.to_bytes()).expect("own bytes can be read");
        assert_eq!(read, state);
        read.load(&mut b, "encoder").expect("the same network");
        assert_eq!(StateDict::of(&mut b, "encoder"), state);
        assert_eq!(state.to_bytes(), read.to_bytes());
    }

    #[test]
    fn resnet18_has_torchvisions_names_and_shapes() {
        let state = StateDict::of(&mut encoder("resnet18", 1), "");
        let shape = |name: &str| state.tensors.get(name).map(|t| t.shape.clone());
        assert_eq!(shape("conv1.weight"), Some(vec![64, 3, 3, 3]));
        assert_eq!(shape("layer2.0.downsample.0.weight"), Some(vec![128, 64, 1, 1]));
        assert_eq!(shape("layer4.1.bn2.running_var"), Some(vec![512]));
        // torchvision's resnet18 has 122 entries, of which fc.weight and fc.bias are the head's.
        assert_eq!(state.tensors.len(), 120);
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let state = StateDict::of(&mut encoder("conv3", 1), "");
        let error = state
            .load(&mut encoder("conv4", 1), "")
            .expect_err("conv4 has one stage more");
        assert_eq!(
            error,
            StateError::Missing {
                name: "stages.3.conv.weight".into()
            }
        );
        let error = StateDict::of(&mut encoder("conv4", 1), "")
            .load(&mut encoder("conv3", 1), "")
            .expect_err("left over");
        assert!(matches!(error, StateError::Unexpected { .. }));
    }

    #[test]
    fn weights_that_no_network_computes_with_are_refused_by_name() {
        let with = |name: &str, value: f32| {
            let mut state = StateDict::of(&mut encoder("resnet18", 1), "");
            state.tensors.get_mut(name).expect("one of its tensors").data[3] = value;
            let loaded = state.load(&mut encoder("resnet18", 2), "");
            loaded.err().map(|e| e.to_string()).unwrap_or_default()
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let message = with("layer1.0.conv1.weight", value);
            assert!(
                message.contains("`layer1.0.conv1.weight`") && message.contains("finite"),
                "{message}"
            );
        }
        let variance = with("layer2.0.bn1.running_var", -0.5);
        assert!(variance.contains("`layer2.0.bn1.running_var` holds -0.5"), "{variance}");
        assert_eq!(with("layer2.0.bn1.running_mean", -0.5), "");
    }

    #[test]
    fn broken_bytes_are_an_error_not_a_panic() {
        let bytes = StateDict::of(&mut encoder("conv3", 1), "").to_bytes();
        for cut in [0, 4, 8, 100, bytes.len() - 1] {
            assert!(StateDict::from_bytes(&bytes[..cut]).is_err());
        }
    }
}
