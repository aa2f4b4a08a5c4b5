//! A node's table, taken apart: what the engine reads itself, and the parameters that are the kind's.

use std::path::PathBuf;

use super::span::Span;
use super::tree::{Entry, locate};
use super::when::Condition;

/// The keys of a node's table that the engine reads itself.
pub(crate) const RESERVED: [&str; 5] = ["kind", "over", "rounds", "becomes", "when"];

/// The keys of a node's table that belong to its execution policy.
pub(crate) const POLICY_KEYS: [&str; 6] = ["priority", "mutex", "retry", "timeout_s", "resources", "isolate"];

/// `[nodes.<name>]`.
#[derive(Debug)]
pub(crate) struct NodeTable {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    /// What the paths in it are relative to: the directory of its file.
    pub(crate) dir: PathBuf,
    pub(crate) kind: String,
    pub(crate) kind_span: Span,
    /// The parameters, reserved keys taken out, defaults put in ([`super::defaults`]).
    pub(crate) params: Vec<Entry>,
    pub(crate) over: Vec<(String, Span)>,
    pub(crate) rounds: Option<Rounds>,
    /// For which values of the matrix it exists.
    pub(crate) when: Option<Condition>,
}

/// `rounds = 2`, `becomes = "pseudo.teacher"`.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: u32,
    pub(crate) span: Span,
    /// The node whose port this node's output takes in later rounds.
    pub(crate) node: String,
    pub(crate) port: String,
    pub(crate) becomes_span: Span,
}

impl NodeTable {
    /// The place of a parameter's value by dotted path, else of the node's name.
    pub(crate) fn span_of(&self, key: &str) -> Span {
        match locate(&self.params, key) {
            Some((_, value)) if !key.is_empty() => value,
            _ => self.name_span.clone(),
        }
    }
}
