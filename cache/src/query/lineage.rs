//! What a record has from those that it was made from: their parameters, and what all of them took.
//!
//! A parameter that an entry does not have itself is that of the nearest entries that it was made from; those at the same
//! distance may differ, and then it has several values. Records are read only where a query cannot do without them, each once.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::field::Field;
use super::row::{Cells, FieldValue, Row, World};
use crate::key::ActionKey;
use crate::record::Record;

/// A record that may be selected.
#[expect(
    clippy::large_enum_variant,
    reason = "most are cells; one that is read is used at once"
)]
pub(crate) enum Candidate<'a> {
    /// Known by its cells.
    Cells(Cells<'a>),
    /// Read; with what it has from others, once that was asked for.
    Whole(Cow<'a, Record>, Option<Inherited>),
}

/// Fields of a record that are not its own.
#[derive(Default)]
pub(crate) struct Inherited {
    params: Vec<(Field, Vec<Value>)>,
    total_s: Option<f64>,
}

impl<'a> From<Cells<'a>> for Candidate<'a> {
    fn from(cells: Cells<'a>) -> Self {
        Self::Cells(cells)
    }
}

impl<'a> From<&'a Record> for Candidate<'a> {
    fn from(record: &'a Record) -> Self {
        Self::Whole(Cow::Borrowed(record), None)
    }
}

impl Candidate<'_> {
    /// Whether more could be found out about any of these fields.
    pub(super) fn lacks_any(&self, fields: &[&Field]) -> bool {
        fields.iter().any(|field| match self {
            Self::Cells(cells) => cells.lacks(field),
            Self::Whole(_, Some(_)) => false,
            Self::Whole(record, None) => match field {
                Field::Param(_) => record.own(field).is_none(),
                field => **field == Field::TotalS,
            },
        })
    }

    /// The same with all that can be found out; `None` if it has no record any more.
    pub(super) fn complete<E>(self, lineage: &mut Lineage<'_, E>) -> Result<Option<Self>, E> {
        let record = match self {
            Self::Whole(record, _) => record,
            Self::Cells(cells) => match (lineage.load)(&cells.key)? {
                Some(record) => Cow::Owned(record),
                None => return Ok(None),
            },
        };
        let inherited = lineage.of(&record)?;
        Ok(Some(Self::Whole(record, Some(inherited))))
    }
}

impl Row for Candidate<'_> {
    fn key(&self) -> &ActionKey {
        match self {
            Self::Cells(cells) => &cells.key,
            Self::Whole(record, _) => &record.key,
        }
    }

    fn find(&self, field: &Field, world: &World<'_>) -> Option<FieldValue<'_>> {
        let (record, inherited) = match self {
            Self::Cells(cells) => return cells.find(field, world),
            Self::Whole(record, inherited) => (record, inherited.as_ref()),
        };
        record.find(field, world).or_else(|| match field {
            Field::TotalS => FieldValue::float(inherited?.total_s?),
            _ => {
                let (_, values) = inherited?.params.iter().find(|(known, _)| known == field)?;
                Some(FieldValue::Any(values))
            }
        })
    }
}

impl Record {
    /// The value of a parameter that the record has itself.
    fn own(&self, field: &Field) -> Option<&Value> {
        let Field::Param(path) = field else { return None };
        self.components
            .get(&Field::component(path))
            .filter(|value| !value.is_null())
    }
}

/// Reads the records that others were made from.
pub(super) struct Lineage<'l, E> {
    params: Vec<&'l Field>,
    total: bool,
    load: &'l mut dyn FnMut(&ActionKey) -> Result<Option<Record>, E>,
    /// What is needed of those that were read; `None` if there is no record.
    read: HashMap<ActionKey, Option<Ancestor>>,
}

struct Ancestor {
    inputs: Vec<ActionKey>,
    wall_s: f64,
    /// One for each of [`Lineage::params`].
    params: Vec<Option<Value>>,
}

impl<'l, E> Lineage<'l, E> {
    /// For a query that names these fields.
    pub(super) fn new(
        fields: impl Iterator<Item = &'l Field>,
        load: &'l mut dyn FnMut(&ActionKey) -> Result<Option<Record>, E>,
    ) -> Self {
        let fields: Vec<&Field> = fields.collect();
        let params = fields.iter().copied().filter(|field| matches!(field, Field::Param(_)));
        Self {
            params: params.collect(),
            total: fields.contains(&&Field::TotalS),
            load,
            read: HashMap::new(),
        }
    }

    /// What a record has from others, the nearest first.
    fn of(&mut self, record: &Record) -> Result<Inherited, E> {
        let mut inherited = Inherited::default();
        let mut total_s = Some(record.cost.wall_s);
        let mut missing: Vec<usize> = (0..self.params.len())
            .filter(|param| record.own(self.params[*param]).is_none())
            .collect();
        let mut seen = HashSet::from([record.key]);
        let mut level: Vec<ActionKey> = record.inputs.clone();
        while !level.is_empty() && (self.total || !missing.is_empty()) {
            let mut found: Vec<Vec<Value>> = vec![Vec::new(); self.params.len()];
            let mut next = Vec::new();
            for key in level {
                if !seen.insert(key) {
                    continue;
                }
                let Some(ancestor) = self.ancestor(&key)? else {
                    total_s = None;
                    continue;
                };
                total_s = total_s.map(|total| total + ancestor.wall_s);
                next.extend(&ancestor.inputs);
                for param in &missing {
                    let new = ancestor.params[*param]
                        .iter()
                        .find(|value| !found[*param].contains(value));
                    found[*param].extend(new.cloned());
                }
            }
            missing.retain(|param| found[*param].is_empty());
            let found = self.params.iter().zip(found).filter(|(_, values)| !values.is_empty());
            inherited
                .params
                .extend(found.map(|(field, values)| ((*field).clone(), values)));
            level = next;
        }
        inherited.total_s = total_s.filter(|_| self.total);
        Ok(inherited)
    }

    fn ancestor(&mut self, key: &ActionKey) -> Result<Option<&Ancestor>, E> {
        if !self.read.contains_key(key) {
            let ancestor = (self.load)(key)?.map(|record| Ancestor {
                params: self.params.iter().map(|param| record.own(param).cloned()).collect(),
                wall_s: record.cost.wall_s,
                inputs: record.inputs,
            });
            self.read.insert(*key, ancestor);
        }
        Ok(self.read[key].as_ref())
    }
}
