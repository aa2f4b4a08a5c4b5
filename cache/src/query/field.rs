//! The fields that a query can name.

use std::fmt;

use crate::expr::{is_word, quote, unquote};
use crate::key::quote_unless_plain;

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The node's kind.
    Kind,
    /// The node's instance.
    Node,
    /// The workflow.
    Workflow,
    /// The action key.
    Key,
    /// The keys of the consumed records.
    Inputs,
    /// A parameter by the parts of its path.
    Param(Vec<String>),
    /// A metric by the parts of its name, between dots.
    Metric(Vec<String>),
    /// Wall-clock seconds.
    WallS,
    /// Wall-clock seconds of it and of everything that it was made from, each counted once.
    TotalS,
    /// Threads given.
    Threads,
    /// Bytes of all outputs.
    Size,
    /// When it began.
    Started,
    /// When it ended.
    Finished,
    /// Time since it ended.
    Age,
    /// The names that people gave it.
    Tag,
    /// Whether it is pinned.
    Pinned,
    /// Whether its outputs were collected.
    Collected,
}

/// What a field is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    /// One or more keys, compared by their first digits.
    Keys,
    Number,
    Bool,
    /// Whatever the parameter is.
    Any,
    Bytes,
    Time,
    Span,
}

/// The fields with a fixed name.
const NAMED: [(&str, Field); 15] = [
    ("kind", Field::Kind),
    ("node", Field::Node),
    ("workflow", Field::Workflow),
    ("key", Field::Key),
    ("inputs", Field::Inputs),
    ("cost.wall_s", Field::WallS),
    ("cost.total_s", Field::TotalS),
    ("cost.threads", Field::Threads),
    ("size", Field::Size),
    ("started", Field::Started),
    ("finished", Field::Finished),
    ("age", Field::Age),
    ("tag", Field::Tag),
    ("pinned", Field::Pinned),
    ("collected", Field::Collected),
];

impl Field {
    /// The field that a word names.
    pub(super) fn parse(word: &str) -> Option<Self> {
        if let Some((_, field)) = NAMED.iter().find(|(name, _)| *name == word) {
            return Some(field.clone());
        }
        let (family, path) = word.split_once('.')?;
        let parts = split_path(path)?;
        match family {
            "params" => Some(Self::Param(parts)),
            "metrics" => Some(Self::Metric(parts)),
            _ => None,
        }
    }

    /// The names to suggest from; for a path, with the path that was written.
    pub(super) fn suggestions(word: &str) -> Vec<String> {
        let fixed = NAMED.iter().map(|(name, _)| (*name).to_owned());
        let path = word.split_once('.').map_or("<name>", |(_, path)| path);
        fixed
            .chain(["params", "metrics"].map(|family| format!("{family}.{path}")))
            .collect()
    }

    /// For error messages.
    pub(super) fn names() -> String {
        let fixed: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        format!("{}, params.<path> or metrics.<name>", fixed.join(", "))
    }

    pub(super) fn class(&self) -> Class {
        match self {
            Self::Kind | Self::Node | Self::Workflow | Self::Tag => Class::Text,
            Self::Key | Self::Inputs => Class::Keys,
            Self::Param(_) => Class::Any,
            Self::Pinned | Self::Collected => Class::Bool,
            Self::Metric(_) | Self::WallS | Self::TotalS | Self::Threads => Class::Number,
            Self::Size => Class::Bytes,
            Self::Started | Self::Finished => Class::Time,
            Self::Age => Class::Span,
        }
    }

    /// Whether it is what people said of an entry, and not part of its record.
    pub(super) fn is_mark(&self) -> bool {
        matches!(self, Self::Tag | Self::Pinned | Self::Collected)
    }

    /// The key component of a parameter.
    pub(crate) fn component(path: &[String]) -> String {
        let quoted: Vec<String> = path.iter().map(|part| quote_unless_plain(part)).collect();
        format!("param.{}", quoted.join("."))
    }
}

/// `a."b.c".d` in its parts.
fn split_path(path: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let (part, length) = if rest.starts_with('"') {
            unquote(rest)?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (rest[..end].to_owned(), end)
        };
        if length == 0 {
            return None;
        }
        parts.push(part);
        match rest[length..].strip_prefix('.') {
            Some(next) => rest = next,
            None => return rest[length..].is_empty().then_some(parts),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, parts) = match self {
            Self::Param(parts) => ("params", parts),
            Self::Metric(parts) => ("metrics", parts),
            fixed => {
                let name = NAMED
                    .iter()
                    .find(|(_, field)| field == fixed)
                    .map_or("", |(name, _)| name);
                return f.write_str(name);
            }
        };
        f.write_str(family)?;
        parts.iter().try_for_each(|part| {
            let bare = !part.is_empty() && part.chars().all(|c| is_word(c) && c != '.');
            if bare {
                write!(f, ".{part}")
            } else {
                write!(f, ".{}", quote(part))
            }
        })
    }
}
