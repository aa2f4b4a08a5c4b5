//! `kind = "dataset"` with `source`: images or texts from a source, with a part held out to choose settings on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, Facts, Host, InputFacts, Inputs, Node, NodeError, NodeFile, Output,
    ParamError, Port, Resources,
};
use flow_learn::data::{Annotations, Samples, SceneStyle, stratified};
use flow_learn::rng::Stream;
use flow_learn::text::Vocabulary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{self, Division};
use super::located;
use crate::artifacts::{DATASET, Dataset, DatasetFacts, SplitName, Targets};
use crate::failure::{at, at_with, failure, refused};
use crate::memory;
use crate::pictures::{Columns, Fit, Known};
use crate::sources::{
    self, ArrayNames, Background, Colour, FileSettings, Labelled, Loaded, OnBad, OnLeak, Source, SourceSettings,
    SourceShape, Texts,
};

/// Images or texts from a source, in splits: to train on, to choose settings on, to judge on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceNode {
    /// Where examples come from.
    #[schemars(extend("enum" = sources::names()))]
    source: String,
    /// Folder of the source's files, or for `text` the file, relative to the workflow file. Their content is part of the key, the path is not.
    path: Option<DeclaredFile>,
    /// Training images of a source that makes them, or that has more.
    train: Option<usize>,
    /// Test images of a source that makes them; texts to hold out for testing, in equal shares of the classes (a fifth if left out).
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
    /// Folder below `path` whose images have no label: `unlabelled` if left out and there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unlabelled: Option<PathBuf>,
    /// Table of labels below `path`, CSV or TSV with a line of names first: `labels.csv` if left out and there. Without one the folders that
    /// images are in are their classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<PathBuf>,
    /// What the columns of the table, or of a Parquet file, are called: there `path` is that of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Columns>,
    /// What the arrays of an npz or HDF5 file are called, where it is not `x` and `y`, `x_train` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arrays: Option<ArrayNames>,
    /// How image files that are not square become squares: `crop` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<Fit>,
    /// Channels that image files are learnt from in: 3 if left out, 1 for gray; of TIFF files of several bands as many as these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    /// Colour behind transparent image files, and of the bars of `fit = "pad"`, as red, green and blue from 0 to 255: black if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matte: Option<[u8; 3]>,
    /// The most pixels (width times height) that an image file may have: 100,000,000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_pixels: Option<u64>,
    /// What happens to image files that cannot be read: `error` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_bad: Option<OnBad>,
    /// What happens to images that are in two splits, pixel for pixel or nearly: `warn` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_leak: Option<OnLeak>,
    /// Training images to hold out, in equal shares of the classes, to choose settings on.
    validation: Option<usize>,
    /// Decides what is made and held out.
    #[serde(default)]
    seed: u64,
}

impl SourceNode {
    fn settings(&self) -> SourceSettings {
        SourceSettings {
            path: self.path.as_ref().map(|path| path.path().to_owned()),
            train: self.train,
            test: self.test,
            side: self.side,
            vocabulary: self.vocabulary,
            length: self.length,
            colour: self.colour,
            background: self.background,
            style: self.style,
            files: FileSettings {
                unlabelled: self.unlabelled.clone(),
                labels: self.labels.clone(),
                columns: self.columns.clone(),
                arrays: self.arrays.clone(),
                fit: self.fit,
                channels: self.channels,
                matte: self.matte,
                max_pixels: self.max_pixels,
                on_bad: self.on_bad,
                on_leak: self.on_leak,
            },
            class_names: None,
            seed: self.seed,
        }
    }

    fn division(&self) -> Division {
        Division {
            test: self.test,
            validation: self.validation.unwrap_or(0),
            seed: self.seed,
            on_leak: self.on_leak.unwrap_or_default(),
            remember: None,
        }
    }

    fn source(&self) -> Result<&'static Source, ParamError> {
        sources::find(&self.source, &self.settings())
    }

    fn load(&self, source: &Source, paths: &[PathBuf], host: &dyn Host) -> Result<Output, NodeError> {
        match (source.load)(&self.settings(), paths, host)? {
            Loaded::Images(images) => self.images(source.name, *images)?.into_output(host),
            Loaded::Texts(texts) => self.texts(source.name, texts)?.into_output(host),
            Loaded::Files(images) => files::output(source.name, *images, &self.division(), host),
            Loaded::Listed(listed) => {
                let name = listed.name(Self::VERSION);
                let known = Known::recall(host, &name);
                let images = listed.decoded(&known, host)?;
                if known.used() > 0 {
                    host.note(&format!(
                        "{} of {} image files were decoded by an earlier run",
                        known.used(),
                        images.images.len()
                    ));
                }
                let division = Division {
                    remember: Some(name),
                    ..self.division()
                };
                files::output(source.name, images, &division, host)
            }
            Loaded::Placed(images) => located::output(source.name, *images, &self.division(), host),
        }
    }

    /// Places of `count` examples to hold out for `purpose`, in equal shares of the classes, and of the rest.
    fn put_aside(&self, labels: &[u16], classes: usize, count: usize, purpose: &str) -> Result<Parts, NodeError> {
        let aside = stratified(labels, classes, count, &Stream::new(self.seed, purpose));
        let aside = aside.map_err(|e| failure(format!("`{purpose}`: {e}")))?;
        let left = |i: &u32| aside.binary_search(i).is_err();
        let rest = (0..labels.len() as u32).filter(left).collect();
        Ok(Parts { aside, rest })
    }

    fn images(&self, name: &str, images: Labelled) -> Result<Dataset, NodeError> {
        let classes = images.class_names.len();
        let mut splits = BTreeMap::from([(SplitName::Test, Samples::from(images.test))]);
        let mut train = images.train;
        let (mut train_annotations, test_annotations) = images.annotations.map(|[a, b]| (a, b)).unzip();
        let mut annotations: BTreeMap<SplitName, Annotations> =
            test_annotations.map(|a| (SplitName::Test, a)).into_iter().collect();
        if let Some(count) = self.validation.filter(|count| *count > 0) {
            let labels: Vec<u16> = train.labels.iter().copied().flatten().collect();
            let Parts { aside, rest } = self.put_aside(&labels, classes, count, "validation")?;
            splits.insert(SplitName::Validation, train.select(&aside).into());
            train = train.select(&rest);
            if let Some(all) = train_annotations {
                annotations.insert(SplitName::Validation, all.select(&aside));
                train_annotations = Some(all.select(&rest));
            }
        }
        splits.insert(SplitName::Train, train.into());
        annotations.extend(train_annotations.map(|a| (SplitName::Train, a)));
        let (name, classes) = (name.to_owned(), images.class_names);
        Ok(Dataset::new(name, classes, splits, annotations, None))
    }

    /// The places of each split's texts, and the vocabulary, which knows the training texts only.
    fn divide(&self, all: &Texts) -> Result<(BTreeMap<SplitName, Vec<u32>>, Vocabulary), NodeError> {
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
        Ok((parts, vocabulary))
    }

    fn texts(&self, name: &str, all: Texts) -> Result<Dataset, NodeError> {
        let (parts, vocabulary) = self.divide(&all)?;
        let length = sources::text::length(&self.settings());
        let encoded = |places: Vec<u32>| {
            let texts: Vec<&str> = places.iter().map(|i| all.texts[*i as usize].as_str()).collect();
            let labels = places.iter().map(|i| all.labels[*i as usize]).collect();
            vocabulary.encode(&texts, length, labels).map_err(failure)
        };
        let splits: Result<BTreeMap<SplitName, Samples>, NodeError> = parts
            .into_iter()
            .map(|(split, places)| Ok((split, encoded(places)?.into())))
            .collect();
        let (name, classes) = (name.to_owned(), all.class_names);
        Ok(Dataset::new(name, classes, splits?, BTreeMap::new(), Some(vocabulary)))
    }
}

impl SourceNode {
    /// What is known of a source's examples, if its settings make sense.
    fn source_facts(&self, shape: &SourceShape) -> Result<Facts, ParamError> {
        let aside = self.validation.unwrap_or(0);
        if aside > 0 && shape.validation > 0 {
            let help = "leave `validation` out";
            return Err(at_with(
                "validation",
                "the directory has a validation split of its own",
                help,
            ));
        }
        if let Some(labelled) = shape.labelled.filter(|labelled| aside >= (*labelled).max(1)) {
            let message = format!("{aside} images to hold out, but only {labelled} training images have a label");
            return Err(at("validation", message));
        }
        let splits = match shape.counts {
            Some([train, _]) if aside >= train => {
                let message = format!("{aside} images to hold out, but there are only {train} training images");
                return Err(at("validation", message));
            }
            Some([train, test]) => {
                let counts = [
                    (SplitName::Validation, aside.max(shape.validation)),
                    (SplitName::Test, test),
                ];
                let held_out = counts.into_iter().filter(|(_, count)| *count > 0);
                Some(held_out.chain([(SplitName::Train, train - aside)]).collect())
            }
            None => None,
        };
        let mut input = shape.input;
        // What is wrong with the division is said when the node runs.
        if let Some(Ok((_, vocabulary))) = shape.texts.as_ref().map(|texts| self.divide(texts)) {
            input.modality = vocabulary.modality();
        }
        let data = DatasetFacts {
            input,
            class_names: shape.class_names.clone(),
            splits,
            targets: shape
                .labelled
                .map_or(Targets::All, |labelled| Targets::Labels(labelled - aside)),
            annotated: shape.annotated,
        };
        // What a file holds cannot be lowered, but which file it is.
        let sizes = [("train", self.train.is_some()), ("side", self.side.is_some())];
        let key = sizes.iter().find(|(_, given)| *given).map_or("path", |(key, _)| key);
        memory::data_set_fits(key, &data, self.source()?.in_memory)?;
        Ok(Facts::of(data))
    }
}

/// Examples in two parts.
struct Parts {
    aside: Vec<u32>,
    rest: Vec<u32>,
}

impl Node for SourceNode {
    const KIND: &'static str = "dataset";
    const VERSION: u32 = 7;
    const OUTPUT: ArtifactType = DATASET;
    const FORM: &'static [&'static str] = &["source"];

    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    fn files(&self, folder: &Path) -> Vec<NodeFile> {
        match (self.source(), &self.path) {
            (Ok(source), Some(path)) => source.files_in(folder, path),
            // What is wrong is said by `facts`; until then nothing is read.
            (_, path) => path.iter().map(|path| NodeFile::new("path", path)).collect(),
        }
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let source = self.source()?;
        let files = self.path.iter().flat_map(|path| source.files_in(inputs.folder(), path));
        let files: Vec<PathBuf> = files.map(|file| inputs.path(&file)).collect();
        match (source.shape)(&self.settings(), &files)? {
            Some(shape) => self.source_facts(&shape),
            None => Ok(Facts::unknown()),
        }
    }

    /// Images are decoded and made side by side.
    fn resources(&self, _: &InputFacts) -> Resources {
        match self.path.is_some() || self.source().is_ok_and(|source| !source.in_memory) {
            true => Resources::threads_up_to(usize::MAX),
            false => Resources::default(),
        }
    }

    /// Files may hold more than their sizes tell: an end for want of memory is this node's alone.
    fn isolated(&self) -> bool {
        self.path.is_some()
    }

    fn run(&self, _inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let files: Vec<PathBuf> = cx.files.iter().map(|file| file.path.clone()).collect();
        self.load(self.source().map_err(refused)?, &files, cx.host)
    }
}
