//! `kind = "dataset"`: images or texts from a source, or a part of another data set: some classes of it, some of it labelled, or both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port,
};
use flow_learn::data::{Annotations, Images, NetworkInput, SceneStyle, stratified};
use flow_learn::rng::Stream;
use flow_learn::text::Vocabulary;
use serde::{Deserialize, Serialize};

use crate::artifacts::{DATASET, Dataset, DatasetFacts, ExampleSet, SplitName};
use crate::classes::{self, ClassRef};
use crate::failure::{at, at_with, failure};
use crate::sources::{self, Background, Colour, Labelled, Loaded, Source, SourceSettings, SourceShape, Texts};

/// Either `source` with what it takes, or `from` with `classes`, a label budget, or both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetNode {
    /// Where examples come from: `fashion-mnist-sample`, `fashion-mnist`, `idx`, `scenes`, `text`.
    source: Option<String>,
    /// Folder of the source's files, or for `text` the file, relative to the workflow file. Their content is part of the key, the path is not.
    #[serde(skip_serializing)]
    path: Option<PathBuf>,
    /// Training images of a source that makes them, or that has more.
    train: Option<usize>,
    /// Test images of a source that makes them; texts to put aside for testing, in equal shares of the classes (a fifth if left out).
    test: Option<usize>,
    /// Height and width of images of a source that makes them.
    side: Option<usize>,
    /// The most tokens that the vocabulary of texts may have, four special ones included: 2000 if left out. It is learnt from
    /// the training texts.
    vocabulary: Option<usize>,
    /// Tokens that a text is cut or padded to, one of which begins it: 32 if left out.
    length: Option<usize>,
    /// Gray images in three channels: `gray`, or `dyed` for tasks about colour; in one channel if left out. Images in colour: `gray` takes
    /// it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    colour: Option<Colour>,
    /// Gray images on a ground of `noise` instead of black.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    background: Option<Background>,
    /// How wild images of a source that makes them are: `turn`, `clutter`, `size`, `contrast`, `typical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    style: Option<SceneStyle>,
    /// Training images to put aside, in equal shares of the classes, to choose settings on.
    validation: Option<usize>,
    /// Another data set, of which this is a part.
    from: Option<NodeRef>,
    /// Its classes that are kept, by name or by number from 0; in the order written they are the classes of this part. All are
    /// kept if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<ClassRef>>,
    /// How many of the training images are labelled, in equal shares of the classes.
    labels: Option<usize>,
    /// Decides what is made, put aside or labelled.
    #[serde(default)]
    seed: u64,
}

impl DatasetNode {
    fn settings(&self) -> SourceSettings {
        SourceSettings {
            path: self.path.clone(),
            train: self.train,
            test: self.test,
            side: self.side,
            vocabulary: self.vocabulary,
            length: self.length,
            colour: self.colour,
            background: self.background,
            style: self.style,
            seed: self.seed,
        }
    }

    fn source(&self) -> Result<Option<&'static Source>, ParamError> {
        match (&self.source, &self.from) {
            (Some(name), None) => {
                if self.labels.is_some() {
                    let help = "give the source a node of its own, and take the labelled part in a second with `from`";
                    return Err(at_with("labels", "`labels` goes with `from`, not with `source`", help));
                }
                if self.classes.is_some() {
                    let help = "give the source a node of its own, and take the classes in a second with `from`";
                    return Err(at_with(
                        "classes",
                        "`classes` goes with `from`, not with `source`",
                        help,
                    ));
                }
                sources::find(name, &self.settings()).map(Some)
            }
            (None, Some(_)) => {
                let validation = self.validation.map(|_| "validation");
                match self.settings().given().chain(validation).next() {
                    Some(key) => Err(at_with(
                        key,
                        format!("`{key}` goes with `source`, not with `from`"),
                        "leave it out",
                    )),
                    None if self.labels.is_none() && self.classes.is_none() => Err(at_with(
                        "from",
                        "a part of a data set needs `labels` or `classes`",
                        "`labels = 100` labels 100 images, `classes = [0, 1]` keeps those of two classes",
                    )),
                    None => Ok(None),
                }
            }
            _ => Err(at_with(
                "",
                "a dataset node takes either `source` or `from`",
                "`source = \"fashion-mnist-sample\"`",
            )),
        }
    }

    fn load(&self, source: &Source, files: &[PathBuf]) -> Result<Dataset, NodeError> {
        match (source.load)(&self.settings(), files)? {
            Loaded::Images(images) => self.images(source.name, *images),
            Loaded::Texts(texts) => self.texts(source.name, texts),
        }
    }

    /// Places of `count` examples to put aside for `purpose`, in equal shares of the classes, and of the rest.
    fn put_aside(&self, labels: &[u16], classes: usize, count: usize, purpose: &str) -> Result<Parts, NodeError> {
        let aside = stratified(labels, classes, count, &Stream::new(self.seed, purpose)).map_err(failure)?;
        let left = |i: &u32| aside.binary_search(i).is_err();
        let rest = (0..labels.len() as u32).filter(left).collect();
        Ok(Parts { aside, rest })
    }

    fn images(&self, name: &str, images: Labelled) -> Result<Dataset, NodeError> {
        let classes = images.class_names.len();
        let mut splits = BTreeMap::from([(SplitName::Test, images.test)]);
        let mut train = images.train;
        let (mut train_annotations, test_annotations) = images.annotations.map(|[a, b]| (a, b)).unzip();
        let mut annotations: BTreeMap<SplitName, Annotations> =
            test_annotations.map(|a| (SplitName::Test, a)).into_iter().collect();
        if let Some(count) = self.validation.filter(|count| *count > 0) {
            let Parts { aside, rest } = self.put_aside(&train.labels, classes, count, "validation")?;
            splits.insert(SplitName::Validation, train.select(&aside));
            train = train.select(&rest);
            if let Some(all) = train_annotations {
                annotations.insert(SplitName::Validation, all.select(&aside));
                train_annotations = Some(all.select(&rest));
            }
        }
        splits.insert(SplitName::Train, train);
        annotations.extend(train_annotations.map(|a| (SplitName::Train, a)));
        Ok(Dataset::new(name.to_owned(), images.class_names, splits, annotations))
    }

    /// Splits texts first, so that the vocabulary knows the training texts only.
    fn texts(&self, name: &str, all: Texts) -> Result<Dataset, NodeError> {
        let classes = all.class_names.len();
        let count = self.test.unwrap_or(all.texts.len() / 5);
        let Parts { aside, mut rest } = self.put_aside(&all.labels, classes, count, "test")?;
        let mut parts = BTreeMap::from([(SplitName::Test, aside)]);
        if let Some(count) = self.validation.filter(|count| *count > 0) {
            let labels: Vec<u16> = rest.iter().map(|i| all.labels[*i as usize]).collect();
            let inner = self.put_aside(&labels, classes, count, "validation")?;
            let outer = |places: Vec<u32>| places.iter().map(|i| rest[*i as usize]).collect::<Vec<u32>>();
            let (aside, left) = (outer(inner.aside), outer(inner.rest));
            parts.insert(SplitName::Validation, aside);
            rest = left;
        }
        let words = rest.iter().map(|i| all.texts[*i as usize].as_str());
        let vocabulary = Vocabulary::learn(words, sources::text::vocabulary(&self.settings()));
        parts.insert(SplitName::Train, rest);
        let length = sources::text::length(&self.settings());
        let encoded = |places: Vec<u32>| {
            let texts: Vec<&str> = places.iter().map(|i| all.texts[*i as usize].as_str()).collect();
            let labels = places.iter().map(|i| all.labels[*i as usize]).collect();
            vocabulary.encode(&texts, length, labels).map_err(failure)
        };
        let splits: Result<BTreeMap<SplitName, Images>, NodeError> = parts
            .into_iter()
            .map(|(split, places)| Ok((split, encoded(places)?)))
            .collect();
        Ok(Dataset::texts(name.to_owned(), all.class_names, splits?, vocabulary))
    }
}

impl DatasetNode {
    /// What is known of a source's examples, if its settings make sense.
    fn source_facts(&self, shape: &SourceShape) -> Result<Facts, ParamError> {
        let NetworkInput {
            shape: example,
            modality,
        } = shape.input;
        let aside = self.validation.unwrap_or(0);
        let splits = match shape.counts {
            Some([train, _]) if aside >= train => {
                let message = format!("{aside} images to put aside, but there are only {train} training images");
                return Err(at("validation", message));
            }
            Some([train, test]) => {
                let mut splits = BTreeMap::from([(SplitName::Train, train - aside), (SplitName::Test, test)]);
                if aside > 0 {
                    splits.insert(SplitName::Validation, aside);
                }
                Some(splits)
            }
            None => None,
        };
        let facts = DatasetFacts {
            image: [example.h, example.w, example.c],
            modality,
            classes: shape.class_names.as_ref().map(Vec::len),
            class_names: shape.class_names.clone().unwrap_or_default(),
            splits,
            labels: None,
        };
        Ok(facts.to_facts())
    }
}

/// Examples in two parts.
struct Parts {
    aside: Vec<u32>,
    rest: Vec<u32>,
}

impl Node for DatasetNode {
    const KIND: &'static str = "dataset";
    const VERSION: u32 = 3;
    const OUTPUT: ArtifactType = DATASET;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("from", &self.from, &[DATASET])]
    }

    fn files(&self) -> Vec<PathBuf> {
        match (self.source(), &self.path) {
            (Ok(Some(source)), Some(path)) => source.paths(path),
            _ => Vec::new(),
        }
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if let Some(source) = self.source()? {
            return match (source.shape)(&self.settings(), &self.files())? {
                Some(shape) => self.source_facts(&shape),
                None => Ok(Facts::new()),
            };
        }
        let Some(mut facts) = inputs.get("from").and_then(|f| f.first()).and_then(DatasetFacts::of) else {
            return Ok(Facts::new());
        };
        if let Some(wanted) = &self.classes {
            if facts.labels.is_some() {
                return Err(at_with(
                    "from",
                    "`classes` cannot be taken from a labelled part",
                    "take the classes of the whole data set, with `labels` in the same node",
                ));
            }
            if !facts.class_names.is_empty() {
                let places = classes::places(wanted, &facts.class_names)?;
                facts.class_names = places.iter().map(|place| facts.class_names[*place].clone()).collect();
            }
            facts.classes = Some(wanted.len());
        }
        let Some(labels) = self.labels else {
            return Ok(facts.to_facts());
        };
        if let Some(examples) = facts.count(SplitName::Train)
            && labels > examples
        {
            let noun = facts.modality.noun();
            let message = format!("{labels} labels asked for, but there are only {examples} training {noun}");
            return Err(at_with("labels", message, format!("ask for at most {examples}")));
        }
        if let Some(classes) = facts.classes
            && labels < classes
        {
            let message = format!("{labels} labels asked for, but there are {classes} classes");
            return Err(at_with("labels", message, "ask for at least one label of each class"));
        }
        facts.labels = Some(labels);
        Ok(facts.to_facts())
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        if let Some(source) = self.source().map_err(|e| NodeError::failed(e.message))? {
            return Ok(self.load(source, cx.files)?.into_output());
        }
        let all = [SplitName::Train, SplitName::Validation, SplitName::Test];
        let mut data = Dataset::read(inputs.one("from"), &all)?;
        if let Some(wanted) = &self.classes {
            let refused = |e: ParamError| match e.help {
                Some(help) => NodeError::failed(format!("`{}`: {}", e.key, e.message)).with_help(help),
                None => NodeError::failed(format!("`{}`: {}", e.key, e.message)),
            };
            let places = classes::places(wanted, &data.class_names).map_err(refused)?;
            data = data.of_classes(&places);
        }
        let Some(labels) = self.labels else {
            return Ok(data.into_output());
        };
        let train = data.train()?;
        let stream = Stream::new(self.seed, "labels");
        let chosen = stratified(&train.labels, data.classes(), labels, &stream).map_err(failure)?;
        let examples = ExampleSet::labelled(chosen, &train.labels, data.classes());
        data.examples = Some(examples);
        Ok(data.into_output())
    }
}
