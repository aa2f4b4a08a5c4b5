//! `kind = "dataset"` with `from`: a part of another data set: some classes of it, some of it labelled, or both.

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port,
};
use flow_learn::data::{long_tailed, stratified};
use flow_learn::rng::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{DATASET, Dataset, DatasetFacts, ExampleSet, GUESSES_ARE_NO_LABELS, SplitName, Targets};
use crate::classes::{self, ClassRef};
use crate::failure::{at, at_with, failure, refused};

/// A part of a data set: some of its classes, a label budget, or both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartNode {
    /// The data set of which this is a part.
    from: NodeRef,
    /// Its classes that are kept, by name or by number from 0; in the order written they are the classes of this part. All are
    /// kept if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<ClassRef>>,
    /// What becomes of training images of other classes than `classes`. Test and validation images of them are always left out.
    #[serde(default, skip_serializing_if = "OtherClasses::is_default")]
    others: OtherClasses,
    /// How many of the training images are labelled, in equal shares of the classes: of a part that has labels already, so many of these.
    labels: Option<usize>,
    /// The first class has so many times the labels of the last, and those between fall geometrically (a long tail); without it all have as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imbalance: Option<f32>,
    /// Decides what is labelled.
    #[serde(default)]
    seed: u64,
}

/// What becomes of training images of classes that a part does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OtherClasses {
    /// They are left out.
    #[default]
    Drop,
    /// They stay, without a label: a pool of unlabelled images with foreign classes (Oliver et al. 2018, 1804.09170).
    Unlabelled,
}

impl OtherClasses {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl PartNode {
    /// Checks the part against the whole, and says what it is: the same before anything runs and when it runs.
    fn part_of(&self, whole: &DatasetFacts) -> Result<DatasetFacts, ParamError> {
        if whole.targets == Targets::Guesses {
            let help = "take the part of the data set that the teacher labels, and let it label that";
            return Err(at_with("from", GUESSES_ARE_NO_LABELS, help));
        }
        let mut part = whole.clone();
        if let (Some(wanted), Some(names)) = (&self.classes, &whole.class_names) {
            let places = classes::places(wanted, names)?;
            part.class_names = Some(places.iter().map(|place| names[*place].clone()).collect());
        }
        let Some(labels) = self.labels else { return Ok(part) };
        let noun = whole.input.modality.noun();
        let most = match whole.targets {
            Targets::Labels(labels) => Some((labels, format!("labelled {noun}"))),
            _ => whole
                .count(SplitName::Train)
                .map(|count| (count, format!("training {noun}"))),
        };
        if let Some((most, what)) = most
            && labels > most
        {
            let message = format!("{labels} labels asked for, but there are only {most} {what}");
            return Err(at_with("labels", message, format!("ask for at most {most}")));
        }
        let classes = self
            .classes
            .as_ref()
            .map(Vec::len)
            .or(part.class_names.as_ref().map(Vec::len));
        if let Some(classes) = classes
            && labels < classes
        {
            let message = format!("{labels} labels asked for, but there are {classes} classes");
            return Err(at_with("labels", message, "ask for at least one label of each class"));
        }
        part.targets = Targets::Labels(labels);
        Ok(part)
    }
}

impl Node for PartNode {
    const KIND: &'static str = "dataset";
    const VERSION: u32 = 4;
    const OUTPUT: ArtifactType = DATASET;
    const FORM: &'static [&'static str] = &["from"];

    fn ports(&self) -> Vec<Port> {
        vec![Port::one("from", &self.from, &[DATASET])]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if self.labels.is_none() && self.classes.is_none() {
            let help = "`labels = 100` labels 100 images, `classes = [0, 1]` keeps those of two classes";
            return Err(at_with(
                "from",
                "a part of a data set needs `labels` or `classes`",
                help,
            ));
        }
        if self.others != OtherClasses::default() && self.classes.is_none() {
            let help = "name the classes of this part: `classes = [0, 1]`, or leave it out";
            return Err(at_with("others", "there is no `classes`, so there are no others", help));
        }
        if let Some(imbalance) = self.imbalance {
            if self.labels.is_none() {
                return Err(at_with(
                    "imbalance",
                    "there is no `labels` to share out",
                    "give `labels`, or leave it out",
                ));
            }
            if !(imbalance >= 1.0 && imbalance.is_finite()) {
                return Err(at(
                    "imbalance",
                    format!("{imbalance} found, expected a number from 1 on"),
                ));
            }
        }
        match inputs.get("from") {
            Some(whole) => self.part_of(whole).map(Facts::of),
            None => Ok(Facts::unknown()),
        }
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let all = [SplitName::Train, SplitName::Validation, SplitName::Test];
        let mut data = Dataset::read(inputs.one("from"), &all)?;
        self.part_of(&data.facts()?).map_err(refused)?;
        if let Some(wanted) = &self.classes {
            let places = classes::places(wanted, &data.class_names).map_err(refused)?;
            data = data.of_classes(&places, self.others == OtherClasses::Unlabelled)?;
        }
        if let Some(labels) = self.labels {
            data.examples = Some(self.labelled(&data, labels)?);
        }
        data.into_output(cx.host)
    }
}

impl PartNode {
    /// So many labelled examples, of those that may be labelled.
    fn labelled(&self, data: &Dataset, labels: usize) -> Result<ExampleSet, NodeError> {
        let train = data.train()?;
        let whole = data.example_set()?;
        let may = |i: &u32| Some((*i, train.labels()[*i as usize]?));
        let (places, all): (Vec<u32>, Vec<u16>) = whole.indices.iter().filter_map(may).unzip();
        let stream = Stream::new(self.seed, "labels");
        let chosen = match self.imbalance {
            Some(imbalance) => long_tailed(&all, data.classes(), labels, imbalance, &stream),
            None => stratified(&all, data.classes(), labels, &stream),
        };
        let chosen = chosen.map_err(failure)?;
        let indices = chosen.iter().map(|i| places[*i as usize]).collect();
        Ok(ExampleSet::labelled(indices, train.labels(), data.classes()))
    }
}
