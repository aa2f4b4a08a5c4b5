//! `kind = "pseudo-label"`: a teacher labels images, and the confident guesses are kept.
//!
//! The teacher sees the images as they are (Xie et al. 2020, 1911.04252: an un-noised teacher, a noised student). True labels
//! of the images are used for statistics only: how many of the guesses kept were right.

mod locate;

use std::collections::BTreeMap;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Resources,
    Spending, Spent,
};
use flow_learn::augment::Recipe;
use flow_learn::pseudo::{Balance, Selection, Selector, align, select};
use flow_learn::train::predict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ExampleSet, MODEL, ModelArtifact, NetworkFacts, SplitName, Targets, compatible,
    without,
};
use crate::device::{DeviceChoice, Precision};
use crate::failure::{at, at_with, device_failure, refused};
use crate::memory;
use crate::parts::by_parts;
use crate::tasks;

/// Labels images with a trained classifier, and keeps those that it is sure of.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PseudoLabelNode {
    /// The classifier that guesses.
    teacher: NodeRef,
    /// What the teacher guesses: the class of an image, or where things are.
    #[serde(default = "tasks::classify", skip_serializing_if = "tasks::is_classify")]
    #[schemars(extend("enum" = tasks::names()))]
    task: String,
    /// The images that it labels: all training images, whatever labels they have.
    data: NodeRef,
    /// A data set with images to leave out, as a rule the labelled ones: those of its examples that are, pixel for pixel, among the images of
    /// `data`. Without it they may be guessed like any other.
    except: Option<NodeRef>,
    /// Probability of the likeliest class from which on a guess is kept; of tasks that tell where things are, that of a pixel or a box.
    #[serde(default = "threshold")]
    threshold: f32,
    /// Whether the student learns the teacher's distribution (`true`) or only its likeliest class: of an image, of each pixel that is kept, or how
    /// sure the class of each box is.
    #[serde(default)]
    soft: bool,
    /// `none` keeps all confident guesses; `equal` keeps the most confident of each class, as many as of the rarest class
    /// that has any (at least `at_least`), so that the student does not see the teacher's favourites only.
    #[serde(default)]
    balance: Balance,
    /// At most so many of each class, the most confident ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_class: Option<usize>,
    /// Temperature of soft targets, `p^(1/T)`: below 1 they are sharper than the teacher's, above 1 softer.
    #[serde(default = "as_it_is")]
    temperature: f32,
    /// Whether the guesses are first scaled so that their classes are, in the mean, those of the labelled images of `except`, or even where there
    /// are none (distribution alignment).
    #[serde(default)]
    align: bool,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    device: DeviceChoice,
    /// What products are made of. On a GPU `tf32`, which is the default, `fp32`, which is slower and as on the CPU, or `bf16`, which is the coarsest; on the CPU `fp32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

fn as_it_is() -> f32 {
    1.0
}

fn threshold() -> f32 {
    0.9
}

impl PseudoLabelNode {
    fn selector(&self) -> Selector {
        Selector {
            threshold: self.threshold,
            balance: self.balance,
            per_class: self.per_class,
            soft: self.soft,
            temperature: self.temperature,
        }
    }
}

impl Node for PseudoLabelNode {
    const KIND: &'static str = "pseudo-label";
    const VERSION: u32 = 5;
    const OUTPUT: ArtifactType = DATASET;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("teacher", &self.teacher, &[MODEL]),
            Port::one("data", &self.data, &[DATASET]),
            Port::maybe("except", &self.except, &[DATASET]),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if !(0.0..1.0).contains(&self.threshold) {
            let message = format!(
                "{} found, expected a probability: at least 0 and below 1",
                self.threshold
            );
            return Err(at("threshold", message));
        }
        if self.per_class == Some(0) {
            return Err(at("per_class", "0 found, expected at least 1"));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let message = format!("{} found, expected a number above 0", self.temperature);
            return Err(at("temperature", message));
        }
        if self.temperature != 1.0 && !self.soft {
            let message = "hard targets have no temperature";
            return Err(at_with("temperature", message, "write `soft = true`, or leave it out"));
        }
        let task = tasks::find(&self.task)?;
        task.map_or(Ok(()), |task| self.check_task(task))?;
        let Some(data) = inputs.get::<DatasetFacts>("data") else {
            return Ok(Facts::unknown());
        };
        if let Some(teacher) = inputs.get::<NetworkFacts>("teacher") {
            tasks::same("teacher", teacher, task)?;
            compatible("teacher", teacher, data)?;
        }
        if let Some(except) = inputs.get::<DatasetFacts>("except")
            && except.input != data.input
        {
            return Err(at(
                "except",
                "its images are of another kind or shape than those of `data`",
            ));
        }
        Ok(Facts::of(DatasetFacts {
            targets: Targets::Guesses,
            annotated: task.map_or(data.annotated, tasks::guessed),
            ..data.clone()
        }))
    }

    fn settled(&self, _: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let device = self.device.settled(self.precision)?;
        Ok(device.map(|device| Self {
            device,
            precision: None,
            ..self.clone()
        }))
    }

    /// One forward pass of each image, which counts a third.
    fn spends(&self, inputs: &InputFacts) -> Option<Spending> {
        let all = inputs.get::<DatasetFacts>("data")?.count(SplitName::Train)?;
        let left_out = match inputs.all("except").first() {
            Some(except) => match except.facts.get::<DatasetFacts>()?.targets {
                Targets::Labels(labels) => labels,
                _ => return None,
            },
            None => 0,
        };
        Some(Spending::all(all.saturating_sub(left_out) as f64 / 3.0))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        self.device.resources(memory::gpu_bytes_of(inputs, "teacher"))
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        if let Some(task) = tasks::find(&self.task).map_err(refused)? {
            return self.locate(task, inputs, cx);
        }
        let mut data = Dataset::read(inputs.one("data"), &[SplitName::Train])?;
        let mut teacher = ModelArtifact::read(inputs.one("teacher"))?;
        teacher.classifier.encoder.device = self.device.open(cx)?;
        compatible("teacher", &teacher.facts(), &data.facts()?).map_err(refused)?;
        let augmenter = teacher
            .normalisation
            .augmenter(&Recipe::default(), teacher.classifier.encoder.takes())?;
        let train = data.train()?;
        let except = inputs
            .maybe("except")
            .map(|except| Dataset::read(except, &[SplitName::Train]));
        let except = except.transpose()?;
        let pool = match &except {
            Some(except) => without(("data", train), ("except", except))?,
            None => (0..train.n() as u32).collect(),
        };
        let mut probabilities = by_parts(cx, &pool, |part| {
            predict(&mut teacher.classifier, train, part, &augmenter).map_err(|e| device_failure(&e))
        })?;
        let classes = data.classes();
        if self.align {
            align(&mut probabilities, &shares(except.as_ref(), classes)?);
        }
        let Selection { kept, targets } = select(&probabilities, classes, &self.selector());
        let indices: Vec<u32> = kept.iter().map(|i| pool[*i as usize]).collect();
        let examples = ExampleSet {
            guessed: true,
            indices,
            targets,
        };

        let guesses = examples.classes();
        // Only where there are labels it is known how many guesses are right.
        let truths = examples.indices.iter().map(|i| train.labels()[*i as usize]);
        let judged = guesses
            .iter()
            .zip(truths)
            .filter_map(|(g, t)| Some((*g, usize::from(t?))));
        let (judged, right) = judged.fold((0, 0), |(n, right), (g, t)| (n + 1, right + usize::from(g == t)));
        let count = examples.indices.len();
        let mut metrics = BTreeMap::from([
            // A forward pass alone counts a third.
            ("images_trained".to_owned(), pool.len() as f64 / 3.0),
            ("pool".to_owned(), pool.len() as f64),
            ("kept".to_owned(), count as f64),
            ("kept_share".to_owned(), count as f64 / pool.len().max(1) as f64),
        ]);
        if judged > 0 {
            metrics.insert("precision".into(), right as f64 / f64::from(judged));
        }
        for (class, name) in data.class_names.iter().enumerate() {
            let of_class = guesses.iter().filter(|g| **g == class).count();
            metrics.insert(format!("kept_by_class.{class}"), of_class as f64);
            if of_class == 0 {
                cx.host.note(&format!("no guess of class `{name}` was kept"));
            }
        }
        cx.host.note(&format!(
            "kept {count} of {} guesses; of {judged} the label is known, and {right} of these are right",
            pool.len()
        ));
        data.examples = Some(examples);
        let output = data.into_output(cx.host)?;
        Ok(Output {
            files: output.files,
            metrics,
        })
    }
}

/// The share of each class among labelled examples; even where there are none.
fn shares(labelled: Option<&Dataset>, classes: usize) -> Result<Vec<f32>, NodeError> {
    let Some(labelled) = labelled else {
        return Ok(vec![1.0 / classes as f32; classes]);
    };
    let examples = labelled.example_set()?;
    let mut shares = vec![0.0; classes];
    for row in examples.targets.chunks_exact(classes) {
        shares.iter_mut().zip(row).for_each(|(share, target)| *share += target);
    }
    let count = examples.indices.len().max(1) as f32;
    shares.iter_mut().for_each(|share| *share /= count);
    Ok(shares)
}
