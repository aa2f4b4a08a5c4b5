//! The TOML text as a tree that remembers where every key and value was written.

use std::sync::Arc;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::Problem;
use super::span::{Source, Span};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) data: Data,
    pub(crate) span: Span,
}

/// What was written there.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// A string, number, boolean or date.
    Scalar(toml::Value),
    /// `[..]`.
    Array(Vec<Located>),
    /// `{..}` or `[..]` headers, in the order written.
    Table(Vec<Entry>),
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Located,
}

impl Located {
    pub(crate) fn table(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.data {
            Data::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(toml::Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// `a string`, `an array`, ...: for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Scalar(toml::Value::String(text)) => format!("the string {text:?}"),
            Data::Scalar(value @ (toml::Value::Integer(_) | toml::Value::Float(_))) => format!("the number {value}"),
            Data::Scalar(value) => format!("`{value}`"),
            Data::Array(_) => "an array".to_owned(),
            Data::Table(_) => "a table".to_owned(),
        }
    }

    /// Builds a tree from a TOML value of which all parts are said to be written at `span`.
    pub(crate) fn from_value(value: toml::Value, span: &Span) -> Self {
        let data = match value {
            toml::Value::Array(items) => Data::Array(items.into_iter().map(|v| Self::from_value(v, span)).collect()),
            toml::Value::Table(table) => Data::Table(
                table
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key,
                        key_span: span.clone(),
                        value: Self::from_value(value, span),
                    })
                    .collect(),
            ),
            scalar => Data::Scalar(scalar),
        };
        Self {
            data,
            span: span.clone(),
        }
    }
}

/// The entry with that key.
pub(crate) fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|e| e.key == key)
}

/// Finds the entry that a dotted path such as `optimizer.lr` or `data[1]` leads to, or as much of it as there is:
/// the spans of its key and of its value.
pub(crate) fn locate(entries: &[Entry], path: &str) -> Option<(Span, Span)> {
    let mut found = None;
    let mut here = entries;
    for step in path.split('.') {
        let (key, index) = match step.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some(entry) = find(here, key) else { return found };
        let item = match (&entry.value.data, index) {
            (Data::Array(items), Some(index)) => items.get(index),
            _ => None,
        };
        let value = item.unwrap_or(&entry.value);
        found = Some((entry.key_span.clone(), value.span.clone()));
        match value.table() {
            Some(inner) => here = inner,
            None => return found,
        }
    }
    found
}

/// How deep tables and lists may be nested, so that neither reading a tree nor writing it as JSON overflows the stack.
pub(crate) const MAX_DEPTH: usize = 64;

/// Reads TOML. All syntax errors are found, not only the first; with any of them there is no tree.
pub(crate) fn read(source: &Arc<Source>) -> Result<Located, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|e| syntax_problem(source, e)).collect());
    }
    let mut problems = Vec::new();
    let span = Span::new(source, document.span());
    let data = convert_table(source, document.into_inner(), 0, &mut problems);
    if problems.is_empty() {
        Ok(Located { data, span })
    } else {
        Err(problems)
    }
}

/// The line with the most dots: `toml` gives no place for a key that has too many parts.
fn longest_key(text: &str) -> std::ops::Range<usize> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        at += line.len();
        (line.matches('.').count(), at - line.len())
    });
    let start = lines
        .max_by_key(|(dots, start)| (*dots, std::cmp::Reverse(*start)))
        .map_or(0, |(_, start)| start);
    start..start
}

fn syntax_problem(source: &Arc<Source>, error: &toml::de::Error) -> Problem {
    let span = Span::new(source, error.span().unwrap_or_else(|| longest_key(&source.text)));
    if error.message().contains("recurs") {
        let message = format!("tables and lists are nested more than {MAX_DEPTH} deep");
        return Problem::at("workflow::nesting", &span, message, "here");
    }
    Problem::at(
        "workflow::syntax",
        &span,
        format!("not valid TOML: {}", error.message()),
        "here",
    )
}

fn convert_table(source: &Arc<Source>, table: DeTable<'_>, depth: usize, problems: &mut Vec<Problem>) -> Data {
    let entries = table.into_iter().map(|(key, value)| Entry {
        key_span: Span::new(source, key.span()),
        key: key.into_inner().into_owned(),
        value: convert(source, value, depth, problems),
    });
    Data::Table(entries.collect())
}

fn convert(source: &Arc<Source>, value: Spanned<DeValue<'_>>, depth: usize, problems: &mut Vec<Problem>) -> Located {
    let range = value.span();
    let span = Span::new(source, range.clone());
    let depth = depth + 1;
    let data = match value.into_inner() {
        DeValue::Table(_) | DeValue::Array(_) if depth > MAX_DEPTH => {
            let message = format!("tables and lists are nested more than {MAX_DEPTH} deep");
            problems.push(Problem::at("workflow::nesting", &span, message, "one level too many"));
            Data::Scalar(toml::Value::Boolean(false))
        }
        DeValue::Table(table) => convert_table(source, table, depth, problems),
        DeValue::Array(items) => Data::Array(
            items
                .into_iter()
                .map(|item| convert(source, item, depth, problems))
                .collect(),
        ),
        scalar => Data::Scalar(convert_scalar(&span, Spanned::new(range, scalar), problems)),
    };
    Located { data, span }
}

fn convert_scalar(span: &Span, value: Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> toml::Value {
    match toml::Value::deserialize(toml::de::ValueDeserializer::from(value)) {
        Ok(toml::Value::Float(float)) if !float.is_finite() => {
            let problem = Problem::at(
                "workflow::not_finite",
                span,
                format!("{float} is not a finite number"),
                "",
            );
            problems.push(problem.help("write a finite number"));
            toml::Value::Float(0.0)
        }
        Ok(value) => value,
        Err(error) => {
            problems.push(Problem::at(
                "workflow::syntax",
                span,
                format!("not a valid value: {}", error.message()),
                "here",
            ));
            toml::Value::Boolean(false)
        }
    }
}
