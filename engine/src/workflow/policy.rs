//! The execution policy of a node, whatever its kind: what it needs, what it must not run beside, how long, how often.
//!
//! ```toml
//! [nodes.train]
//! kind = "command"
//! priority = 10                                   # of what could run, the highest first; 0 otherwise
//! mutex = "licence"                               # of the nodes that name it, one at a time; or a list
//! retry = { times = 2, wait_s = 30 }              # again after a failure; the wait doubles each time
//! timeout_s = 3600                                # stopped after this, which is a failure
//! resources = { threads = 4, gpus = 1, memory = "8GB" }
//! isolate = true                                  # in a separate process
//! ```
//!
//! None of it is part of a key: the same result is the same result, however it was come by.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use super::diagnose::Diagnostics;
use super::node_table::{NodeTable, POLICY_KEYS};
use super::params::param_problem;
use super::variables::{Matrix, fill};
use crate::node::Resources;
use crate::registry::ParseError;

/// How a node is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionPolicy {
    /// Of the nodes that could run, those with the highest number come first.
    pub priority: i64,
    /// Of the nodes that share one of these names, one runs at a time.
    #[serde(deserialize_with = "one_or_many")]
    pub mutex: Vec<String>,
    /// What to do after a failure.
    pub retry: Retry,
    /// Seconds after which it is stopped and has failed.
    pub timeout_s: Option<f64>,
    /// What it needs of the machine, where that is not what its kind says.
    pub resources: Resources,
    /// Whether it runs in a separate process; `None` leaves that to its kind.
    pub isolate: Option<bool>,
}

/// `retry = { times = 2, wait_s = 30 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often it is tried again.
    pub times: u32,
    /// Seconds before the first time; twice as long before each further one.
    pub wait_s: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { times: 0, wait_s: 1.0 }
    }
}

impl Retry {
    /// How long to wait before another attempt after `failed` of them have failed; `None` if there is to be none.
    pub(crate) fn wait(&self, failed: u32) -> Option<Duration> {
        let doubled = self.wait_s * 2_f64.powi(i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX).min(16));
        (failed <= self.times).then(|| Duration::from_secs_f64(doubled.min(MOST_S)))
    }
}

/// No wait and no limit is longer than this, in seconds.
const MOST_S: f64 = 30.0 * 86400.0;

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a name or a list of names")]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    })
}

impl ExecutionPolicy {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let seconds = |value: f64| value.is_finite() && (0.0..=MOST_S).contains(&value);
        let wrong =
            |key, found: &dyn std::fmt::Display, expected| Err((key, format!("{found} found, expected {expected}")));
        match self {
            Self { timeout_s: Some(s), .. } if !seconds(*s) || *s == 0.0 => {
                wrong("timeout_s", s, "seconds, more than 0 and at most 30 days")
            }
            Self { retry, .. } if !seconds(retry.wait_s) => {
                wrong("retry.wait_s", &retry.wait_s, "seconds, from 0 to 30 days")
            }
            Self { resources, .. } if resources.threads == Some(0) => wrong("resources.threads", &0, "at least 1"),
            _ => Ok(()),
        }
    }
}

/// Takes the execution policy out of a node's parameters. What is wrong with them goes to `diagnostics`.
pub(crate) fn take(table: &mut NodeTable, diagnostics: &mut Diagnostics) -> ExecutionPolicy {
    let is_term = |key: &str| POLICY_KEYS.contains(&key);
    if !table.params.iter().any(|entry| is_term(&entry.key)) {
        return ExecutionPolicy::default();
    }
    let all = std::mem::take(&mut table.params);
    let (own, params) = all.into_iter().partition(|entry| is_term(&entry.key));
    table.params = own;
    let none = Matrix::default();
    let written = fill(&table.params, &none, &none.free());
    let read = serde_path_to_error::deserialize::<_, ExecutionPolicy>(toml::Value::Table(written));
    let read = read.map_err(|error| {
        let path = error.path().to_string();
        (path, error.into_inner().message().to_owned())
    });
    let checked = read.and_then(|policy| match policy.check() {
        Ok(()) => Ok(policy),
        Err((path, message)) => Err((path.to_owned(), message)),
    });
    let policy = checked.unwrap_or_else(|(path, message)| {
        diagnostics.push(param_problem(table, &ParseError { path, message }));
        ExecutionPolicy::default()
    });
    table.params = params;
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_with_the_attempts() {
        let retry = Retry { times: 3, wait_s: 0.5 };
        let waits: Vec<Option<f64>> = (1..=4)
            .map(|failed| retry.wait(failed).map(|w| w.as_secs_f64()))
            .collect();
        assert_eq!(waits, [Some(0.5), Some(1.0), Some(2.0), None]);
        assert_eq!(Retry::default().wait(1), None);
    }
}
