//! `kind = "dataset"`: images from a source, or a part of another data set: some classes of it, some of it labelled, or both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port,
};
use flow_learn::data::{Annotations, stratified};
use flow_learn::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::artifacts::{DATASET, Dataset, DatasetFacts, ExampleSet, SplitName};
use crate::classes::{self, ClassRef};
use crate::failure::{at, at_with, failure};
use crate::sources::{self, Colour, Source, SourceSettings};

/// Either `source` with what it takes, or `from` with `classes`, a label budget, or both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetNode {
    /// Where images come from: `fashion-mnist-sample`, `fashion-mnist`, `idx`, `scenes`.
    source: Option<String>,
    /// Folder of the source's files, relative to the workflow file. Their content is part of the key, the path is not.
    #[serde(skip_serializing)]
    path: Option<PathBuf>,
    /// Training images of a source that makes them, or that has more.
    train: Option<usize>,
    /// Test images of a source that makes them.
    test: Option<usize>,
    /// Height and width of images of a source that makes them.
    side: Option<usize>,
    /// Gray images in three channels: `gray`, or `dyed` for tasks about colour; in one channel if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    colour: Option<Colour>,
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
            colour: self.colour,
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
                let wrong = [
                    ("path", self.path.is_some()),
                    ("train", self.train.is_some()),
                    ("test", self.test.is_some()),
                    ("side", self.side.is_some()),
                    ("colour", self.colour.is_some()),
                    ("validation", self.validation.is_some()),
                ];
                match wrong.iter().find(|(_, given)| *given) {
                    Some((key, _)) => Err(at_with(
                        *key,
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
        let loaded = (source.load)(&self.settings(), files)?;
        let classes = loaded.class_names.len();
        let mut splits = BTreeMap::from([(SplitName::Test, loaded.test)]);
        let mut train = loaded.train;
        let (mut train_annotations, test_annotations) = loaded.annotations.map(|[a, b]| (a, b)).unzip();
        let mut annotations: BTreeMap<SplitName, Annotations> =
            test_annotations.map(|a| (SplitName::Test, a)).into_iter().collect();
        if let Some(count) = self.validation {
            let aside =
                stratified(&train.labels, classes, count, &Stream::new(self.seed, "validation")).map_err(failure)?;
            let rest: Vec<u32> = (0..train.n as u32)
                .filter(|i| aside.binary_search(i).is_err())
                .collect();
            splits.insert(SplitName::Validation, train.select(&aside));
            train = train.select(&rest);
            if let Some(all) = train_annotations {
                annotations.insert(SplitName::Validation, all.select(&aside));
                train_annotations = Some(all.select(&rest));
            }
        }
        splits.insert(SplitName::Train, train);
        annotations.extend(train_annotations.map(|a| (SplitName::Train, a)));
        Ok(Dataset::new(
            source.name.to_owned(),
            loaded.class_names,
            splits,
            annotations,
        ))
    }
}

impl Node for DatasetNode {
    const KIND: &'static str = "dataset";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = DATASET;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("from", &self.from, &[DATASET])]
    }

    fn files(&self) -> Vec<PathBuf> {
        match (self.source(), &self.path) {
            (Ok(Some(source)), Some(path)) => source.files.iter().map(|name| path.join(name)).collect(),
            _ => Vec::new(),
        }
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if let Some(source) = self.source()? {
            let Some(shape) = (source.shape)(&self.settings()) else {
                return Ok(Facts::new());
            };
            if shape.image[0] < 16 {
                return Err(at(
                    "side",
                    format!("{} found, expected at least 16 pixels", shape.image[0]),
                ));
            }
            if let (Some(wanted), Some(most)) = (self.train, shape.most)
                && wanted > most
            {
                let message = format!("{wanted} found, but the source has only {most} training images");
                return Err(at_with("train", message, format!("ask for at most {most}")));
            }
            let aside = self.validation.unwrap_or(0);
            if aside >= shape.counts[0] {
                let message = format!(
                    "{aside} images to put aside, but there are only {} training images",
                    shape.counts[0]
                );
                return Err(at("validation", message));
            }
            let mut splits = BTreeMap::from([
                (SplitName::Train, shape.counts[0] - aside),
                (SplitName::Test, shape.counts[1]),
            ]);
            if aside > 0 {
                splits.insert(SplitName::Validation, aside);
            }
            return Ok(DatasetFacts {
                image: shape.image,
                classes: shape.class_names.len(),
                class_names: shape.class_names,
                splits,
                labels: None,
            }
            .to_facts());
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
            facts.classes = wanted.len();
        }
        let Some(labels) = self.labels else {
            return Ok(facts.to_facts());
        };
        let images = facts.splits.get(&SplitName::Train).copied().unwrap_or(0);
        if labels > images {
            let message = format!("{labels} labels asked for, but there are only {images} training images");
            return Err(at_with("labels", message, format!("ask for at most {images}")));
        }
        if labels < facts.classes {
            let message = format!("{labels} labels asked for, but there are {} classes", facts.classes);
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
