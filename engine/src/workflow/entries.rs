//! What all sections ask of their entries: a type, known keys, names that are names.

use super::diagnose::{Diagnostics, Problem, suggest};
use super::span::Span;
use super::tree::{Entry, Located};

/// The entries of a table; what is none is told.
pub(crate) fn table_of<'a>(value: &'a Located, name: &str, diagnostics: &mut Diagnostics) -> Option<&'a [Entry]> {
    let table = value.table();
    if table.is_none() {
        diagnostics.push(wrong_type(&value.span, name, "a table", value));
    }
    table
}

pub(crate) fn wrong_type(span: &Span, name: &str, expected: &str, found: &Located) -> Problem {
    let message = format!("`{name}` must be {expected}");
    Problem::at(
        "workflow::wrong_type",
        span,
        message,
        format!("this is {}", found.describe()),
    )
}

pub(crate) fn check_keys(entries: &[Entry], known: &[&str], what: &str, diagnostics: &mut Diagnostics) {
    for entry in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
        let message = format!("unknown key `{}`", entry.key);
        let problem = Problem::at("workflow::unknown_key", &entry.key_span, message, "not known here");
        diagnostics.push(problem.help(suggest(&entry.key, what, known.iter().copied())));
    }
}

pub(crate) fn string(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = entry.value.str().map(str::to_owned);
    if text.is_none() {
        diagnostics.push(wrong_type(&entry.value.span, &entry.key, "a string", &entry.value));
    }
    text
}

/// Whether a variable can be called that; a name that cannot be one is told.
pub(crate) fn is_variable_name(span: &Span, name: &str, diagnostics: &mut Diagnostics) -> bool {
    if !is_name(name) {
        diagnostics.push(bad_name(span, name, "a variable"));
    }
    is_name(name)
}

pub(crate) fn bad_name(span: &Span, name: &str, what: &str) -> Problem {
    Problem::at(
        "workflow::bad_name",
        span,
        format!("{name:?} is not a name for {what}"),
        "not a name",
    )
    .help("use a small letter, then up to 63 small letters, digits, `_` and `-`")
}

/// `[a-z][a-z0-9_-]{0,63}`.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
