//! What a program makes, where that is more than files: a data set, predictions or an encoder, which go wherever flow's own go.
//!
//! What it will be is known beforehand, from an input or from what its author states; what came out is held against that.

use std::collections::BTreeSet;

use flow_engine::node::{
    ArtifactType, Facts, Host, Input, InputFact, InputFacts, Inputs, NodeError, Output, ParamError,
};
use flow_learn::layers::MapShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::left::Left;
use super::stage::Stage;
use super::{CommandNode, give};
use crate::artifacts::{
    Annotated, DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, FEATURES, FILES, FeatureFacts, NetworkFacts,
    PREDICTIONS, PredictionFacts, SplitName, Targets,
};
use crate::failure::{at, at_with, failure, refused};
use crate::sketches;

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
                let message = format!("`{key}` does not apply to {}, which the program makes", self.in_words());
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
                let message = format!(
                    "the input is not a data set, and {} can only be of one",
                    self.in_words()
                );
                return Err(at("of", message));
            }
            Some(input) => input.facts.get::<DatasetFacts>().cloned(),
            None => None,
        };
        let needs_of = || {
            let message = "it is not said of which data set's images this is";
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
                    sketches::check(backbone, data.input, None)?;
                    Ok(Facts::of(NetworkFacts {
                        input: data.input,
                        class_names: None,
                        backbone: Some(backbone.clone()),
                        task: None,
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
            let mut seen = BTreeSet::new();
            names.iter().find(|name| !seen.insert(*name))
        }) {
            return Err(at("classes", format!("class `{twice}` is named twice")));
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
                "the classes and the shape of the data set are not known, and later nodes are checked against them",
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
            annotated: Annotated::default(),
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
