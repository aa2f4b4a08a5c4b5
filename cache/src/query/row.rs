//! What a condition is asked of: a record, or the cells of its fields.

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

/// The columns that a query needs. There are few, so that looking through them is faster than any map: it is done for every record.
pub(crate) struct Columns {
    all: Vec<Column>,
    /// Which of them a field stands in.
    places: Vec<(Field, usize)>,
}

impl Columns {
    /// The columns of these fields, each read once; a field that only the record has is left out.
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
pub(super) struct Cells<'a> {
    pub(super) columns: &'a Columns,
    pub(super) slot: usize,
}

impl Cells<'_> {
    /// Whether a column has only the record to tell.
    pub(super) fn is_vague(&self) -> bool {
        self.columns
            .all
            .iter()
            .any(|column| column.get(self.slot) == CellRef::InRecord)
    }
}

impl Row for Cells<'_> {
    fn find(&self, field: &Field, world: &World<'_>) -> Option<Found<'_>> {
        Some(match self.columns.of(field)?.get(self.slot) {
            CellRef::Absent | CellRef::InRecord => return None,
            CellRef::Text(text) => Found::Text(text),
            CellRef::Number(ended) if *field == Field::Age => Found::Number((world.now_ms - ended) / 1e3),
            CellRef::Number(number) => Found::Number(number),
            CellRef::Bool(bool) => truth(bool),
            CellRef::Key(bytes) => Found::Keys(vec![crate::Digest::from(*bytes).to_string()]),
        })
    }
}

/// Whether a field stands in a column.
pub(super) fn has_column(field: &Field) -> bool {
    column(field).is_some()
}

/// The column in which a field stands; `None` if only the record has it.
fn column(field: &Field) -> Option<String> {
    Some(match field {
        Field::Inputs | Field::Tag | Field::Pinned | Field::Collected => return None,
        Field::Param(path) => Field::component(path),
        Field::Metric(path) => format!("metric.{}", path.join(".")),
        Field::Age => Field::Finished.to_string(),
        named => named.to_string(),
    })
}
