//! A data set as an artifact: images or texts in splits and, where a node selected some, which ones with which targets.
//!
//! Every data set is complete in itself, so whatever takes a data set takes a labelled part or pseudo-labelled images as well.
//! That costs nothing: equal files are one blob in the cache.

use std::collections::BTreeMap;
use std::fmt;

use flow_engine::node::{Facts, Input, NodeError, Output};
use flow_learn::augment::Augmenter;
use flow_learn::augment::Recipe;
use flow_learn::data::{Annotations, Images, Modality, NetworkInput};
use flow_learn::layers::MapShape;
use flow_learn::state::{StateDict, Tensor};
use flow_learn::text::Vocabulary;
use flow_learn::train::Examples;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{from_json, to_json};
use crate::failure::failure;

const INFO: &str = "dataset.json";
const EXAMPLES: &str = "examples.safetensors";
/// The words of texts, one a line, in the order of their numbers.
const VOCABULARY: &str = "vocabulary.txt";

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    fn masks_file(self) -> String {
        format!("{self}.masks")
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
    /// Per channel, over all training images.
    mean: Vec<f32>,
    std: Vec<f32>,
}

fn is_default(modality: &Modality) -> bool {
    *modality == Modality::default()
}

/// Training images picked by a node, with a target distribution each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleSet {
    /// Places among the training images, ascending.
    pub indices: Vec<u32>,
    /// `[indices][classes]`, rows sum to one.
    pub targets: Vec<f32>,
}

impl ExampleSet {
    /// All with the one class that they are labelled with.
    pub fn labelled(indices: Vec<u32>, labels: &[u16], classes: usize) -> Self {
        let mut targets = vec![0.0; indices.len() * classes];
        for (row, index) in targets.chunks_exact_mut(classes).zip(&indices) {
            row[usize::from(labels[*index as usize])] = 1.0;
        }
        Self { indices, targets }
    }

    /// The class with the largest target of each.
    pub fn classes(&self) -> Vec<usize> {
        let classes = self.targets.len().checked_div(self.indices.len()).unwrap_or(1).max(1);
        self.targets
            .chunks_exact(classes)
            .map(flow_learn::metrics::argmax)
            .collect()
    }
}

/// Said where image operations meet texts.
pub(crate) const TEXTS_HAVE_NO_VIEWS: &str =
    "these are texts, which no image operation can change: they are learnt as they are";

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Mean of each channel over all training images, in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// The words of texts.
    pub vocabulary: Option<Vocabulary>,
    splits: BTreeMap<SplitName, Images>,
    /// Where things are in the images of a split, if that is known.
    pub annotations: BTreeMap<SplitName, Annotations>,
    /// The training images that are examples; all of them, with their labels, where no node has selected any.
    pub examples: Option<ExampleSet>,
}

impl Dataset {
    /// A data set whose channel statistics are taken from its training images.
    pub fn new(
        name: String,
        class_names: Vec<String>,
        splits: BTreeMap<SplitName, Images>,
        annotations: BTreeMap<SplitName, Annotations>,
    ) -> Self {
        let (mean, std) = splits
            .get(&SplitName::Train)
            .map(Images::channel_statistics)
            .unwrap_or_default();
        Self {
            name,
            class_names,
            mean,
            std,
            vocabulary: None,
            splits,
            annotations,
            examples: None,
        }
    }

    /// A data set of encoded texts.
    pub fn texts(
        name: String,
        class_names: Vec<String>,
        splits: BTreeMap<SplitName, Images>,
        vocabulary: Vocabulary,
    ) -> Self {
        Self {
            name,
            class_names,
            mean: Vec::new(),
            std: Vec::new(),
            vocabulary: Some(vocabulary),
            splits,
            annotations: BTreeMap::new(),
            examples: None,
        }
    }

    /// What the examples are.
    pub fn modality(&self) -> Modality {
        self.vocabulary.as_ref().map_or(Modality::Images, Vocabulary::modality)
    }

    /// Only the examples of the classes at `places`, which become classes 0, 1, ... in that order. Statistics are those of the training
    /// images that are left; examples that were selected are dropped.
    #[must_use]
    pub fn of_classes(self, places: &[usize]) -> Self {
        let new_label = |old: &u16| places.iter().position(|place| *place == usize::from(*old));
        let (mut splits, mut annotations) = (BTreeMap::new(), BTreeMap::new());
        for (name, images) in &self.splits {
            let kept: Vec<u32> = (0..images.n as u32)
                .filter(|i| new_label(&images.labels[*i as usize]).is_some())
                .collect();
            let mut part = images.select(&kept);
            // Places are those of labels, which are u16.
            part.labels = part.labels.iter().filter_map(new_label).map(|l| l as u16).collect();
            splits.insert(*name, part);
            if let Some(all) = self.annotations.get(name) {
                annotations.insert(*name, all.select(&kept));
            }
        }
        let class_names = places.iter().map(|place| self.class_names[*place].clone()).collect();
        match self.vocabulary {
            Some(vocabulary) => Self::texts(self.name, class_names, splits, vocabulary),
            None => Self::new(self.name, class_names, splits, annotations),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The training images.
    pub fn train(&self) -> Result<&Images, NodeError> {
        self.split(SplitName::Train)
    }

    /// The images of a split.
    pub fn split(&self, name: SplitName) -> Result<&Images, NodeError> {
        self.splits.get(&name).ok_or_else(|| {
            NodeError::failed(format!(
                "data set `{}` has no {name} {}",
                self.name,
                self.modality().noun()
            ))
            .with_help("`validation = N` in the dataset node puts some of the training images aside")
        })
    }

    /// The images that are examples with their targets.
    pub fn example_set(&self) -> Result<ExampleSet, NodeError> {
        match &self.examples {
            Some(examples) => Ok(examples.clone()),
            None => {
                let train = self.train()?;
                Ok(ExampleSet::labelled(
                    (0..train.n as u32).collect(),
                    &train.labels,
                    self.classes(),
                ))
            }
        }
    }

    /// The examples as the training loops take them.
    pub fn as_examples<'a>(&'a self, set: &'a ExampleSet) -> Result<Examples<'a>, NodeError> {
        Ok(Examples {
            images: self.train()?,
            indices: &set.indices,
            targets: &set.targets,
        })
    }

    /// An augmenter for these images.
    pub fn augmenter(&self, recipe: &Recipe) -> Result<Augmenter, NodeError> {
        let train = self.train()?;
        match self.modality() {
            Modality::Images => {}
            modality if recipe.ops.is_empty() => return Ok(Augmenter::texts(train.height, modality)),
            Modality::Texts { .. } => return Err(failure(TEXTS_HAVE_NO_VIEWS)),
        }
        Augmenter::new(recipe, &self.mean, &self.std, train.height, train.width).map_err(failure)
    }

    /// As files.
    pub fn into_output(self) -> Output {
        let splits = self.splits.iter().map(|(name, images)| (*name, images.n)).collect();
        let classes = self.classes();
        let info = Info {
            modality: self.modality(),
            name: self.name,
            class_names: self.class_names,
            splits,
            mean: self.mean,
            std: self.std,
        };
        let mut files = vec![(INFO.to_owned(), to_json(&info))];
        files.extend(self.splits.iter().map(|(name, images)| (name.file(), images.encode())));
        if let Some(vocabulary) = &self.vocabulary {
            let lines: String = vocabulary.words().iter().map(|word| format!("{word}\n")).collect();
            files.push((VOCABULARY.to_owned(), lines.into_bytes()));
        }
        for (name, annotations) in &self.annotations {
            files.push((name.masks_file(), annotations.masks.encode()));
            let mut state = StateDict::default();
            let bounds = Tensor {
                shape: vec![annotations.bounds.len(), 4],
                data: annotations.bounds.concat(),
            };
            state.tensors.insert("bounds".into(), bounds);
            files.push((name.boxes_file(), state.to_bytes()));
        }
        let mut metrics: BTreeMap<String, f64> = self
            .splits
            .iter()
            .map(|(name, images)| (format!("{name}_{}", info.modality.noun()), images.n as f64))
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
        Output { files, metrics }
    }

    /// From files, of which only the splits in `wanted` are read.
    pub fn read(input: &Input, wanted: &[SplitName]) -> Result<Self, NodeError> {
        let info: Info = from_json(&input.read(INFO)?, "a data set")?;
        let has = |file: &str| input.artifact.names().any(|name| name == file);
        let mut splits = BTreeMap::new();
        let mut annotations = BTreeMap::new();
        for name in wanted.iter().filter(|name| info.splits.contains_key(name)) {
            splits.insert(*name, Images::decode(&input.read(&name.file())?).map_err(failure)?);
            if has(&name.masks_file()) {
                let masks = Images::decode(&input.read(&name.masks_file())?).map_err(failure)?;
                let boxes = StateDict::from_bytes(&input.read(&name.boxes_file())?).map_err(failure)?;
                let bounds = boxes
                    .tensors
                    .get("bounds")
                    .map_or(vec![], |t| t.data.as_chunks::<4>().0.to_vec());
                annotations.insert(*name, Annotations { masks, bounds });
            }
        }
        let examples = if has(EXAMPLES) {
            let mut state = StateDict::from_bytes(&input.read(EXAMPLES)?).map_err(failure)?;
            let mut take = |name: &str| state.tensors.remove(name).map(|t| t.data).unwrap_or_default();
            let indices = take("indices").into_iter().map(|i| i as u32).collect();
            Some(ExampleSet {
                indices,
                targets: take("targets"),
            })
        } else {
            None
        };
        let vocabulary = match info.modality {
            Modality::Images => None,
            Modality::Texts { .. } => {
                let lines = String::from_utf8(input.read(VOCABULARY)?).map_err(failure)?;
                Some(Vocabulary::from_words(lines.lines().map(str::to_owned).collect()))
            }
        };
        let Info {
            name,
            class_names,
            mean,
            std,
            ..
        } = info;
        Ok(Self {
            name,
            class_names,
            mean,
            std,
            vocabulary,
            splits,
            annotations,
            examples,
        })
    }
}

/// The facts that a data set's consumers check against.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetFacts {
    /// Image height, width and channels.
    pub image: [usize; 3],
    /// What the examples are.
    pub modality: Modality,
    /// Number of classes, where that is known without reading a file.
    pub classes: Option<usize>,
    /// Their names, where they are known before the files are read; otherwise empty.
    pub class_names: Vec<String>,
    /// Examples of each split that there is, likewise; of a part by classes, those of all classes.
    pub splits: Option<BTreeMap<SplitName, usize>>,
    /// Labelled examples, where a node has selected some.
    pub labels: Option<usize>,
}

impl DatasetFacts {
    /// As the engine passes them on.
    pub fn to_facts(&self) -> Facts {
        let mut facts = input_facts(self.input());
        if let Some(classes) = self.classes {
            facts.insert("classes".into(), json!(classes));
        }
        if let Some(splits) = &self.splits {
            facts.insert("splits".into(), json!(splits));
        }
        facts.insert("class_names".into(), json!(self.class_names));
        if let Some(labels) = self.labels {
            facts.insert("labels".into(), json!(labels));
        }
        facts
    }

    /// What the engine passed on, where it was known.
    pub fn of(facts: &Facts) -> Option<Self> {
        let get = |key: &str| facts.get(key).cloned();
        let NetworkInput { shape, modality } = input_of(facts)?;
        Some(Self {
            image: [shape.h, shape.w, shape.c],
            modality,
            classes: get("classes").and_then(|v| serde_json::from_value(v).ok()),
            class_names: get("class_names")
                .and_then(|v| serde_json::from_value(v).ok())
                .unwrap_or_default(),
            splits: get("splits").and_then(|v| serde_json::from_value(v).ok()),
            labels: get("labels").and_then(|v| serde_json::from_value(v).ok()),
        })
    }

    /// What a network takes of it.
    pub fn input(&self) -> NetworkInput {
        let [h, w, c] = self.image;
        NetworkInput {
            shape: MapShape { h, w, c },
            modality: self.modality,
        }
    }

    /// Examples of a split, if that is known.
    pub fn count(&self, split: SplitName) -> Option<usize> {
        let splits = self.splits.as_ref()?;
        Some(splits.get(&split).copied().unwrap_or(0))
    }
}

/// What examples, or the inputs of a network, are, as the engine passes it on.
pub(crate) fn input_facts(NetworkInput { shape, modality }: NetworkInput) -> Facts {
    let mut facts = Facts::from([("image".to_owned(), json!([shape.h, shape.w, shape.c]))]);
    if modality.is_text() {
        facts.insert("modality".into(), json!(modality));
    }
    facts
}

/// The reverse of [`input_facts`], where it was known.
pub(crate) fn input_of(facts: &Facts) -> Option<NetworkInput> {
    let [h, w, c] = serde_json::from_value(facts.get("image")?.clone()).ok()?;
    let modality = facts.get("modality").map(|v| serde_json::from_value(v.clone()));
    Some(NetworkInput {
        shape: MapShape { h, w, c },
        modality: modality.transpose().ok()?.unwrap_or_default(),
    })
}
