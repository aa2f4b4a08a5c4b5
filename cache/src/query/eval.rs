//! What a query selects. Conditions are true, false or unknown (a field is absent, or is no match for the operator);
//! only what is true is selected, and the opposite of unknown is unknown.

use std::cmp::Ordering;

use serde_json::Value;

use super::ast::{Direction, Expr, Query};
use super::field::Field;
use super::literal::Literal;
use super::op::Op;
use super::row::{Cells, Columns, Found, Row, World, has_column};
use crate::record::Record;

/// More rows than a query's limit that are put in order at once.
const SPARE: usize = 64;

impl Query {
    /// The records that fit, in the query's order. `records` come newest first.
    pub(crate) fn select(&self, mut records: Vec<Record>, world: &World<'_>) -> Vec<Record> {
        if let Some(filter) = &self.filter {
            records.retain(|record| holds(filter, record, world) == Some(true));
        }
        records.sort_by(|a, b| self.compare(a, b, world));
        records.truncate(self.limit.unwrap_or(usize::MAX));
        records
    }

    fn compare(&self, a: &impl Row, b: &impl Row, world: &World<'_>) -> Ordering {
        let fields = self.order.iter();
        fields
            .map(|(field, direction)| compare(field, *direction, a, b, world))
            .fold(Ordering::Equal, Ordering::then)
    }

    /// The fields that the query names, if all of them have columns, and when records finished, by which they are ordered last.
    pub(crate) fn columns(&self) -> Option<Vec<Field>> {
        let mut fields: Vec<&Field> = self.order.iter().map(|(field, _)| field).collect();
        fields.push(&Field::Finished);
        let mut open: Vec<&Expr> = self.filter.iter().collect();
        while let Some(expr) = open.pop() {
            match expr {
                Expr::Compare(field, _, _) => fields.push(field),
                Expr::Not(inner) => open.push(inner),
                Expr::And(parts) | Expr::Or(parts) => open.extend(parts),
            }
        }
        fields
            .into_iter()
            .map(|field| has_column(field).then(|| field.clone()))
            .collect()
    }

    /// As [`Query::select`], from columns, of which one says when the records finished. `slots` come with their keys; `load`
    /// gives the record of a slot, or `None` if it has none any more.
    pub(crate) fn select_slots<'k, E>(
        &self,
        columns: &Columns,
        slots: impl Iterator<Item = (usize, &'k [u8; 32])>,
        world: &World<'_>,
        mut load: impl FnMut(usize) -> Result<Option<Record>, E>,
    ) -> Result<Vec<Record>, E> {
        let fits = |row: &Candidate<'_>| self.filter.as_ref().is_none_or(|f| holds(f, row, world) == Some(true));
        let mut rows = Vec::new();
        for (slot, key) in slots {
            let cells = Cells { columns, slot };
            let row = if cells.is_vague() {
                let Some(record) = load(slot)? else { continue };
                Candidate::Read(Box::new(record))
            } else {
                Candidate::Cells(cells)
            };
            if fits(&row) {
                rows.push((row, key));
            }
        }
        let newest_first =
            |a: &Candidate<'_>, b: &Candidate<'_>| compare(&Field::Finished, Direction::Descending, a, b, world);
        let in_order = |(a, a_key): &(Candidate<'_>, &[u8; 32]), (b, b_key): &(Candidate<'_>, &[u8; 32])| {
            let by_fields = self.compare(a, b, world);
            by_fields
                .then_with(|| newest_first(a, b))
                .then_with(|| a_key.cmp(b_key))
        };
        // Of many, only those that come first are put in order; the rest only if some of them have no record any more.
        let limit = self.limit.unwrap_or(usize::MAX);
        let first = limit.saturating_mul(2).saturating_add(SPARE);
        let rest = if first < rows.len() {
            rows.select_nth_unstable_by(first, in_order);
            rows.split_off(first)
        } else {
            Vec::new()
        };
        let mut records = Vec::new();
        for mut part in [rows, rest] {
            if records.len() >= limit {
                break;
            }
            part.sort_by(in_order);
            for (row, _) in part {
                if records.len() >= limit {
                    break;
                }
                match row {
                    Candidate::Read(record) => records.push(*record),
                    Candidate::Cells(cells) => records.extend(load(cells.slot)?),
                }
            }
        }
        Ok(records)
    }
}

/// A record that may be selected: read, or known by its cells.
enum Candidate<'a> {
    Read(Box<Record>),
    Cells(Cells<'a>),
}

impl Row for Candidate<'_> {
    fn find(&self, field: &Field, world: &World<'_>) -> Option<Found<'_>> {
        match self {
            Self::Read(record) => record.find(field, world),
            Self::Cells(cells) => cells.find(field, world),
        }
    }
}

fn holds(expr: &Expr, row: &impl Row, world: &World<'_>) -> Option<bool> {
    match expr {
        Expr::Compare(field, op, literal) => matches(&row.find(field, world)?, *op, literal),
        Expr::Not(inner) => holds(inner, row, world).map(|truth| !truth),
        Expr::And(parts) => all(parts.iter().map(|part| holds(part, row, world))),
        Expr::Or(parts) => {
            all(parts.iter().map(|part| holds(part, row, world).map(|truth| !truth))).map(|truth| !truth)
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
        (Found::Texts(texts), Literal::Text(text)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some(texts.contains(text) == (op == Op::Equal))
        }
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
        Found::Keys(texts) | Found::Texts(texts) => texts.iter().any(|one| one.contains(text)),
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
fn compare(field: &Field, direction: Direction, a: &impl Row, b: &impl Row, world: &World<'_>) -> Ordering {
    match (a.find(field, world), b.find(field, world)) {
        (Some(a), Some(b)) if direction == Direction::Descending => by_value(&b, &a),
        (Some(a), Some(b)) => by_value(&a, &b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Numbers by value, before everything else by text.
fn by_value(a: &Found<'_>, b: &Found<'_>) -> Ordering {
    let text = |found: &Found<'_>| match found {
        Found::Text(text) => (*text).to_owned(),
        Found::Keys(texts) | Found::Texts(texts) => texts.join(" "),
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
