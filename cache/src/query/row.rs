//! What a condition is asked of: a record, or the cells of its fields.

use std::collections::HashMap;

use serde_json::Value;

use super::field::Field;
use crate::index::{CellRef, Column};
use crate::marks::Marks;
use crate::record::Record;

/// A field's value in one record.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    Text(&'a str),
    Number(f64),
    Keys(Vec<String>),
    Texts(Vec<String>),
    Json(&'a Value),
}

/// What a condition depends on besides the record.
pub(crate) struct World<'a> {
    /// Milliseconds since 1970, to which ages are counted.
    pub(crate) now_ms: f64,
    /// Pins, tags and what was collected.
    pub(crate) marks: &'a Marks,
}

/// Something that has a record's fields.
pub(super) trait Row {
    /// The field's value; `None` if the record does not have it.
    fn find(&self, field: &Field, world: &World<'_>) -> Option<Found<'_>>;
}

impl Row for Record {
    fn find(&self, field: &Field, world: &World<'_>) -> Option<Found<'_>> {
        Some(match field {
            Field::Kind => Found::Text(&self.kind),
            Field::Node => Found::Text(&self.node),
            Field::Workflow => Found::Text(&self.workflow),
            Field::Key => Found::Keys(vec![self.key.to_string()]),
            Field::Inputs => Found::Keys(self.inputs.iter().map(ToString::to_string).collect()),
            Field::Param(path) => match self.components.get(&Field::component(path))? {
                Value::Null => return None,
                Value::String(text) => Found::Text(text),
                Value::Number(number) => Found::Number(number.as_f64()?),
                other => Found::Json(other),
            },
            Field::Metric(path) => Found::Number(*self.metrics.get(&path.join("."))?),
            Field::WallS => Found::Number(self.cost.wall_s),
            Field::Threads => Found::Number(self.cost.threads.into()),
            Field::Size => Found::Number(self.size() as f64),
            Field::Started => Found::Number(self.started_unix_ms as f64),
            Field::Finished => Found::Number(self.finished_unix_ms as f64),
            Field::Age => Found::Number((world.now_ms - self.finished_unix_ms as f64) / 1e3),
            Field::Tag => Found::Texts(world.marks.tags_of(&self.key).map(str::to_owned).collect()),
            Field::Pinned => truth(world.marks.pins.contains_key(&self.key)),
            Field::Collected => truth(world.marks.collected.contains(&self.key)),
        })
    }
}

fn truth(truth: bool) -> Found<'static> {
    Found::Json(if truth { &Value::Bool(true) } else { &Value::Bool(false) })
}

/// The columns that a query needs, by name.
pub(crate) type Columns = HashMap<String, Column>;

/// One slot of some columns.
pub(super) struct Cells<'a> {
    pub(super) columns: &'a Columns,
    pub(super) slot: usize,
}

impl Cells<'_> {
    /// Whether a column has only the record to tell.
    pub(super) fn is_vague(&self) -> bool {
        self.columns
            .values()
            .any(|column| column.get(self.slot) == CellRef::InRecord)
    }
}

impl Row for Cells<'_> {
    fn find(&self, field: &Field, world: &World<'_>) -> Option<Found<'_>> {
        Some(match self.columns.get(&column(field)?)?.get(self.slot) {
            CellRef::Absent | CellRef::InRecord => return None,
            CellRef::Text(text) => Found::Text(text),
            CellRef::Number(ended) if *field == Field::Age => Found::Number((world.now_ms - ended) / 1e3),
            CellRef::Number(number) => Found::Number(number),
            CellRef::Bool(bool) => truth(bool),
            CellRef::Key(bytes) => Found::Keys(vec![crate::Digest::from(*bytes).to_string()]),
        })
    }
}

/// The column in which a field stands; `None` if only the record has it.
pub(super) fn column(field: &Field) -> Option<String> {
    Some(match field {
        Field::Inputs | Field::Tag | Field::Pinned | Field::Collected => return None,
        Field::Param(path) => Field::component(path),
        Field::Metric(path) => format!("metric.{}", path.join(".")),
        Field::Age => Field::Finished.to_string(),
        named => named.to_string(),
    })
}
