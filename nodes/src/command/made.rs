//! What a program makes, where that is more than files: a data set, predictions or an encoder, which go wherever flow's own go.
//!
//! What it will be is known beforehand, from an input or from what its author states; what came out is held against that.

use std::path::{Path, PathBuf};

use flow_engine::node::{
    ArtifactType, DeclaredFile, Facts, Host, Input, InputFact, InputFacts, Inputs, NodeError, Output, ParamError,
};
use flow_learn::data::Samples;
use flow_learn::layers::MapShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::Stage;
use super::{CommandNode, give, table};
use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, FEATURES, FILES, FeatureFacts, FeaturesArtifact,
    NetworkFacts, PREDICTIONS, PredictionFacts, Predictions, SplitName, Targets,
};
use crate::dataset::files::{Division, output as divided};
use crate::failure::{at, at_with, backbone_error, failure, refused};
use crate::pictures::Known;
use crate::sources::{self, Files, Loaded, OnLeak, SourceSettings, npz};

/// What a program leaves in `{outputs}`, as far as flow knows what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Makes {
    /// Files that are handed on as they are.
    #[default]
    Files,
    /// A data set: an npz file, IDX files, Parquet files or a folder of images, as the sources of those names read them. A fifth is held out for
    /// testing if there is no test part.
    Dataset,
    /// Class probabilities of the images of `split`: a CSV, TSV or Parquet file with a column for each class, and `image`, the place of the image
    /// in the split from 0, or a file name that is one.
    Predictions,
    /// With a `backbone` a safetensors file of its weights, under torchvision's or timm's names. Without one an npz file of features: arrays `train`,
    /// `test` and `validation`, a row for each image of `of`.
    Encoder,
}

impl CommandNode {
    pub(super) fn artifact(&self) -> ArtifactType {
        match (self.makes, &self.backbone) {
            (Makes::Files, _) => FILES,
            (Makes::Dataset, _) => DATASET,
            (Makes::Predictions, _) => PREDICTIONS,
            (Makes::Encoder, Some(_)) => ENCODER,
            (Makes::Encoder, None) => FEATURES,
        }
    }

    /// Whether what it makes is judged: such a program does not see the labels of test images.
    fn is_judged(&self) -> bool {
        matches!(self.makes, Makes::Predictions | Makes::Encoder)
    }

    /// The place of the input that what it makes is about: the one named, or the only one there is.
    fn about(&self) -> Result<Option<usize>, ParamError> {
        if let Some(of) = &self.of {
            let place = self.inputs.keys().position(|name| name == of);
            return match place {
                Some(place) => Ok(Some(place)),
                None => Err(at_with(
                    "of",
                    format!("`{of}` is none of its inputs"),
                    flow_engine::workflow::suggest(of, "inputs", self.inputs.keys().map(String::as_str)),
                )),
            };
        }
        let states = self.makes == Makes::Dataset && (self.classes.is_some() || self.shape.is_some());
        Ok((!states && self.inputs.len() == 1).then_some(0))
    }

    /// Parameters that say nothing of what it makes.
    fn check_stated(&self) -> Result<(), ParamError> {
        let makes = self.makes;
        let goes_with = [
            ("of", self.of.is_some(), makes != Makes::Files),
            ("split", self.split.is_some(), makes == Makes::Predictions),
            ("classes", self.classes.is_some(), makes == Makes::Dataset),
            ("shape", self.shape.is_some(), makes == Makes::Dataset),
            ("backbone", self.backbone.is_some(), makes == Makes::Encoder),
        ];
        match goes_with.iter().find(|(_, given, fits)| *given && !fits) {
            Some((key, ..)) => {
                let message = format!("it says nothing of what the program makes: {}", self.in_words());
                Err(at_with(*key, message, "leave it out, or say what it `makes`"))
            }
            None => Ok(()),
        }
    }

    fn in_words(&self) -> &'static str {
        match self.makes {
            Makes::Files => "files",
            Makes::Dataset => "a data set",
            Makes::Predictions => "predictions",
            Makes::Encoder => "an encoder",
        }
    }

    /// What can be handed over, and that nobody sees the labels that it is judged by.
    pub(super) fn check_given(&self, inputs: &InputFacts) -> Result<(), ParamError> {
        if let Some(name) = self.give.keys().find(|name| !self.inputs.contains_key(*name)) {
            let help = flow_engine::workflow::suggest(name, "inputs", self.inputs.keys().map(String::as_str));
            return Err(at_with(format!("give.{name}"), "there is no input of this name", help));
        }
        for (name, input) in self.inputs.keys().zip(inputs.all("inputs")) {
            let form = self.give.get(name).copied().unwrap_or_default();
            if form == give::Form::Files {
                if self.is_judged() && input.artifact == DATASET {
                    let message = format!("`{name}` is a data set, and its files have the labels of the test images");
                    let help = format!(
                        "`give = {{ {name} = \"npz\" }}` (or \"png\", \"parquet\") hands it over without them, to a program that is judged by them"
                    );
                    return Err(at_with(format!("inputs.{name}"), message, help));
                }
                continue;
            }
            if input.artifact != DATASET {
                let message = format!("`{name}` is no data set");
                return Err(at_with(
                    format!("give.{name}"),
                    message,
                    "only data sets have other forms than `files`",
                ));
            }
            if let Some(data) = input.facts.get::<DatasetFacts>() {
                give::check(name, form, data)?;
            }
        }
        Ok(())
    }

    /// What is known of what it makes.
    pub(super) fn made_facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        self.check_stated()?;
        let about = self.about()?.and_then(|place| inputs.all("inputs").get(place));
        let data = match about {
            Some(InputFact { artifact, .. }) if self.makes != Makes::Files && *artifact != DATASET => {
                let message = format!("the input is no data set, of which {} could be", self.in_words());
                return Err(at("of", message));
            }
            Some(input) => input.facts.get::<DatasetFacts>().cloned(),
            None => None,
        };
        let needs_of = || {
            let message = format!("{} are of a data set's images", self.in_words());
            let help = "`of = \"NAME\"` says which of `inputs` that is";
            at_with("makes", message, help)
        };
        match self.makes {
            Makes::Files => Ok(Facts::unknown()),
            Makes::Dataset => self.dataset_facts(about.is_some(), data),
            Makes::Predictions | Makes::Encoder if about.is_none() => Err(needs_of()),
            Makes::Predictions => Ok(data.map_or(Facts::unknown(), |data| {
                Facts::of(PredictionFacts {
                    data,
                    split: self.predicted(),
                })
            })),
            Makes::Encoder => match (data, &self.backbone) {
                (None, _) => Ok(Facts::unknown()),
                (Some(data), None) => Ok(Facts::of(FeatureFacts { data })),
                (Some(data), Some(backbone)) => {
                    backbone.sketch(data.input).map_err(|e| backbone_error(&e))?;
                    Ok(Facts::of(NetworkFacts {
                        input: data.input,
                        class_names: None,
                    }))
                }
            },
        }
    }

    fn predicted(&self) -> SplitName {
        self.split.unwrap_or(SplitName::Test)
    }

    /// Classes and shape are stated, or those of an input.
    fn dataset_facts(&self, has_input: bool, like: Option<DatasetFacts>) -> Result<Facts, ParamError> {
        if let Some(twice) = self.classes.as_ref().and_then(|names| {
            let mut seen = std::collections::BTreeSet::new();
            names.iter().find(|name| !seen.insert(*name))
        }) {
            return Err(at("classes", format!("`{twice}` is there twice")));
        }
        if let Some([h, w, c]) = self.shape
            && (!(1..=8192).contains(&h) || !(1..=8192).contains(&w) || !(1..=64).contains(&c))
        {
            let message = format!("[{h}, {w}, {c}] found, expected height, width and channels of an image");
            return Err(at("shape", message));
        }
        match (self.facts_of_dataset(like.as_ref()), has_input) {
            (Some(facts), _) => Ok(Facts::of(facts)),
            // The input's own are not known yet.
            (None, true) => Ok(Facts::unknown()),
            (None, false) => Err(at_with(
                "makes",
                "what follows is checked against the classes and the shape of the data set, which are not known",
                "state them, as in `classes = [\"cat\", \"dog\"]` and `shape = [32, 32, 3]`, or name an input with the same by `of`",
            )),
        }
    }

    fn facts_of_dataset(&self, like: Option<&DatasetFacts>) -> Option<DatasetFacts> {
        let [h, w, c] = self
            .shape
            .or_else(|| like.map(|data| [data.input.shape.h, data.input.shape.w, data.input.shape.c]))?;
        Some(DatasetFacts {
            input: MapShape { h, w, c }.into(),
            class_names: Some(self.classes.clone().or_else(|| like?.class_names.clone())?),
            splits: None,
            targets: Targets::All,
        })
    }

    /// Hands over an input.
    pub(super) fn give(&self, stage: &Stage, name: &str, input: &Input) -> Result<(), NodeError> {
        match self.give.get(name).copied().unwrap_or_default() {
            give::Form::Files => stage.put_input(name, input),
            form => give::put(&stage.input_folder(name)?, name, form, input, self.is_judged()),
        }
    }

    /// What the program left, as an artifact of its type; `extra` are files that are kept beside it.
    pub(super) fn made(
        &self,
        stage: &Stage,
        inputs: &Inputs,
        extra: Output,
        host: &dyn Host,
    ) -> Result<Output, NodeError> {
        let about = self
            .about()
            .map_err(refused)?
            .and_then(|place| inputs.all("inputs").get(place));
        let left = Left {
            root: stage.outputs_folder()?,
            files: stage.undeclared(&self.left())?,
        };
        let mut output = match (self.makes, about, &self.backbone) {
            (Makes::Files, ..) => return Ok(extra),
            (Makes::Dataset, about, _) => {
                let like = about
                    .map(|input| Dataset::read(input, &[SplitName::Train])?.facts())
                    .transpose()?;
                let facts = self.facts_of_dataset(like.as_ref());
                left.dataset(&facts.ok_or_else(|| failure("BUG: its classes are not known"))?, host)?
            }
            (Makes::Predictions, Some(data), _) => left.predictions(data, self.predicted())?,
            (Makes::Encoder, Some(data), None) => left.features(data)?,
            (Makes::Encoder, Some(data), Some(backbone)) => {
                let data = Dataset::read(data, &[SplitName::Train])?;
                let path = left.only(&["safetensors"], "weights")?;
                let (input, normalisation) = (data.facts()?.input, &data.normalisation);
                let mut encoder = EncoderArtifact::of_file(&path, backbone, input, normalisation)?;
                Output {
                    files: vec![encoder.to_file()],
                    ..Output::default()
                }
            }
            (_, None, _) => return Err(failure("BUG: it is of no data set")),
        };
        if let Some((name, _)) = extra
            .files
            .iter()
            .find(|(name, _)| output.files.iter().any(|(own, _)| own == name))
        {
            let message = format!(
                "`{name}` is among `outputs`, and what flow calls a part of {}",
                self.in_words()
            );
            return Err(failure(message).with_help("give it another name"));
        }
        output.files.extend(extra.files);
        output.metrics.extend(extra.metrics);
        Ok(output)
    }
}

/// What a program left that is no file to be kept as it is.
struct Left {
    root: PathBuf,
    /// Relative to the folder.
    files: Vec<String>,
}

/// Names that a message shows.
const SHOWN: usize = 5;

impl Left {
    fn in_words(&self) -> String {
        match self.files.len() {
            0 => "it wrote nothing there".to_owned(),
            n => {
                let some: Vec<String> = self.files.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let more = if n > SHOWN { ", .." } else { "" };
                format!("it wrote {}{more}", some.join(", "))
            }
        }
    }

    fn with(&self, endings: &[&str]) -> Vec<&String> {
        let fits = |name: &&String| {
            let ending = Path::new(name.as_str())
                .extension()
                .and_then(|e| e.to_str())
                .unwrap_or_default();
            endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
        };
        self.files.iter().filter(fits).collect()
    }

    /// The one file with such an ending.
    fn only(&self, endings: &[&str], what: &str) -> Result<PathBuf, NodeError> {
        match self.with(endings).as_slice() {
            [one] => Ok(self.root.join(one.as_str())),
            found => {
                let endings = endings.iter().map(|e| format!(".{e}")).collect::<Vec<_>>().join(" or ");
                let message = format!(
                    "{} {endings} files found in {{outputs}}, expected one with {what}",
                    found.len()
                );
                Err(failure(message).with_help(self.in_words()))
            }
        }
    }

    /// The source that reads what was left, and where.
    fn source(&self) -> Result<(&'static str, PathBuf), NodeError> {
        let idx = |name: &String| name.contains("idx") && name.contains("ubyte");
        Ok(if !self.with(&["npz"]).is_empty() {
            ("npz", self.only(&["npz"], "arrays of images")?)
        } else if !self.with(&["parquet"]).is_empty() {
            ("parquet", self.root.clone())
        } else if self.files.iter().any(idx) {
            ("idx", self.root.clone())
        } else {
            ("folder", self.root.clone())
        })
    }

    fn dataset(&self, expected: &DatasetFacts, host: &dyn Host) -> Result<Output, NodeError> {
        if self.files.is_empty() {
            let message = "the program succeeded, but left no data set in {outputs}";
            return Err(
                failure(message).with_help("it may be an npz file, IDX files, Parquet files or a folder of images")
            );
        }
        let (name, path) = self.source()?;
        let MapShape { h, w, c } = expected.input.shape;
        let class_names = expected.class_names.clone().unwrap_or_default();
        // What has a size and channels of its own is held against what was stated; of the rest these are made.
        let fits = matches!(name, "folder" | "parquet");
        if fits && h != w {
            let message = format!("images of {h}x{w} were stated, but of image files only squares are made");
            return Err(failure(message).with_help("let the program leave an npz file"));
        }
        let mut settings = SourceSettings {
            path: Some(path.clone()),
            side: fits.then_some(h),
            class_names: Some(class_names.clone()),
            ..SourceSettings::default()
        };
        settings.files.channels = fits.then_some(c);
        let source = sources::find(name, &settings).map_err(refused)?;
        let files = source.files_in(Path::new("/"), &DeclaredFile::from(path));
        let files: Vec<PathBuf> = files.into_iter().map(|file| file.path).collect();
        let division = Division {
            test: None,
            validation: 0,
            seed: 0,
            on_leak: OnLeak::Warn,
            remember: None,
        };
        let shaped = |found: [usize; 3]| match found == [h, w, c] {
            true => Ok(()),
            false => Err(failure(format!(
                "the program left images of {}x{} and {} channel(s), expected {h}x{w} and {c}",
                found[0], found[1], found[2]
            ))
            .with_help("correct `shape`, or what the program writes")),
        };
        match (source.load)(&settings, &files)? {
            Loaded::Listed(listed) => {
                let files = of_classes(listed.decoded(&Known::default())?, class_names)?;
                divided("command", files, &division, host)
            }
            Loaded::Files(files) => {
                shaped([files.size.0, files.size.1, files.channels])?;
                divided("command", of_classes(*files, class_names)?, &division, host)
            }
            Loaded::Images(images) => {
                shaped([images.train.height, images.train.width, images.train.channels])?;
                let number = |old: u16| images.class_names[usize::from(old)].parse().ok();
                let known = |old: &u16| number(*old).filter(|new: &u16| usize::from(*new) < class_names.len());
                let labels = |of: &flow_learn::data::Images| {
                    let new = |label: &Option<u16>| match label {
                        None => Ok(None),
                        Some(old) => known(old).map(Some).ok_or_else(|| {
                            failure(format!(
                                "label {} found, but {} classes were stated",
                                images.class_names[usize::from(*old)],
                                class_names.len()
                            ))
                        }),
                    };
                    of.labels.iter().map(new).collect::<Result<Vec<_>, _>>()
                };
                let (train, test) = (labels(&images.train)?, labels(&images.test)?);
                let splits = [
                    (SplitName::Train, Samples::from(images.train).with_labels(train)),
                    (SplitName::Test, Samples::from(images.test).with_labels(test)),
                ];
                let nothing = std::collections::BTreeMap::new();
                Ok(Dataset::new("command".to_owned(), class_names, splits.into(), nothing, None).into_output())
            }
            Loaded::Texts(_) => Err(failure("BUG: no source of texts was asked for")),
        }
    }

    fn predictions(&self, input: &Input, split: SplitName) -> Result<Output, NodeError> {
        let data = Dataset::read(input, &[SplitName::Train, split])?;
        let path = self.only(&["csv", "tsv", "parquet"], "class probabilities")?;
        let n = data.split(split)?.n();
        let probabilities =
            table::probabilities(&path, &data.class_names, n).map_err(|what| {
                let name = path.strip_prefix(&self.root).unwrap_or(&path).display();
                failure(format!("`{name}` has no predictions for the {n} {split} examples: {what}")).with_help(
                "a row for each: `image`, its place in the split from 0, and the probability of each class by its name",
            )
            })?;
        let predictions = Predictions {
            split,
            predicted_on: Dataset::digest_of(input, split)?,
            class_names: data.class_names,
            probabilities,
        };
        Ok(Output {
            files: vec![predictions.into_file()],
            ..Output::default()
        })
    }

    fn features(&self, input: &Input) -> Result<Output, NodeError> {
        let all = [SplitName::Train, SplitName::Validation, SplitName::Test];
        let data = Dataset::read(input, &all)?;
        let path = self.only(&["npz"], "features")?;
        let wrong = |what: String| {
            let help = "in Python: `numpy.savez(path, train=features_of_train, test=features_of_test)`, a row for each image in order";
            let name = path.strip_prefix(&self.root).unwrap_or(&path).display();
            failure(format!("`{name}`: {what}")).with_help(help)
        };
        let mut arrays = npz::arrays(&path).map_err(&wrong)?;
        let mut features = FeaturesArtifact::default();
        for split in all {
            let Some((dim, values)) = arrays.remove(&split.to_string()) else {
                continue;
            };
            let (rows, n) = (values.len() / dim, data.split(split)?.n());
            if rows != n {
                return Err(wrong(format!("array `{split}` has {rows} rows for {n} {split} images")));
            }
            if features.dim != 0 && features.dim != dim {
                return Err(wrong(format!(
                    "array `{split}` has {dim} numbers a row, others {}",
                    features.dim
                )));
            }
            features.dim = dim;
            features
                .splits
                .insert(split, (Dataset::digest_of(input, split)?, values));
        }
        match features.splits.contains_key(&SplitName::Train) {
            true => Ok(Output {
                files: vec![features.into_file()],
                ..Output::default()
            }),
            false => Err(wrong("there is no array `train`".to_owned())),
        }
    }
}

/// The files with the classes that were stated, in their order.
fn of_classes(mut files: Files, class_names: Vec<String>) -> Result<Files, NodeError> {
    let quoted = class_names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let found = &files.found.class_names;
    if let Some(other) = found.iter().find(|name| !class_names.contains(name)) {
        let message = format!("the program left images of class `{other}`, expected {quoted}");
        return Err(failure(message).with_help("correct `classes`, or what the program writes"));
    }
    if let Some(without) = class_names.iter().find(|name| !found.contains(name)) {
        let message = format!("the program left no image of class `{without}`, expected {quoted}");
        return Err(failure(message).with_help("correct `classes`, or what the program writes"));
    }
    files.found.class_names = class_names;
    Ok(files)
}
