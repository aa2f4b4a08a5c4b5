//! The records by column: a query reads the few fields that it names, and not every record.
//!
//! Each indexed record has a slot, a number that is never given to another. The tree `slots` maps a key to its slot; the tree
//! `columns` maps a field's name, a zero byte and the number of a chunk (u32 BE) to the cells of [`CHUNK`] slots, as
//! `[checksum 8][postcard]`. A slot whose record is gone has no key; its other cells stay behind and mean nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{IndexError, checksum, guarded};
use crate::expr::Number;
use crate::key::ActionKey;
use crate::record::Record;

/// So many slots share an entry.
const CHUNK: usize = 512;
/// Texts longer than this are looked up in the record.
const LONG_TEXT: usize = 200;
/// Records that are put into columns together.
const BATCH: usize = 4096;
/// How many slots were given out, u32 LE; in the tree `slots`, where no key is that short.
const GIVEN: &[u8] = b"given";

/// The name of the column of keys.
pub(crate) const KEY: &str = "key";

/// A field's value in one record, to be put in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cell {
    /// The record does not have the field.
    Absent,
    Integer(i64),
    Float(f64),
    Text(String),
    Bool(bool),
    Key([u8; 32]),
    /// It has, but the value is long or has parts: only the record tells.
    InRecord,
}

/// Every field of a record that has a column, with its cell.
fn cells(record: &Record) -> Vec<(String, Cell)> {
    let mut cells: Vec<(String, Cell)> = vec![
        (KEY.into(), Cell::Key(*record.key.digest().as_bytes())),
        ("kind".into(), text(&record.kind)),
        ("node".into(), text(&record.node)),
        ("workflow".into(), text(&record.workflow)),
        ("cost.wall_s".into(), Cell::Float(record.cost.wall_s)),
        ("cost.threads".into(), integer(record.cost.threads)),
        ("size".into(), integer(record.size())),
        ("started".into(), integer(record.started_unix_ms)),
        ("finished".into(), integer(record.finished_unix_ms)),
    ];
    let params = record.components.iter().filter(|(name, _)| name.starts_with("param."));
    cells.extend(params.map(|(name, value)| (name.to_owned(), cell(value))));
    let metrics = record.metrics.iter();
    cells.extend(metrics.map(|(name, value)| (format!("metric.{name}"), Cell::Float(*value))));
    cells
}

fn text(text: &str) -> Cell {
    if text.len() > LONG_TEXT {
        Cell::InRecord
    } else {
        Cell::Text(text.to_owned())
    }
}

/// An integer that is too large for a cell is looked up in the record.
fn integer(integer: impl TryInto<i64>) -> Cell {
    integer.try_into().map_or(Cell::InRecord, Cell::Integer)
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Absent,
        Value::Bool(bool) => Cell::Bool(*bool),
        Value::String(string) => text(string),
        Value::Number(number) => match Number::from(number) {
            Number::Integer(whole) => integer(whole),
            Number::Float(float) => Cell::Float(float),
        },
        Value::Array(_) | Value::Object(_) => Cell::InRecord,
    }
}

/// The columns of an open index.
pub(crate) struct Columns {
    slots: sled::Tree,
    cells: sled::Tree,
    given: u32,
}

impl Columns {
    pub(super) fn open(db: &sled::Db) -> sled::Result<Self> {
        let slots = db.open_tree("slots")?;
        let given = slots.get(GIVEN)?.and_then(|bytes| bytes.as_ref().try_into().ok());
        Ok(Self {
            given: given.map_or(0, u32::from_le_bytes),
            cells: db.open_tree("columns")?,
            slots,
        })
    }

    /// Puts records in, in the place of earlier ones of the same keys.
    pub(super) fn put(&mut self, records: &[Record]) -> Result<(), IndexError> {
        let keys: Vec<ActionKey> = records.iter().map(|record| record.key).collect();
        self.remove(&keys)?;
        for batch in records.chunks(BATCH) {
            let mut changes = Changes::default();
            let mut slots = sled::Batch::default();
            for record in batch {
                for (name, cell) in cells(record) {
                    changes.set(&name, self.given as usize, cell);
                }
                slots.insert(&record.key.digest().as_bytes()[..], &self.given.to_le_bytes());
                self.given += 1;
            }
            slots.insert(GIVEN, &self.given.to_le_bytes());
            // Slots last: a crash before that leaves slots that no key leads to, which count for nothing.
            self.apply(changes)?;
            guarded(|| self.slots.apply_batch(slots))?;
        }
        Ok(())
    }

    /// Takes the records of these keys out.
    pub(super) fn remove(&mut self, keys: &[ActionKey]) -> Result<(), IndexError> {
        let mut changes = Changes::default();
        let mut slots = sled::Batch::default();
        for key in keys {
            if let Some(slot) = self.slot(key)? {
                changes.set(KEY, slot, Cell::Absent);
                slots.remove(&key.digest().as_bytes()[..]);
            }
        }
        self.apply(changes)?;
        guarded(|| self.slots.apply_batch(slots))
    }

    /// The slot of a key.
    pub(super) fn slot(&self, key: &ActionKey) -> Result<Option<usize>, IndexError> {
        let found = guarded(|| self.slots.get(key.digest().as_bytes()))?;
        let slot = found
            .and_then(|bytes| bytes.as_ref().try_into().ok())
            .map(u32::from_le_bytes);
        Ok(slot.map(|slot| slot as usize))
    }

    /// A whole column.
    pub(super) fn read(&self, name: &str) -> Result<Column, IndexError> {
        let prefix = [name.as_bytes(), &[0]].concat();
        let found: Vec<(sled::IVec, sled::IVec)> = guarded(|| self.cells.scan_prefix(&prefix).collect())?;
        let mut chunks: Vec<Chunk> = Vec::new();
        for (key, chunk) in &found {
            let number = key[prefix.len()..].try_into().map(u32::from_be_bytes);
            let number = number.map_err(|_| broken("a column's name is truncated"))? as usize;
            chunks.resize_with(number.max(chunks.len()), Chunk::default);
            chunks.push(decode(chunk)?);
        }
        Ok(Column { chunks })
    }

    /// How many slots were given out.
    pub(super) fn slots(&self) -> usize {
        self.given as usize
    }

    fn apply(&self, changes: Changes) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for ((name, chunk), cells) in changes.0 {
            let key = [name.as_bytes(), &[0], &chunk.to_be_bytes()].concat();
            let known = guarded(|| self.cells.get(&key))?;
            let mut all = known.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes).map(Chunk::into_cells))?;
            for (place, cell) in cells {
                if all.len() <= place {
                    all.resize(place + 1, Cell::Absent);
                }
                all[place] = cell;
            }
            batch.insert(key, encode(&Chunk::from_cells(all))?);
        }
        guarded(|| self.cells.apply_batch(batch))
    }
}

/// Cells to be set, by column and chunk.
#[derive(Default)]
struct Changes(BTreeMap<(String, u32), Vec<(usize, Cell)>>);

impl Changes {
    fn set(&mut self, column: &str, slot: usize, cell: Cell) {
        let chunk = u32::try_from(slot / CHUNK).unwrap_or(u32::MAX);
        self.0
            .entry((column.to_owned(), chunk))
            .or_default()
            .push((slot % CHUNK, cell));
    }
}

fn encode(cells: &Chunk) -> Result<Vec<u8>, IndexError> {
    let body = postcard::to_stdvec(cells).map_err(|error| broken(&error.to_string()))?;
    Ok([&checksum(&body)[..], &body].concat())
}

fn decode(bytes: &[u8]) -> Result<Chunk, IndexError> {
    let whole = bytes.split_at_checked(8).filter(|(sum, body)| checksum(body) == *sum);
    let (_, body) = whole.ok_or_else(|| broken("a column's checksum does not match"))?;
    postcard::from_bytes(body).map_err(|error| broken(&error.to_string()))
}

/// The cells of some slots, written as shortly as they allow: what was not written is absent.
#[derive(Serialize, Deserialize)]
enum Chunk {
    /// So many times the same.
    Same(Cell, usize),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Keys(Vec<[u8; 32]>),
    /// All texts in one, and where each ends.
    Texts(String, Vec<usize>),
    Mixed(Vec<Cell>),
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Same(Cell::Absent, 0)
    }
}

impl Chunk {
    fn from_cells(cells: Vec<Cell>) -> Self {
        let first = cells.first().unwrap_or(&Cell::Absent);
        if cells.iter().all(|cell| cell == first) {
            return Self::Same(first.clone(), cells.len());
        }
        let integers = cells.iter().map(|cell| match cell {
            Cell::Integer(integer) => Some(*integer),
            _ => None,
        });
        if let Some(integers) = integers.collect() {
            return Self::Integers(integers);
        }
        let floats = cells.iter().map(|cell| match cell {
            Cell::Float(float) => Some(*float),
            _ => None,
        });
        if let Some(floats) = floats.collect() {
            return Self::Floats(floats);
        }
        let keys = cells.iter().map(|cell| match cell {
            Cell::Key(key) => Some(*key),
            _ => None,
        });
        if let Some(keys) = keys.collect() {
            return Self::Keys(keys);
        }
        let mut all = String::new();
        let ends = cells.iter().map(|cell| match cell {
            Cell::Text(text) => {
                all.push_str(text);
                Some(all.len())
            }
            _ => None,
        });
        match ends.collect() {
            Some(ends) => Self::Texts(all, ends),
            None => Self::Mixed(cells),
        }
    }

    fn into_cells(self) -> Vec<Cell> {
        match self {
            Self::Same(cell, count) => vec![cell; count],
            Self::Integers(integers) => integers.into_iter().map(Cell::Integer).collect(),
            Self::Floats(floats) => floats.into_iter().map(Cell::Float).collect(),
            Self::Keys(keys) => keys.into_iter().map(Cell::Key).collect(),
            Self::Mixed(cells) => cells,
            Self::Texts(all, ends) => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let texts = starts
                    .zip(&ends)
                    .map(|(start, end)| all.get(start..*end).unwrap_or_default());
                texts.map(|text| Cell::Text(text.to_owned())).collect()
            }
        }
    }

    fn get(&self, place: usize) -> CellRef<'_> {
        let found = match self {
            Self::Same(cell, count) => (place < *count).then(|| cell.into()),
            Self::Integers(integers) => integers.get(place).map(|integer| CellRef::Integer(*integer)),
            Self::Floats(floats) => floats.get(place).map(|float| CellRef::Float(*float)),
            Self::Keys(keys) => keys.get(place).map(CellRef::Key),
            Self::Mixed(cells) => cells.get(place).map(Into::into),
            Self::Texts(all, ends) => {
                let start = if place == 0 {
                    Some(0)
                } else {
                    ends.get(place - 1).copied()
                };
                let text = start.zip(ends.get(place)).and_then(|(start, end)| all.get(start..*end));
                text.map(CellRef::Text)
            }
        };
        found.unwrap_or(CellRef::Absent)
    }
}

/// A whole column, read.
pub(crate) struct Column {
    chunks: Vec<Chunk>,
}

impl Column {
    /// The cell of a slot.
    pub(crate) fn get(&self, slot: usize) -> CellRef<'_> {
        self.chunks
            .get(slot / CHUNK)
            .map_or(CellRef::Absent, |chunk| chunk.get(slot % CHUNK))
    }
}

/// A [`Cell`], looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CellRef<'a> {
    Absent,
    Integer(i64),
    Float(f64),
    Text(&'a str),
    Bool(bool),
    Key(&'a [u8; 32]),
    InRecord,
}

impl<'a> From<&'a Cell> for CellRef<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Absent => Self::Absent,
            Cell::Integer(integer) => Self::Integer(*integer),
            Cell::Float(float) => Self::Float(*float),
            Cell::Text(text) => Self::Text(text),
            Cell::Bool(bool) => Self::Bool(*bool),
            Cell::Key(key) => Self::Key(key),
            Cell::InRecord => Self::InRecord,
        }
    }
}

fn broken(why: &str) -> IndexError {
    IndexError::Broken(why.to_owned())
}
