//! A data set as an artifact: images or texts in splits and, where a node selected some, which ones with which targets.
//!
//! Every data set is complete in itself, so whatever takes a data set takes a labelled part or pseudo-labelled images as well.
//! That costs nothing: equal files are one blob in the cache.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use flow_cache::{Artifact, Digest};
use flow_engine::node::{Host, Input, NodeError, Output};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::data::{Annotations, Images, Label, Modality, NetworkInput, Sample, Samples, Tokens, classes_of};
use flow_learn::state::{StateDict, Tensor};
use flow_learn::text::Vocabulary;
use flow_learn::train::Examples;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boxes::{boxes_from, boxes_to_bytes};
use super::large_images::LargeImages;
use super::{Annotated, DatasetFacts, Targets, decoded, from_json, mapped, to_json};
use crate::failure::failure;

const INFO: &str = "dataset.json";
const EXAMPLES: &str = "examples.safetensors";
/// The words of texts, one a line, in the order of their numbers.
const VOCABULARY: &str = "vocabulary.txt";

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitName {
    /// To learn from.
    Train,
    /// Put aside from the training images, to choose settings on.
    Validation,
    /// To judge on, once.
    Test,
}

impl SplitName {
    fn file(self) -> String {
        format!("{self}.images")
    }

    /// What to do where there is no such split.
    pub(crate) fn where_from(self) -> &'static str {
        match self {
            Self::Validation => "`validation = N` in the dataset node holds out some of the training images",
            Self::Train | Self::Test => "take another data set, or another `split`",
        }
    }

    fn masks_file(self) -> String {
        format!("{self}.masks")
    }

    fn soft_file(self) -> String {
        format!("{self}.soft")
    }

    fn boxes_file(self) -> String {
        format!("{self}.boxes.safetensors")
    }
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

fn tensors(bytes: &[u8]) -> Result<StateDict, NodeError> {
    StateDict::from_bytes(bytes).map_err(failure)
}

/// What a data set says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Info {
    name: String,
    class_names: Vec<String>,
    /// What the examples are; images where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    modality: Modality,
    /// Examples of each split.
    splits: BTreeMap<SplitName, usize>,
    /// Whether the examples' targets are a teacher's guesses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    guessed: bool,
    normalisation: Normalisation,
}

fn is_default(modality: &Modality) -> bool {
    *modality == Modality::default()
}

/// What is subtracted from each channel of an image and what it is divided by, values in [0, 1]. It belongs to a network, which is
/// trained and judged with the same: a fresh one takes that of its training data. Empty for texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Of each channel, over all training images.
    pub mean: Vec<f32>,
    /// Standard deviation, likewise.
    pub std: Vec<f32>,
}

impl Normalisation {
    /// An augmenter for examples like `input`, normalised like this.
    ///
    /// # Errors
    /// If the recipe is not for these channels, or for texts.
    pub fn augmenter(&self, recipe: &Recipe, input: NetworkInput) -> Result<Augmenter, NodeError> {
        let NetworkInput { shape, modality } = input;
        match modality {
            Modality::Images => Augmenter::new(recipe, &self.mean, &self.std, shape.h, shape.w).map_err(failure),
            Modality::Texts { .. } if recipe.ops.is_empty() => Ok(Augmenter::texts(shape.h, modality)),
            Modality::Texts { .. } => Err(failure(TEXTS_HAVE_NO_VIEWS)),
        }
    }
}

/// Training images of one data set picked by a node, with a target distribution each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleSet {
    /// Whether the targets are a teacher's guesses, and not labels.
    pub guessed: bool,
    /// Places among the training images, ascending.
    pub indices: Vec<u32>,
    /// `[indices][classes]`, rows sum to one.
    pub targets: Vec<f32>,
}

impl ExampleSet {
    /// Those that have a label, with the one class that they are labelled with.
    pub fn labelled(mut indices: Vec<u32>, labels: &[Label], classes: usize) -> Self {
        indices.retain(|i| labels[*i as usize].is_some());
        let mut targets = vec![0.0; indices.len() * classes];
        for (row, index) in targets.chunks_exact_mut(classes).zip(&indices) {
            labels[*index as usize]
                .iter()
                .for_each(|class| row[usize::from(*class)] = 1.0);
        }
        Self {
            guessed: false,
            indices,
            targets,
        }
    }

    /// The class with the largest target of each.
    pub fn classes(&self) -> Vec<usize> {
        let classes = self.targets.len().checked_div(self.indices.len()).unwrap_or(1).max(1);
        flow_learn::metrics::argmaxes(&self.targets, classes).collect()
    }
}

/// Said where image operations meet texts.
pub(crate) const TEXTS_HAVE_NO_VIEWS: &str =
    "these are texts, which no image operation can change: they are learnt as they are";

/// Said where labels are asked of pseudo-labelled images.
pub(crate) const GUESSES_ARE_NO_LABELS: &str =
    "these are pseudo-labels: a part of them would be chosen by the true labels, which are unknown";

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Of its training images.
    pub normalisation: Normalisation,
    /// The words of texts.
    pub vocabulary: Option<Vocabulary>,
    splits: BTreeMap<SplitName, Samples>,
    /// Where things are in the images of a split, if that is known.
    pub annotations: BTreeMap<SplitName, Annotations>,
    /// The training images that are examples; all of them, with their labels, where no node has selected any.
    pub examples: Option<ExampleSet>,
    /// The large files that it was read from.
    files: LargeImages,
}

impl Dataset {
    /// A data set of images, whose channel statistics are taken from those to train on; of texts if there is a vocabulary. If some images to
    /// train on have no label, the others are its examples.
    pub fn new(
        name: String,
        class_names: Vec<String>,
        splits: BTreeMap<SplitName, Samples>,
        annotations: BTreeMap<SplitName, Annotations>,
        vocabulary: Option<Vocabulary>,
    ) -> Self {
        let train = splits.get(&SplitName::Train).and_then(Samples::images);
        let (mean, std) = train.map(Images::channel_statistics).unwrap_or_default();
        let unlabelled = train.filter(|images| images.labels.contains(&None));
        let labelled =
            |images: &Images| ExampleSet::labelled((0..images.n as u32).collect(), &images.labels, class_names.len());
        let examples = unlabelled.map(labelled);
        Self {
            name,
            class_names,
            normalisation: Normalisation { mean, std },
            vocabulary,
            splits,
            annotations,
            examples,
            files: LargeImages::default(),
        }
    }

    /// What the examples are.
    pub fn modality(&self) -> Modality {
        self.vocabulary.as_ref().map_or(Modality::Images, Vocabulary::modality)
    }

    /// Only the examples of the classes at `places`, which become classes 0, 1, ... in that order. Statistics are those of the training
    /// images that are left; of examples that were labelled, those of these classes stay labelled. With `keep_others` training images of other
    /// classes stay, without a label.
    ///
    /// # Errors
    /// If the examples are a teacher's guesses: which images are kept would be decided by the true labels.
    pub fn of_classes(self, places: &[usize], keep_others: bool) -> Result<Self, NodeError> {
        if self.examples.as_ref().is_some_and(|examples| examples.guessed) {
            return Err(failure(GUESSES_ARE_NO_LABELS));
        }
        // Places are those of labels, which are u16. What has no label may be of any class, and stays.
        let place = |old: u16| {
            places
                .iter()
                .position(|place| *place == usize::from(old))
                .map(|p| p as u16)
        };
        let (mut splits, mut annotations, mut labelled) = (BTreeMap::new(), BTreeMap::new(), None);
        for (name, samples) in &self.splits {
            let foreign = (keep_others && *name == SplitName::Train).then_some(None);
            let new_label = |old: &Label| old.map_or(Some(None), |old| place(old).map(Some).or(foreign));
            let kept: Vec<u32> = (0..samples.n() as u32)
                .filter(|i| new_label(&samples.labels()[*i as usize]).is_some())
                .collect();
            let part = samples.select(&kept);
            let labels = part.labels().iter().filter_map(new_label).collect();
            let part = part.with_labels(labels);
            if let (SplitName::Train, Some(examples)) = (name, &self.examples) {
                let new_index = |old: &u32| kept.binary_search(old).ok().map(|i| i as u32);
                let indices = examples.indices.iter().filter_map(new_index).collect();
                labelled = Some(ExampleSet::labelled(indices, part.labels(), places.len()));
            }
            splits.insert(*name, part);
            if let Some(all) = self.annotations.get(name) {
                annotations.insert(*name, all.select(&kept).with_classes(place));
            }
        }
        let class_names = places.iter().map(|place| self.class_names[*place].clone()).collect();
        let whole = Self::new(self.name, class_names, splits, annotations, self.vocabulary);
        Ok(Self {
            examples: labelled.or(whole.examples.clone()),
            ..whole
        })
    }

    /// Its identity, as far as consumers check it.
    ///
    /// # Errors
    /// If the training images were not read.
    pub fn facts(&self) -> Result<DatasetFacts, NodeError> {
        let train = self.train()?;
        let targets = match &self.examples {
            None => Targets::All,
            Some(examples) if examples.guessed => Targets::Guesses,
            Some(examples) => Targets::Labels(examples.indices.len()),
        };
        Ok(DatasetFacts {
            annotated: self
                .annotations
                .get(&SplitName::Train)
                .map(Annotated::of)
                .unwrap_or_default(),
            input: NetworkInput {
                shape: train.shape(),
                modality: self.modality(),
            },
            class_names: Some(self.class_names.clone()),
            splits: Some(self.splits.iter().map(|(name, images)| (*name, images.n())).collect()),
            targets,
        })
    }

    /// The training images that a node may learn labels from, with these as their labels: all, or those that were selected.
    ///
    /// # Errors
    /// If the training images were not read.
    pub fn with_targets(&self) -> Result<Samples, NodeError> {
        let train = self.train()?;
        let Some(examples) = &self.examples else {
            return Ok(train.clone());
        };
        let labels = examples.classes().iter().map(|class| Some(*class as u16)).collect();
        Ok(train.select(&examples.indices).with_labels(labels))
    }

    /// The digest of a split's examples and labels in the artifact that holds a data set.
    ///
    /// # Errors
    /// If it has no such split.
    pub fn digest_of(input: &Input, split: SplitName) -> Result<Digest, NodeError> {
        let output = input.artifact.summary().outputs.get(split.file().as_str());
        output
            .map(|file| file.digest)
            .ok_or_else(|| failure(format!("BUG: the data set has no {split} split")))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The training images.
    ///
    /// # Errors
    /// If there are none.
    pub fn train(&self) -> Result<&Samples, NodeError> {
        self.split(SplitName::Train)
    }

    /// The images of a split.
    ///
    /// # Errors
    /// If there is no such split.
    pub fn split(&self, name: SplitName) -> Result<&Samples, NodeError> {
        self.splits.get(&name).ok_or_else(|| {
            let noun = self.modality().noun();
            failure(format!("data set `{}` has no {name} {noun}", self.name)).with_help(name.where_from())
        })
    }

    /// The classes of a split that is judged on.
    ///
    /// # Errors
    /// If there is no such split, or an example in it has no label.
    pub fn truth(&self, name: SplitName) -> Result<Vec<usize>, NodeError> {
        classes_of(self.split(name)?.labels()).ok_or_else(|| {
            let noun = self.modality().noun();
            let message = format!("some of the {name} {noun} of data set `{}` have no label", self.name);
            failure(message).with_help("test and validation examples must have labels")
        })
    }

    /// The images that are examples with their targets.
    ///
    /// # Errors
    /// If there are no training images.
    pub fn example_set(&self) -> Result<ExampleSet, NodeError> {
        match &self.examples {
            Some(examples) => Ok(examples.clone()),
            None => {
                let train = self.train()?;
                Ok(ExampleSet::labelled(
                    (0..train.n() as u32).collect(),
                    train.labels(),
                    self.classes(),
                ))
            }
        }
    }

    /// The examples as the training loops take them.
    ///
    /// # Errors
    /// If there are no training images.
    pub fn as_examples<'a>(&'a self, set: &'a ExampleSet) -> Result<Examples<'a>, NodeError> {
        Ok(Examples {
            images: self.train()?,
            indices: &set.indices,
            targets: &set.targets,
        })
    }

    /// As files, of which `host` is given the large ones.
    ///
    /// # Errors
    /// If those cannot be written.
    pub fn into_output(self, host: &dyn Host) -> Result<Output, NodeError> {
        let mut files = self.images(host)?;
        let splits = self.splits.iter().map(|(name, images)| (*name, images.n())).collect();
        let classes = self.classes();
        let info = Info {
            modality: self.modality(),
            name: self.name,
            class_names: self.class_names,
            splits,
            guessed: self.examples.as_ref().is_some_and(|examples| examples.guessed),
            normalisation: self.normalisation,
        };
        files.push((INFO.to_owned(), to_json(&info)));
        if let Some(vocabulary) = &self.vocabulary {
            let lines: String = vocabulary.words().iter().map(|word| format!("{word}\n")).collect();
            files.push((VOCABULARY.to_owned(), lines.into_bytes()));
        }
        for (name, Annotations { objects, .. }) in &self.annotations {
            files.extend(
                objects
                    .as_ref()
                    .map(|objects| (name.boxes_file(), boxes_to_bytes(objects))),
            );
        }
        let mut metrics: BTreeMap<String, f64> = self
            .splits
            .iter()
            .map(|(name, images)| (format!("{name}_{}", info.modality.noun()), images.n() as f64))
            .collect();
        if let Some(examples) = self.examples {
            let n = examples.indices.len();
            metrics.insert("examples".into(), n as f64);
            let mut state = StateDict::default();
            // Exact as floats: an index is below 2^24.
            let indices = examples.indices.iter().map(|i| *i as f32).collect();
            state.tensors.insert(
                "indices".into(),
                Tensor {
                    shape: vec![n],
                    data: indices,
                },
            );
            state.tensors.insert(
                "targets".into(),
                Tensor {
                    shape: vec![n, classes],
                    data: examples.targets,
                },
            );
            files.push((EXAMPLES.to_owned(), state.to_bytes()));
        }
        Ok(Output { files, metrics })
    }

    /// The files of examples and masks that are small; the others are the host's.
    fn images(&self, host: &dyn Host) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let masks: Vec<(String, Samples)> = masks(&self.annotations)
            .map(|(file, masks)| (file, masks.clone().into()))
            .collect();
        let splits = self.splits.iter().map(|(name, samples)| (name.file(), samples));
        let mut small = Vec::new();
        for (name, samples) in splits.chain(masks.iter().map(|(name, masks)| (name.clone(), masks))) {
            match samples.images() {
                Some(images) if LargeImages::are(images) => self.files.write(&name, images, host)?,
                _ => small.push((name, samples.encode())),
            }
        }
        Ok(small)
    }

    /// From files, of which only the splits in `wanted` are read.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input, wanted: &[SplitName]) -> Result<Self, NodeError> {
        let artifact = &input.artifact;
        let info: Info = decoded(artifact, INFO, from_json)?;
        let has = |file: &str| artifact.names().any(|name| name == file);
        let vocabulary = match info.modality {
            Modality::Images => None,
            Modality::Texts { .. } => {
                let words = |bytes: &[u8]| {
                    Ok(std::str::from_utf8(bytes)
                        .map_err(failure)?
                        .lines()
                        .map(str::to_owned)
                        .collect())
                };
                Some(Vocabulary::from_words(decoded(artifact, VOCABULARY, words)?))
            }
        };
        let mut splits = BTreeMap::new();
        let mut annotations = BTreeMap::new();
        for name in wanted.iter().filter(|name| info.splits.contains_key(name)) {
            let samples = match &vocabulary {
                // Pixels stay where they are, so that nodes share one copy of them.
                None => mapped(artifact, &name.file(), |pixels| {
                    Images::decode(pixels).map(Samples::from).map_err(failure)
                })?,
                Some(vocabulary) => decoded(artifact, &name.file(), |bytes| {
                    Tokens::decode(bytes, vocabulary.size())
                        .map(Samples::from)
                        .map_err(failure)
                })?,
            };
            splits.insert(*name, samples);
            if let Some(told) = read_annotations(artifact, *name)? {
                annotations.insert(*name, told);
            }
        }
        let examples = if has(EXAMPLES) {
            let mut state = decoded(artifact, EXAMPLES, tensors)?;
            let mut take = |name: &str| state.tensors.remove(name).map(|t| t.data).unwrap_or_default();
            let indices = take("indices").into_iter().map(|i| i as u32).collect();
            Some(ExampleSet {
                guessed: info.guessed,
                indices,
                targets: take("targets"),
            })
        } else {
            None
        };
        let Info {
            name,
            class_names,
            normalisation,
            ..
        } = info;
        let images = splits
            .iter()
            .filter_map(|(name, all)| Some((name.file(), all.images()?)));
        let files = LargeImages::of(artifact, images.chain(masks(&annotations)));
        let data = Self {
            name,
            class_names,
            normalisation,
            vocabulary,
            splits,
            annotations,
            examples,
            files,
        };
        data.check().map_err(|what| {
            failure(format!(
                "the files of `{}` do not go together: {what}",
                artifact.summary().node
            ))
            .with_help("`flow cache verify` checks the store, and `--force` runs the node again")
        })?;
        Ok(data)
    }

    /// Whether what was read from several files holds together: places, labels and targets index each other later.
    fn check(&self) -> Result<(), String> {
        let require = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let classes = self.classes();
        let Normalisation { mean, std } = &self.normalisation;
        let fits =
            mean.len() == std.len() && mean.iter().chain(std).all(|v| v.is_finite()) && std.iter().all(|s| *s >= 0.0);
        require(fits, "its normalisation lacks a mean or a deviation for each channel")?;
        for (name, samples) in &self.splits {
            let known = samples
                .labels()
                .iter()
                .flatten()
                .all(|label| usize::from(*label) < classes);
            require(known, "a label is not one of its classes")?;
            let channels = samples.images().map(|images| images.channels);
            require(
                channels.is_none_or(|c| c == mean.len()),
                "its normalisation has other channels than its images",
            )?;
            let size = [samples.shape().h, samples.shape().w];
            let annotations = self.annotations.get(name);
            annotations
                .and_then(|all| all.fault(samples.n(), size, classes))
                .map_or(Ok(()), Err)?;
        }
        let Some(examples) = &self.examples else { return Ok(()) };
        let targets = &examples.targets;
        let fits = examples.indices.len().checked_mul(classes) == Some(targets.len());
        require(fits, "it lacks a target for each example and class")?;
        require(
            targets.iter().all(|t| (0.0..=1.0).contains(t)),
            "a target is not between 0 and 1",
        )?;
        let train = self.splits.get(&SplitName::Train);
        let there = |i: &u32| train.is_none_or(|train| (*i as usize) < train.n());
        require(
            examples.indices.iter().all(there),
            "an example is not one of its images",
        )
    }
}

/// The places of the images, of the data set at one port, that are not, pixel for pixel, examples of the data set at another: places in one set mean nothing in another.
///
/// # Errors
/// If none of the other's examples is among the images: then it is a part of something else.
pub(crate) fn without(images: (&str, &Samples), other: (&str, &Dataset)) -> Result<Vec<u32>, NodeError> {
    let ((port, images), (other_port, other)) = (images, other);
    let (theirs, examples) = (other.train()?, other.example_set()?);
    let left_out: HashSet<Sample<'_>> = examples.indices.iter().map(|i| theirs.get(*i as usize)).collect();
    let kept: Vec<u32> = (0..images.n() as u32)
        .filter(|i| !left_out.contains(&images.get(*i as usize)))
        .collect();
    if kept.len() == images.n() && !left_out.is_empty() {
        let message = format!("none of the examples of `{other_port}` is among the images of `{port}`");
        return Err(failure(message).with_help(format!("`{other_port}` must be a part of the data set `{port}`")));
    }
    Ok(kept)
}

/// Masks and soft masks with their files.
fn masks(annotations: &BTreeMap<SplitName, Annotations>) -> impl Iterator<Item = (String, &Images)> {
    annotations.iter().flat_map(|(name, all)| {
        let parts = [(name.masks_file(), &all.masks), (name.soft_file(), &all.soft)];
        parts
            .into_iter()
            .filter_map(|(file, part)| Some((file, part.as_ref()?)))
    })
}

/// What is told of the images of a split; `None` if nothing is.
fn read_annotations(artifact: &Artifact, split: SplitName) -> Result<Option<Annotations>, NodeError> {
    let has = |file: &str| artifact.names().any(|name| name == file);
    let images = |file: String| {
        let read = || mapped(artifact, &file, |pixels| Images::decode(pixels).map_err(failure));
        has(&file).then(read).transpose()
    };
    let (masks, soft) = (images(split.masks_file())?, images(split.soft_file())?);
    let objects =
        has(&split.boxes_file()).then(|| decoded(artifact, &split.boxes_file(), |bytes| boxes_from(&tensors(bytes)?)));
    let objects = objects.transpose()?;
    Ok((masks.is_some() || objects.is_some()).then_some(Annotations { masks, soft, objects }))
}
