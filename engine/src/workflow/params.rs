//! Objections to a node's kind and serde's to its parameters, in words for the person who wrote them and at the place where they stand.

use super::diagnose::{Problem, suggest};
use super::node_table::{NodeTable, POLICY_KEYS, RESERVED};
use super::span::Span;
use super::tree::locate;
use crate::registry::ParseError;

/// Puts serde's error into words for the person who wrote the value, at the place where it was written.
pub(crate) fn param_problem(table: &NodeTable, error: &ParseError) -> Problem {
    let (name, kind) = (&table.name, &table.kind);
    let message = error.message.trim();
    if let Some(path) = unknown_path(error) {
        return unknown_key(table, error, &path);
    }
    if let Some(field) = quoted_after(message, "missing field `") {
        let at = table.name_span.clone();
        let full = if error.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", error.path)
        };
        let message = format!("node `{name}` needs `{full}`");
        return Problem::at("workflow::missing_key", &at, message, format!("this {kind} node"))
            .help(format!("add {field} = .."));
    }
    let span = table.span_of(&error.path);
    if let Some(variant) = quoted_after(message, "unknown variant `") {
        let message = format!("`{}` of `{name}` cannot be `{variant}`", error.path);
        return Problem::at("workflow::unknown_value", &span, message, "not a valid choice").help(suggest(
            variant,
            "choices",
            expected_names(&error.message),
        ));
    }
    match message.split_once(", expected ") {
        Some((found, expected)) if message.starts_with("invalid ") => {
            let found = found.split_once(": ").map_or(found, |(_, value)| value);
            let message = format!("`{}` of `{name}` must be {}", error.path, words_for(expected));
            let label = format!("this is {}", with_article(found));
            let problem = Problem::at("workflow::wrong_type", &span, message, label);
            problem.maybe_help((expected.trim() == "a string").then(|| quoted_help(found)).flatten())
        }
        _ => {
            let what = if error.path.is_empty() {
                name.clone()
            } else {
                format!("`{}` of `{name}`", error.path)
            };
            Problem::at("workflow::bad_value", &span, format!("{what}: {message}"), "here")
        }
    }
}

/// What to write where a string is expected and a number or a boolean stands, also where it comes from a variable.
fn quoted_help(found: &str) -> Option<String> {
    let value = found.split('`').nth(1)?;
    Some(format!(
        "write \"{value}\" in quotes; \"${{name}}\" alone keeps the type of the variable: write its value in quotes where it is \
         declared, e.g. name = [\"{value}\"]"
    ))
}

fn unknown_key(table: &NodeTable, error: &ParseError, path: &str) -> Problem {
    let span = locate(&table.params, path).map_or_else(|| table.name_span.clone(), |(key, _)| key);
    let known = expected_names(&error.message);
    let help = match path.rsplit_once('.') {
        Some((above, field)) => {
            let parameter = above.split(['[', '.']).next().unwrap_or(above);
            match POLICY_KEYS.contains(&parameter) {
                true => suggest(field, "keys", known),
                false => explained(&table.kind, Some(parameter), field, known),
            }
        }
        None => {
            let known = known.into_iter().chain(RESERVED).chain(POLICY_KEYS);
            explained(&table.kind, None, path, known)
        }
    };
    Problem::at(
        "workflow::unknown_key",
        &span,
        format!("unknown key `{path}`"),
        format!("not a key of {}", table.kind),
    )
    .help(help)
}

/// What to do about an unknown key of a kind, or of one of its parameters.
pub(super) fn explained<'a>(
    kind: &str,
    parameter: Option<&str>,
    key: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let command = ["flow kinds", kind].into_iter().chain(parameter).collect::<Vec<_>>();
    format!("{}; `{}` explains them", suggest(key, "keys", known), command.join(" "))
}

/// There is no such kind.
pub(crate) fn unknown_kind(kind: &str, span: &Span, kinds: &[&str]) -> Problem {
    Problem::at(
        "workflow::unknown_kind",
        span,
        format!("unknown node kind `{kind}`"),
        "no such kind",
    )
    .help(suggest(kind, "kinds", kinds.iter().copied()))
}

/// The names in serde's "expected one of" and names in back quotes.
fn expected_names(message: &str) -> Vec<&str> {
    let list = message.split_once(", expected").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}

/// What serde expected, in words that do not need Rust.
fn words_for(expected: &str) -> String {
    let words = match expected.trim() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        other => {
            return other
                .strip_prefix("struct ")
                .map_or_else(|| other.to_owned(), |_| "a table".to_owned());
        }
    };
    words.to_owned()
}

fn with_article(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => format!(
            "the {}",
            found
                .replace("integer", "number")
                .replace("floating point", "number")
                .replace('`', "")
        ),
    }
}

/// The dotted path of the key that serde does not know, if that is what it says.
pub(crate) fn unknown_path(error: &ParseError) -> Option<String> {
    let field = quoted_after(&error.message, "unknown field `")?;
    let parent = match error.path.rsplit_once('.') {
        Some((parent, last)) if last == field => parent,
        None if error.path == field => "",
        _ => error.path.as_str(),
    };
    Some(if parent.is_empty() {
        field.to_owned()
    } else {
        format!("{parent}.{field}")
    })
}

/// The name in back quotes that follows `start` at the beginning of serde's message.
fn quoted_after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.trim().strip_prefix(start)?.split('`').next()
}
