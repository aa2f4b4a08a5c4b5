//! The format of golden cases, and comparisons with them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Outcome;

/// Relative tolerance of losses and layers.
pub(super) const VALUE: f64 = 1e-5;
/// Relative tolerance of gradients.
pub(super) const GRADIENT: f64 = 1e-4;

/// A tensor, row-major.
#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values.
    #[serde(deserialize_with = "flat")]
    pub data: Vec<f64>,
}

/// A scalar's data may be written without a list; `NaN` as null.
fn flat<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    fn collect(value: &Value, out: &mut Vec<f64>) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| collect(item, out)),
            Value::Number(n) => n
                .as_f64()
                .map(|v| out.push(v))
                .ok_or_else(|| format!("{n} is no number of 64 bits")),
            Value::Bool(b) => {
                out.push(f64::from(u8::from(*b)));
                Ok(())
            }
            Value::Null => {
                out.push(f64::NAN);
                Ok(())
            }
            other => Err(format!("{other} is no number")),
        }
    }
    let mut out = Vec::new();
    collect(&Value::deserialize(deserializer)?, &mut out).map_err(serde::de::Error::custom)?;
    Ok(out)
}

impl Golden {
    /// The values as the kernels take them.
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|v| *v as f32).collect()
    }

    /// The values as classes.
    pub fn classes(&self) -> Vec<usize> {
        self.data.iter().map(|v| *v as usize).collect()
    }
}

/// One golden case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Its name.
    pub case: String,
    /// Parameters by name.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Golden>,
    /// Expected outputs by name.
    pub outputs: BTreeMap<String, Golden>,
    /// Expected gradients of the first output by input.
    #[serde(default)]
    pub grads: BTreeMap<String, Golden>,
}

/// Why a case cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CaseError {
    /// It lacks something.
    #[error("it has no {what} `{name}`")]
    Missing {
        /// Input, output or parameter.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A shape is not of the expected form.
    #[error("`{name}` has shape {shape:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The function refused the case.
    #[error("{0}")]
    Refused(String),
}

impl Case {
    /// An input.
    ///
    /// # Errors
    /// If the case has none of that name.
    pub fn input(&self, name: &str) -> Result<&Golden, CaseError> {
        self.inputs.get(name).ok_or_else(|| CaseError::Missing {
            what: "input",
            name: name.to_owned(),
        })
    }

    /// An input of four dimensions.
    ///
    /// # Errors
    /// If the case has none of that name and so many dimensions.
    pub fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N], CaseError> {
        let shape = &self.input(name)?.shape;
        <[usize; N]>::try_from(&shape[..]).map_err(|_| CaseError::Shape {
            name: name.to_owned(),
            shape: shape.clone(),
        })
    }

    /// A number among the parameters.
    ///
    /// # Errors
    /// If the case has none of that name.
    pub fn number(&self, name: &str) -> Result<f64, CaseError> {
        let value = self.params.get(name).and_then(Value::as_f64);
        value.ok_or_else(|| CaseError::Missing {
            what: "number",
            name: name.to_owned(),
        })
    }

    /// A list of numbers among the parameters.
    ///
    /// # Errors
    /// If the case has none of that name.
    pub fn numbers(&self, name: &str) -> Result<Vec<f32>, CaseError> {
        let list = self.params.get(name).and_then(Value::as_array);
        let list = list.ok_or_else(|| CaseError::Missing {
            what: "list",
            name: name.to_owned(),
        })?;
        Ok(list.iter().filter_map(Value::as_f64).map(|v| v as f32).collect())
    }

    /// A size among the parameters.
    ///
    /// # Errors
    /// If the case has none of that name.
    pub fn size(&self, name: &str) -> Result<usize, CaseError> {
        self.number(name).map(|v| v as usize)
    }
}

/// Compares found values with expected ones; remembers the worst, or the first failure.
#[derive(Default)]
pub(super) struct Check {
    worst: f64,
    failed: Option<Outcome>,
}

impl Check {
    /// Error of each value relative to the larger of its expected size and the tensor's mean size.
    pub(super) fn relative(&mut self, what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
        let mean = expected.iter().map(|v| v.abs()).sum::<f64>() / expected.len().max(1) as f64;
        self.all(what, found.iter().map(|v| f64::from(*v)), expected, tolerance, |e| {
            e.abs().max(mean).max(1e-6)
        });
    }

    /// Error of each value as it is.
    pub(super) fn absolute(&mut self, what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
        self.all(what, found.iter().map(|v| f64::from(*v)), expected, tolerance, |_| 1.0);
    }

    /// The same for f64 metrics.
    pub(super) fn metrics(&mut self, what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
        self.all(what, found.iter().copied(), expected, tolerance, |_| 1.0);
    }

    fn all(
        &mut self,
        what: &str,
        found: impl ExactSizeIterator<Item = f64>,
        expected: &[f64],
        tolerance: f64,
        scale: impl Fn(f64) -> f64,
    ) {
        let mut error = if found.len() == expected.len() {
            0.0f64
        } else {
            f64::INFINITY
        };
        for (f, e) in found.zip(expected) {
            let here = if f.is_nan() || e.is_nan() {
                if f.is_nan() == e.is_nan() { 0.0 } else { f64::INFINITY }
            } else {
                (f - e).abs() / scale(*e)
            };
            error = error.max(here);
        }
        self.worst = self.worst.max(error);
        if error > tolerance && self.failed.is_none() {
            self.failed = Some(Outcome::Fail {
                what: what.to_owned(),
                error,
                tolerance,
            });
        }
    }

    /// What became of the case: every expected output and gradient must have been compared by the caller.
    pub(super) fn outcome(self) -> Outcome {
        self.failed.unwrap_or(Outcome::Pass { error: self.worst })
    }
}

impl Case {
    /// An expected output.
    pub(super) fn output(&self, name: &str) -> Result<&[f64], CaseError> {
        let output = self.outputs.get(name).map(|g| &g.data[..]);
        output.ok_or_else(|| CaseError::Missing {
            what: "output",
            name: name.to_owned(),
        })
    }

    /// An expected gradient.
    pub(super) fn gradient(&self, name: &str) -> Result<&[f64], CaseError> {
        let gradient = self.grads.get(name).map(|g| &g.data[..]);
        gradient.ok_or_else(|| CaseError::Missing {
            what: "gradient",
            name: name.to_owned(),
        })
    }
}

/// `[n][c][h][w]` to `[n][h][w][c]`, or back with the sizes given accordingly (`outer`, `a`, `b` to `outer`, `b`, `a`).
pub(super) fn swap<T: Copy>(data: &[T], outer: usize, a: usize, b: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(data.len());
    for o in 0..outer {
        for j in 0..b {
            out.extend((0..a).map(|i| data[(o * a + i) * b + j]));
        }
    }
    out
}
