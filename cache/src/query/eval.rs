//! What a query selects. Conditions are true, false or unknown (a field is absent, or is no match for the operator);
//! only what is true is selected, and the opposite of unknown is unknown. A condition that is true or false stays so
//! whatever becomes known of its fields.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;

use super::ast::{Direction, Expr, Query};
use super::field::Field;
use super::lineage::{Candidate, Lineage};
use super::literal::Literal;
use super::row::{FieldValue, Row, World};
use crate::expr::{Number, Op};
use crate::key::ActionKey;
use crate::record::Record;

/// More rows than a query's limit that are put in order at once.
const SPARE: usize = 64;

impl Query {
    /// The records that fit, in the query's order, the newest first among equals. `load` gives the record of a key, or
    /// `None` if there is none (any more).
    pub(crate) fn select<'a, E>(
        &self,
        rows: impl Iterator<Item = Candidate<'a>>,
        world: &World<'_>,
        mut load: impl FnMut(&ActionKey) -> Result<Option<Record>, E>,
    ) -> Result<Vec<Record>, E> {
        let (mut filtered, ordered) = (
            Vec::new(),
            self.order.iter().map(|(field, _)| field).collect::<Vec<_>>(),
        );
        self.filter.iter().for_each(|filter| filter.add_fields(&mut filtered));
        let mut lineage = Lineage::new(filtered.iter().chain(&ordered).copied(), &mut load);
        let truth = |row: &Candidate<'_>| self.filter.as_ref().map_or(Some(true), |f| holds(f, row, world));
        let mut fitting = Vec::new();
        for mut row in rows {
            let mut fits = truth(&row);
            // What is known of a row decides for good; more is looked up only where that leaves something open.
            let open = match fits {
                None => row.lacks_any(&filtered),
                Some(fits) => fits && row.lacks_any(&ordered),
            };
            if open {
                let Some(whole) = row.complete(&mut lineage)? else {
                    continue;
                };
                row = whole;
                fits = truth(&row);
            }
            if fits == Some(true) {
                fitting.push(row);
            }
        }
        self.first(fitting, world, load)
    }

    /// As [`Query::select`], from records that were read.
    pub(crate) fn select_from<E>(&self, records: &[Record], world: &World<'_>) -> Result<Vec<Record>, E> {
        let by_key: HashMap<ActionKey, &Record> = records.iter().map(|record| (record.key, record)).collect();
        let load = |key: &ActionKey| Ok(by_key.get(key).copied().cloned());
        self.select(records.iter().map(Candidate::from), world, load)
    }

    /// The first records of those that fit.
    fn first<E>(
        &self,
        mut rows: Vec<Candidate<'_>>,
        world: &World<'_>,
        mut load: impl FnMut(&ActionKey) -> Result<Option<Record>, E>,
    ) -> Result<Vec<Record>, E> {
        let newest = (Field::Finished, Direction::Descending);
        let in_order = |a: &Candidate<'_>, b: &Candidate<'_>| {
            let fields = self.order.iter().chain([&newest]);
            fields
                .map(|(field, direction)| compare(field, *direction, a, b, world))
                .fold(Ordering::Equal, Ordering::then)
                .then_with(|| a.key().cmp(b.key()))
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
            part.sort_by(in_order);
            for row in part {
                if records.len() >= limit {
                    return Ok(records);
                }
                match row {
                    Candidate::Whole(record, _) => records.push(record.into_owned()),
                    Candidate::Cells(cells) => records.extend(load(&cells.key)?),
                }
            }
        }
        Ok(records)
    }

    /// The fields that the query names, and when records finished, by which they are ordered last.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields: Vec<&Field> = self.order.iter().map(|(field, _)| field).collect();
        fields.push(&Field::Finished);
        self.filter.iter().for_each(|filter| filter.add_fields(&mut fields));
        fields.into_iter().cloned().collect()
    }

    /// Whether the query asks for the names of nodes.
    pub(crate) fn names_nodes(&self) -> bool {
        self.fields().contains(&Field::Node)
    }

    /// The parameters that the query names, each by its path.
    pub(crate) fn params(&self) -> Vec<Vec<String>> {
        let param = |field| match field {
            Field::Param(path) => Some(path),
            _ => None,
        };
        self.fields().into_iter().filter_map(param).collect()
    }

    /// Whether the query asks for what people said of entries.
    pub(crate) fn names_marks(&self) -> bool {
        self.fields().iter().any(Field::is_mark)
    }
}

impl Expr {
    /// Adds the fields that it names.
    fn add_fields<'a>(&'a self, fields: &mut Vec<&'a Field>) {
        match self {
            Self::Compare(field, _, _) if fields.contains(&field) => {}
            Self::Compare(field, _, _) => fields.push(field),
            Self::Not(inner) => inner.add_fields(fields),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.add_fields(fields)),
        }
    }
}

fn holds(expr: &Expr, row: &impl Row, world: &World<'_>) -> Option<bool> {
    match expr {
        Expr::Compare(field, op, literal) => {
            let found = matches(field, &row.find(field, world)?, *op, literal);
            let others = world.names.get(row.key()).filter(|_| *field == Field::Node);
            let others = others.into_iter().flatten();
            let others = others.filter_map(|name| matches(field, &FieldValue::Text(name), *op, literal));
            others
                .chain(found)
                .reduce(|a, b| if *op == Op::NotEqual { a && b } else { a || b })
        }
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

fn matches(field: &Field, found: &FieldValue<'_>, op: Op, literal: &Literal) -> Option<bool> {
    match (found, literal) {
        (FieldValue::Any(values), _) => {
            let found = values.iter().filter_map(FieldValue::param);
            let truths = found.filter_map(|found| matches(field, &found, op, literal));
            truths.reduce(|a, b| if op == Op::NotEqual { a && b } else { a || b })
        }
        (FieldValue::Keys(keys), Literal::Text(digits)) => match op {
            Op::Equal => Some(keys.iter().any(|key| key.starts_with(digits))),
            Op::NotEqual => Some(!keys.iter().any(|key| key.starts_with(digits))),
            Op::Contains => Some(keys.iter().any(|key| key.contains(digits))),
            _ => None,
        },
        (FieldValue::Texts(texts), Literal::Text(text)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some(texts.contains(text) == (op == Op::Equal))
        }
        (_, _) if op == Op::Contains => Some(contains(found, &plain(literal))),
        (FieldValue::Text(node), Literal::Text(name)) if *field == Field::Node && is_node(node, name) => {
            Some(op.accepts(Ordering::Equal))
        }
        (FieldValue::Text(a), Literal::Text(b)) => Some(op.accepts((*a).cmp(b))),
        (FieldValue::Json(Value::Bool(a)), Literal::Bool(b)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some(op.accepts(a.cmp(b)))
        }
        (FieldValue::Json(json), Literal::Text(text)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Some((json.to_string() == *text) == (op == Op::Equal))
        }
        (FieldValue::Number(a), _) if literal.number().is_some() => {
            let b = literal.number()?;
            let same = matches!(field, Field::Param(_)) && is_rounded(*a, b);
            Some(op.accepts(if same { Ordering::Equal } else { a.partial_cmp(&b)? }))
        }
        // Another type is another value; neither is the larger.
        _ => match op {
            Op::Equal => Some(false),
            Op::NotEqual => Some(true),
            _ => None,
        },
    }
}

/// Whether `name` is that of the node, of the node in all its rounds, or of one instance: `student` and `student@1` both name
/// `student@1[seed=0]`.
pub(crate) fn is_node(node: &str, name: &str) -> bool {
    let rest = node.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('[') || (rest.starts_with('@') && !name.contains('@')))
}

/// Whether the stored number is what is left of the other one in an `f32`, as which most parameters are kept: such a number
/// is found as it stands in the workflow and as it stands in the record.
fn is_rounded(stored: Number, written: Number) -> bool {
    let (Number::Float(stored), written) = (stored, written.as_f64()) else {
        return false;
    };
    (stored - written).abs() <= written.abs() * f64::from(f32::EPSILON)
        && (written as f32).to_string().parse() == Ok(stored)
}

/// Whether a text contains the other, or a list has an element that does.
fn contains(found: &FieldValue<'_>, text: &str) -> bool {
    match found {
        FieldValue::Text(found) => found.contains(text),
        FieldValue::Number(number) => number.to_string().contains(text),
        FieldValue::Keys(texts) | FieldValue::Texts(texts) => texts.iter().any(|one| one.contains(text)),
        FieldValue::Json(Value::Array(items)) => items.iter().any(|item| match item {
            Value::String(item) => item.contains(text),
            other => other.to_string().contains(text),
        }),
        FieldValue::Json(other) => other.to_string().contains(text),
        FieldValue::Any(values) => values
            .iter()
            .filter_map(FieldValue::param)
            .any(|found| contains(&found, text)),
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
    match (a.find(field, world).and_then(one), b.find(field, world).and_then(one)) {
        (Some(a), Some(b)) if direction == Direction::Descending => by_value(&b, &a),
        (Some(a), Some(b)) => by_value(&a, &b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Numbers by value, before everything else by text.
fn by_value(a: &FieldValue<'_>, b: &FieldValue<'_>) -> Ordering {
    let text = |found: &FieldValue<'_>| match found {
        FieldValue::Text(text) => (*text).to_owned(),
        FieldValue::Keys(texts) | FieldValue::Texts(texts) => texts.join(" "),
        FieldValue::Json(json) => json.to_string(),
        FieldValue::Number(_) | FieldValue::Any(_) => String::new(),
    };
    match (a, b) {
        (FieldValue::Number(a), FieldValue::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (FieldValue::Number(_), _) => Ordering::Less,
        (_, FieldValue::Number(_)) => Ordering::Greater,
        (FieldValue::Text(a), FieldValue::Text(b)) => a.cmp(b),
        _ => text(a).cmp(&text(b)),
    }
}

/// Of several values the first counts.
fn one(found: FieldValue<'_>) -> Option<FieldValue<'_>> {
    match found {
        FieldValue::Any(values) => values.first().and_then(FieldValue::param),
        found => Some(found),
    }
}
