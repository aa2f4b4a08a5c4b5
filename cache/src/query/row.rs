//! What a condition is asked of: a record, or the cells of its fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::Field;
use crate::expr::Number;
use crate::index::{CellRef, Column};
use crate::key::ActionKey;
use crate::marks::Marks;
use crate::record::Record;

/// A field's value in one record.
#[derive(Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Text(&'a str),
    /// No NaN: that is a field without a value.
    Number(Number),
    Keys(Vec<String>),
    Texts(Vec<String>),
    Json(&'a Value),
    /// Several values, each as good as the others.
    Any(&'a [Value]),
}

impl<'a> FieldValue<'a> {
    /// A parameter's value.
    pub(super) fn param(value: &'a Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::String(text) => Some(Self::Text(text)),
            Value::Number(number) => Some(Self::Number(number.into())),
            other => Some(Self::Json(other)),
        }
    }

    pub(super) fn float(float: f64) -> Option<Self> {
        (!float.is_nan()).then_some(Self::Number(Number::Float(float)))
    }

    fn truth(truth: bool) -> Self {
        Self::Json(if truth { &Value::Bool(true) } else { &Value::Bool(false) })
    }
}

/// What a condition depends on besides the record.
pub(crate) struct World<'a> {
    /// Milliseconds since 1970, to which ages are counted.
    pub(crate) now_ms: f64,
    /// Pins, tags and what was collected.
    pub(crate) marks: &'a Marks,
    /// Names that entries were found under besides those of their records.
    pub(crate) names: &'a BTreeMap<ActionKey, BTreeSet<String>>,
}

impl World<'_> {
    /// What people say of a record.
    fn mark(&self, field: &Field, key: &ActionKey) -> Option<FieldValue<'static>> {
        Some(match field {
            Field::Tag => FieldValue::Texts(self.marks.tags_of(key).map(str::to_owned).collect()),
            Field::Pinned => FieldValue::truth(self.marks.pins.contains_key(key)),
            Field::Collected => FieldValue::truth(self.marks.collected.contains(key)),
            _ => return None,
        })
    }

    fn age(&self, finished_ms: f64) -> Option<FieldValue<'static>> {
        FieldValue::float((self.now_ms - finished_ms) / 1e3)
    }
}

/// Something that has a record's fields.
pub(super) trait Row {
    /// The record's key.
    fn key(&self) -> &ActionKey;

    /// The field's value; `None` if the record does not have it.
    fn find(&self, field: &Field, world: &World<'_>) -> Option<FieldValue<'_>>;
}

impl Row for Record {
    fn key(&self) -> &ActionKey {
        &self.key
    }

    fn find(&self, field: &Field, world: &World<'_>) -> Option<FieldValue<'_>> {
        let integer = |integer: u64| Some(FieldValue::Number(Number::Integer(integer.into())));
        match field {
            Field::Kind => Some(FieldValue::Text(&self.kind)),
            Field::Node => Some(FieldValue::Text(&self.node)),
            Field::Workflow => Some(FieldValue::Text(&self.workflow)),
            Field::Key => Some(FieldValue::Keys(vec![self.key.to_string()])),
            Field::Inputs => Some(FieldValue::Keys(self.inputs.iter().map(ToString::to_string).collect())),
            Field::Param(path) => FieldValue::param(self.components.get(&Field::component(path))?),
            Field::Metric(path) => FieldValue::float(*self.metrics.get(&path.join("."))?),
            Field::WallS => FieldValue::float(self.cost.wall_s),
            Field::TotalS => None,
            Field::Threads => integer(self.cost.threads.into()),
            Field::Size => integer(self.size()),
            Field::Started => integer(self.started_unix_ms),
            Field::Finished => integer(self.finished_unix_ms),
            Field::Age => world.age(self.finished_unix_ms as f64),
            Field::Tag | Field::Pinned | Field::Collected => world.mark(field, &self.key),
        }
    }
}

/// The columns that a query needs. There are few, so that looking through them is faster than any map: it is done for every record.
pub(crate) struct Columns {
    all: Vec<Column>,
    /// Which of them a field stands in.
    places: Vec<(Field, usize)>,
}

impl Columns {
    /// The columns of these fields, each read once; a field that has none is left out.
    pub(crate) fn read<E>(
        fields: impl IntoIterator<Item = Field>,
        mut read: impl FnMut(&str) -> Result<Column, E>,
    ) -> Result<Self, E> {
        let (mut names, mut all, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for field in fields {
            let Some(name) = column(&field) else { continue };
            let place = match names.iter().position(|known| *known == name) {
                Some(place) => place,
                None => {
                    all.push(read(&name)?);
                    names.push(name);
                    all.len() - 1
                }
            };
            places.push((field, place));
        }
        Ok(Self { all, places })
    }

    fn of(&self, field: &Field) -> Option<&Column> {
        let (_, place) = self.places.iter().find(|(known, _)| known == field)?;
        self.all.get(*place)
    }
}

/// One slot of some columns.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    pub(crate) columns: &'a Columns,
    pub(crate) slot: usize,
    pub(crate) key: ActionKey,
}

impl Cells<'_> {
    /// Whether the record, or what it was made from, may have a value for the field that the cells do not have.
    pub(super) fn lacks(&self, field: &Field) -> bool {
        match self.columns.of(field).map(|column| column.get(self.slot)) {
            Some(CellRef::Absent) => matches!(field, Field::Param(_)),
            Some(cell) => cell == CellRef::InRecord,
            None => !field.is_mark(),
        }
    }
}

impl Row for Cells<'_> {
    fn key(&self) -> &ActionKey {
        &self.key
    }

    fn find(&self, field: &Field, world: &World<'_>) -> Option<FieldValue<'_>> {
        let Some(column) = self.columns.of(field) else {
            return world.mark(field, &self.key);
        };
        match column.get(self.slot) {
            CellRef::Absent | CellRef::InRecord => None,
            CellRef::Text(text) => Some(FieldValue::Text(text)),
            CellRef::Integer(ended) if *field == Field::Age => world.age(ended as f64),
            CellRef::Integer(integer) => Some(FieldValue::Number(Number::Integer(integer.into()))),
            CellRef::Float(float) => FieldValue::float(float),
            CellRef::Bool(bool) => Some(FieldValue::truth(bool)),
            CellRef::Key(bytes) => Some(FieldValue::Keys(vec![crate::Digest::from(*bytes).to_string()])),
        }
    }
}

/// The column in which a field stands; `None` if there is none.
fn column(field: &Field) -> Option<String> {
    Some(match field {
        Field::Inputs | Field::Tag | Field::Pinned | Field::Collected | Field::TotalS => return None,
        Field::Param(path) => Field::component(path),
        Field::Metric(path) => format!("metric.{}", path.join(".")),
        Field::Age => Field::Finished.to_string(),
        named => named.to_string(),
    })
}
