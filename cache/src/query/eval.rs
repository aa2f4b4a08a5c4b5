//! What a query selects. Conditions are true, false or unknown (a field is absent, or is no match for the operator);
//! only what is true is selected, and the opposite of unknown is unknown.

use std::cmp::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::ast::{Direction, Expr, Op, Query};
use super::field::Field;
use super::literal::Literal;
use crate::record::Record;

impl Query {
    /// The records that fit, in the query's order. `records` come newest first.
    pub fn select(&self, records: Vec<Record>) -> Vec<Record> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.select_at(records, now.as_millis() as f64)
    }

    /// As [`Query::select`], with the time, in milliseconds since 1970, that ages are counted to.
    pub(super) fn select_at(&self, mut records: Vec<Record>, now_ms: f64) -> Vec<Record> {
        if let Some(filter) = &self.filter {
            records.retain(|record| holds(filter, record, now_ms) == Some(true));
        }
        records.sort_by(|a, b| {
            let by_field = self
                .order
                .iter()
                .map(|(field, direction)| compare(field, *direction, a, b, now_ms));
            by_field.fold(Ordering::Equal, Ordering::then)
        });
        records.truncate(self.limit.unwrap_or(usize::MAX));
        records
    }
}

/// A field's value in one record.
#[derive(Debug, PartialEq)]
enum Found<'a> {
    Text(&'a str),
    Number(f64),
    Keys(Vec<String>),
    Json(&'a Value),
}

fn find<'a>(field: &Field, record: &'a Record, now_ms: f64) -> Option<Found<'a>> {
    Some(match field {
        Field::Kind => Found::Text(&record.kind),
        Field::Node => Found::Text(&record.node),
        Field::Workflow => Found::Text(&record.workflow),
        Field::Key => Found::Keys(vec![record.key.to_string()]),
        Field::Inputs => Found::Keys(record.inputs.iter().map(ToString::to_string).collect()),
        Field::Param(path) => match record.components.get(&Field::component(path))? {
            Value::Null => return None,
            Value::String(text) => Found::Text(text),
            Value::Number(number) => Found::Number(number.as_f64()?),
            other => Found::Json(other),
        },
        Field::Metric(path) => Found::Number(*record.metrics.get(&path.join("."))?),
        Field::WallS => Found::Number(record.cost.wall_s),
        Field::Threads => Found::Number(record.cost.threads.into()),
        Field::Size => Found::Number(record.size() as f64),
        Field::Started => Found::Number(record.started_unix_ms as f64),
        Field::Finished => Found::Number(record.finished_unix_ms as f64),
        Field::Age => Found::Number((now_ms - record.finished_unix_ms as f64) / 1e3),
    })
}

fn holds(expr: &Expr, record: &Record, now_ms: f64) -> Option<bool> {
    match expr {
        Expr::Compare(field, op, literal) => matches(&find(field, record, now_ms)?, *op, literal),
        Expr::Not(inner) => holds(inner, record, now_ms).map(|truth| !truth),
        Expr::And(parts) => all(parts.iter().map(|part| holds(part, record, now_ms))),
        Expr::Or(parts) => {
            all(parts.iter().map(|part| holds(part, record, now_ms).map(|truth| !truth))).map(|truth| !truth)
        }
    }
}

/// One false makes it false, whatever is unknown; otherwise one unknown makes it unknown.
fn all(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for truth in truths {
        match truth {
            Some(false) => return Some(false),
            None => result = None,
            Some(true) => {}
        }
    }
    result
}

fn matches(found: &Found<'_>, op: Op, literal: &Literal) -> Option<bool> {
    match (found, literal) {
        (Found::Keys(keys), Literal::Text(digits)) => match op {
            Op::Equal => Some(keys.iter().any(|key| key.starts_with(digits))),
            Op::NotEqual => Some(!keys.iter().any(|key| key.starts_with(digits))),
            Op::Contains => Some(keys.iter().any(|key| key.contains(digits))),
            _ => None,
        },
        (_, _) if op == Op::Contains => Some(contains(found, &plain(literal))),
        (Found::Text(a), Literal::Text(b)) => Some(accepts(op, a.partial_cmp(&b.as_str()))),
        (Found::Json(Value::Bool(a)), Literal::Bool(b)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some(accepts(op, a.partial_cmp(b)))
        }
        (Found::Json(json), Literal::Text(text)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some((json.to_string() == *text) == (op == Op::Equal))
        }
        (Found::Number(a), _) if literal.as_f64().is_some() => Some(accepts(op, a.partial_cmp(&literal.as_f64()?))),
        // Another type is another value; neither is the larger.
        _ => match op {
            Op::Equal => Some(false),
            Op::NotEqual => Some(true),
            _ => None,
        },
    }
}

/// Whether `op` holds for values in this order; `None` (a NaN) is unequal to everything.
fn accepts(op: Op, ordering: Option<Ordering>) -> bool {
    match op {
        Op::Equal => ordering == Some(Ordering::Equal),
        Op::NotEqual => ordering != Some(Ordering::Equal),
        Op::Less => ordering == Some(Ordering::Less),
        Op::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Op::Greater => ordering == Some(Ordering::Greater),
        Op::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        Op::Contains => false,
    }
}

/// Whether a text contains the other, or a list has an element that does.
fn contains(found: &Found<'_>, text: &str) -> bool {
    match found {
        Found::Text(found) => found.contains(text),
        Found::Number(number) => number.to_string().contains(text),
        Found::Keys(keys) => keys.iter().any(|key| key.contains(text)),
        Found::Json(Value::Array(items)) => items.iter().any(|item| match item {
            Value::String(item) => item.contains(text),
            other => other.to_string().contains(text),
        }),
        Found::Json(other) => other.to_string().contains(text),
    }
}

/// A literal as it was written, without quotes.
fn plain(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Records without the field come last in either direction.
fn compare(field: &Field, direction: Direction, a: &Record, b: &Record, now_ms: f64) -> Ordering {
    match (find(field, a, now_ms), find(field, b, now_ms)) {
        (Some(a), Some(b)) if direction == Direction::Descending => by_value(&b, &a),
        (Some(a), Some(b)) => by_value(&a, &b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Numbers by value, before everything else by text.
fn by_value(a: &Found<'_>, b: &Found<'_>) -> Ordering {
    let text = |found: &Found<'_>| match found {
        Found::Text(text) => (*text).to_owned(),
        Found::Keys(keys) => keys.join(" "),
        Found::Json(json) => json.to_string(),
        Found::Number(_) => String::new(),
    };
    match (a, b) {
        (Found::Number(a), Found::Number(b)) => a.total_cmp(b),
        (Found::Number(_), _) => Ordering::Less,
        (_, Found::Number(_)) => Ordering::Greater,
        _ => text(a).cmp(&text(b)),
    }
}
