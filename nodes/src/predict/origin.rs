//! Where a network comes from: the data that it was trained on, and how their files were read.

use std::collections::BTreeMap;

use flow_cache::{Artifact, Record, Store};
use flow_engine::node::{Input, NodeError};
use flow_learn::data::Samples;
use flow_learn::layers::MapShape;
use serde::de::DeserializeOwned;

use super::judged;
use crate::artifacts::{Dataset, SplitName, TrainedNetwork};
use crate::failure::failure;
use crate::pictures::{Fit, Fitting, MAX_PIXELS, Reading};

/// The data that a network was trained on.
pub(super) struct Origin {
    /// Its data set, unless its outputs were collected.
    data: Option<Input>,
    fit: Fit,
    reading: Reading,
}

/// The network of an entry.
pub(super) fn network(store: &Store, record: &Record) -> Result<TrainedNetwork, NodeError> {
    let named = |what: String| failure(format!("{} ({}): {what}", record.key.short(), record.node));
    let artifact = store.peek(&record.key).map_err(|e| named(e.to_string()))?;
    let artifact = artifact.ok_or_else(|| {
        named("its outputs were collected".into()).with_help("run its workflow again: the network is trained anew")
    })?;
    TrainedNetwork::read(&artifact)
}

/// The record of the data that a network was trained on: the first of its port `data`.
pub(super) fn data_record(store: &Store, record: &Record) -> Result<Option<Record>, NodeError> {
    let is_data = |name: &str| name.starts_with("input.data.") && !name.ends_with(".label");
    let component = record.components.iter().find(|(name, _)| is_data(name));
    let Some(digest) = component.and_then(|(_, value)| value.as_str()) else {
        return Ok(None);
    };
    let parents = parents(store, record)?;
    Ok(parents.into_iter().find(|parent| parent.digest().to_string() == digest))
}

fn parents(store: &Store, record: &Record) -> Result<Vec<Record>, NodeError> {
    let mut parents = Vec::new();
    for key in &record.inputs {
        parents.extend(store.record(key).map_err(failure)?);
    }
    Ok(parents)
}

/// An artifact as nodes read it.
pub(super) fn input(artifact: Artifact) -> Input {
    Input {
        node: String::new(),
        bindings: BTreeMap::new(),
        artifact,
    }
}

impl Origin {
    /// Of an entry that holds a network; and what the user should know.
    pub(super) fn of(store: &Store, record: &Record) -> Result<(Self, Vec<String>), NodeError> {
        let mut notes = Vec::new();
        let data = data_record(store, record)?;
        let source = match &data {
            Some(data) => source_of(store, data)?,
            None => None,
        };
        if source.is_none() {
            notes.push(
                "the cache does not have the record of the data that the network was trained on: files are read as \
                 `fit = \"crop\"` has it"
                    .to_owned(),
            );
        }
        let artifact = match &data {
            Some(data) => store.peek(&data.key).map_err(failure)?,
            None => None,
        };
        let origin = Self {
            data: artifact.map(input),
            fit: param(source.as_ref(), "fit").unwrap_or_default(),
            reading: Reading {
                max_pixels: param(source.as_ref(), "max_pixels").unwrap_or(MAX_PIXELS),
                matte: param(source.as_ref(), "matte").unwrap_or_default(),
            },
        };
        Ok((origin, notes))
    }

    /// How files become what the network takes.
    pub(super) fn fitting(&self, MapShape { h, w, c }: MapShape) -> Fitting {
        Fitting {
            reading: self.reading,
            fit: self.fit,
            size: (h, w),
            channels: c,
        }
    }

    fn read(&self, split: SplitName) -> Result<Option<Dataset>, NodeError> {
        self.data.as_ref().map(|data| Dataset::read(data, &[split])).transpose()
    }

    /// Validation images with their classes, if there are such, of these classes.
    pub(super) fn validation(&self, class_names: &[String]) -> Result<Option<(Samples, Vec<usize>)>, NodeError> {
        let data = self.read(SplitName::Validation)?;
        let data = data.filter(|data| data.class_names == class_names);
        Ok(data.and_then(|data| judged(&data, SplitName::Validation)))
    }

    /// The labelled images that it was trained with.
    pub(super) fn labelled(&self) -> Result<Option<Samples>, NodeError> {
        let data = self.read(SplitName::Train)?;
        data.map(|data| data.with_targets()).transpose()
    }
}

/// The record of the node that read the files which a data set is made of.
fn source_of(store: &Store, data: &Record) -> Result<Option<Record>, NodeError> {
    let mut open = vec![data.clone()];
    while let Some(record) = open.pop() {
        if record.components.get("param.source").is_some() {
            return Ok(Some(record));
        }
        // The first of its inputs is what it is a part of; teachers and the like come later.
        let mut above = parents(store, &record)?;
        above.retain(|parent| ["dataset", "pseudo-label", "concat"].contains(&parent.kind.as_str()));
        open.extend(above.into_iter().rev());
    }
    Ok(None)
}

fn param<T: DeserializeOwned>(record: Option<&Record>, name: &str) -> Option<T> {
    let value = record?.components.get(&format!("param.{name}"))?;
    serde_json::from_value(value.clone()).ok()
}
