//! `kind = "finetune"`: a classifier, from scratch or from an encoder, on labelled or labelled and pseudo-labelled images.
//!
//! With `semi` it learns from unlabelled images in the same loop (FixMatch and others, `flow_learn::semi`).
//! For self-training the engine repeats the node: with `rounds = 2` and `becomes = "guess.teacher"` the student of the
//! first round labels the images that the student of the second learns from.

mod learn;
mod locate;

pub(crate) use learn::TRAIN_ACCURACY;

use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, Output, ParamError, Port,
    Resources, Spending, Spent,
};
use flow_learn::backbones::BackboneSettings;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::semi::{SecondView, SemiSettings};
use flow_learn::train::{FitSettings, JointLossSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, EncoderStart, MODEL, NetworkFacts, RECIPE, SplitName,
    TEXTS_HAVE_NO_VIEWS, same_task,
};
use crate::augment::{check_mixing, check_recipe};
use crate::budget::Budget;
use crate::device::{DeviceChoice, Precision};
use crate::failure::{at_with, failure, refused, setting_error};
use crate::{memory, sketches, tasks};

/// Trains a classifier on labelled (and pseudo-labelled) images, from scratch or from an encoder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinetuneNode {
    /// Labelled images and, if there are two, pseudo-labelled ones.
    data: Vec<NodeRef>,
    /// What the network is to tell: the class of an image, or where things are, for which the images need masks or boxes.
    #[serde(default = "tasks::classify", skip_serializing_if = "tasks::is_classify")]
    #[schemars(extend("enum" = tasks::names()))]
    task: String,
    /// An encoder to start from: a node, or `{ file = "resnet18.safetensors" }`; fresh weights if left out.
    init: Option<EncoderStart>,
    /// The network of a start from scratch or from a file; a node brings its own.
    backbone: Option<BackboneSettings>,
    /// How training images are varied; as they are if left out.
    views: Option<NodeRef>,
    /// Unlabelled images to learn from by `semi`: all training images but those of `data`. Their labels are not looked at, but to show how many
    /// guesses are right.
    unlabelled: Option<NodeRef>,
    /// How strong views of the unlabelled images are made; their weak ones are made by `views`.
    strong: Option<NodeRef>,
    /// How unlabelled images are learnt from: `{ method = "fixmatch", threshold = 0.95, ratio = 7 }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    semi: Option<SemiSettings>,
    /// Optimiser steps; 0 with `head = "probe"` leaves the linear probe on the encoder as it is. Either these or `budget`.
    steps: Option<usize>,
    /// Images that may go through the encoder forward and backward, every view of every image counted, a forward pass alone as a third: what
    /// trainings of different cost per step are held equal by. Steps follow from it, to the nearest whole one. `{ of = .., share = 0.5 }` is a part of
    /// an arm's budget, `{ of = .., rest = true }` what all that the node depends on leaves of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
    /// Images per step; with `semi`, labelled ones, each with `semi.ratio` unlabelled ones.
    #[serde(default = "batch")]
    batch: usize,
    /// The optimiser.
    #[serde(default)]
    optimizer: OptimizerConfig,
    /// Peak learning rate.
    lr: f32,
    /// The encoder's learning rate as a multiple of `lr`.
    #[serde(default = "one")]
    encoder_lr_scale: f32,
    /// Steps of linear warm-up before the cosine.
    #[serde(default)]
    warmup_steps: usize,
    /// Share of each batch that is truly labelled, where there are pseudo-labels too.
    #[serde(default = "half")]
    labelled_share: f32,
    /// How labelled and pseudo-labelled images are weighed against each other, as `{ weight = 1.0, temperature = 2.0 }`; if nothing is said, all
    /// images of a batch count alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pseudo_loss: Option<JointLossSettings>,
    /// How much of each target is spread evenly over the classes.
    #[serde(default)]
    label_smoothing: f32,
    /// How the head of an encoder begins: `random`, or as the linear `probe` of the labelled images.
    #[serde(default)]
    head: HeadStart,
    /// Whether only the head learns.
    #[serde(default)]
    freeze: bool,
    /// Whether batch norm keeps the statistics that the encoder came with.
    #[serde(default)]
    keep_statistics: bool,
    /// Decides initial weights, order and views.
    #[serde(default)]
    seed: u64,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    device: DeviceChoice,
    /// What products are made of. On a GPU `tf32`, which is the default, `fp32`, which is slower and as on the CPU, or `bf16`, which is the coarsest; on the CPU `fp32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

/// How a head begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HeadStart {
    /// With random weights.
    #[default]
    Random,
    /// As the linear probe of the labelled images on the encoder's features.
    Probe,
}

fn batch() -> usize {
    64
}

fn one() -> f32 {
    1.0
}

fn half() -> f32 {
    0.5
}

impl FinetuneNode {
    /// Optimiser steps: exactly one of `steps` and `budget` is given.
    fn steps(&self) -> Result<usize, ParamError> {
        match (self.steps, self.budget) {
            (Some(steps), None) => Ok(steps),
            (None, Some(budget)) => {
                let step = self.fit_settings(0).cost(self.semi.as_ref());
                let images = budget.used() as f64;
                if images < step && !(images == 0.0 && self.head == HeadStart::Probe) {
                    let message = format!("{images} found, but one step takes {step:.0} images forward and backward");
                    return Err(at_with("budget", message, "raise `budget`, or lower `batch`"));
                }
                Ok((images / step).round() as usize)
            }
            (Some(_), Some(_)) => Err(at_with(
                "budget",
                "`steps` and `budget` both say how long to train",
                "leave one of them out",
            )),
            (None, None) => Err(at_with(
                "",
                "a finetune node needs `steps` or `budget`",
                "`steps = 300` are optimiser steps, `budget = 20000` images forward and backward",
            )),
        }
    }

    fn settings(&self) -> Result<FitSettings, ParamError> {
        Ok(self.fit_settings(self.steps()?))
    }

    /// The network, where it is known before the run.
    fn network(&self, inputs: &InputFacts) -> Option<BackboneSettings> {
        let brought = inputs
            .get::<NetworkFacts>("init")
            .and_then(|init| init.backbone.clone());
        brought.or_else(|| self.backbone.clone())
    }

    fn spending(&self, settings: &FitSettings) -> Spending {
        let used = settings.steps as f64 * settings.cost(self.semi.as_ref());
        self.budget.map_or(Spending::all(used), |budget| budget.spending(used))
    }

    fn fit_settings(&self, steps: usize) -> FitSettings {
        FitSettings {
            optimizer: self.optimizer.clone(),
            lr: self.lr,
            encoder_lr_scale: self.encoder_lr_scale,
            warmup_steps: self.warmup_steps,
            steps,
            batch: self.batch,
            labelled_share: self.labelled_share,
            joint: self.pseudo_loss,
            label_smoothing: self.label_smoothing,
            freeze: self.freeze,
            keep_statistics: self.keep_statistics,
            seed: self.seed,
        }
    }

    /// The encoder to start from, and how it was declared.
    fn start(
        &self,
        inputs: &Inputs,
        cx: &Context<'_>,
        data: &Dataset,
        stream: &Stream,
    ) -> Result<EncoderArtifact, NodeError> {
        let facts = data.facts()?;
        if let Some(start) = &self.init {
            return start.open(
                "init",
                self.backbone.as_ref(),
                (&facts, &data.normalisation),
                inputs,
                cx,
            );
        }
        let backbone = self
            .backbone
            .clone()
            .ok_or_else(|| NodeError::failed("BUG: neither `init` nor `backbone` is given"))?;
        let encoder = backbone.build(facts.input, stream).map_err(failure)?;
        Ok(EncoderArtifact {
            backbone,
            encoder,
            normalisation: data.normalisation.clone(),
        })
    }
}

impl FinetuneNode {
    /// What is wrong with the settings whatever the data.
    fn check_settings(&self) -> Result<(), ParamError> {
        let settings = self.settings()?;
        settings.check().map_err(setting_error)?;
        match tasks::find(&self.task)? {
            Some(task) => self.check_task(task)?,
            None => self.check_semi()?,
        }
        if !(1..=2).contains(&self.data.len()) {
            let found = self.data.len();
            let message =
                format!("{found} data sets found, expected labelled images and, if you like, pseudo-labelled ones");
            return Err(at_with(
                "data",
                message,
                "write `data = [\"labelled\"]` or `data = [\"labelled\", \"pseudo\"]`",
            ));
        }
        if self.pseudo_loss.is_some() && self.data.len() < 2 {
            let help = "write `data = [\"labelled\", \"pseudo\"]`, or leave out `pseudo_loss`";
            return Err(at_with(
                "pseudo_loss",
                "there are no pseudo-labelled images to weigh",
                help,
            ));
        }
        if settings.steps == 0 && self.head != HeadStart::Probe {
            let help = "0 steps make sense with `head = \"probe\"` only: the linear probe on the frozen encoder is then the classifier";
            return Err(at_with("steps", "0 found, expected at least 1", help));
        }
        Ok(())
    }

    /// Whether `semi` and what goes with it are there together.
    fn check_semi(&self) -> Result<(), ParamError> {
        let Some(semi) = &self.semi else {
            for (key, given) in [
                ("unlabelled", self.unlabelled.is_some()),
                ("strong", self.strong.is_some()),
            ] {
                if given {
                    let help = "write `semi = { method = \"fixmatch\" }`, or leave it out";
                    return Err(at_with(key, format!("`{key}` is for `semi`, which is not given"), help));
                }
            }
            return Ok(());
        };
        semi.check().map_err(setting_error)?;
        let name = semi.settings().name();
        if self.unlabelled.is_none() {
            let help = "write `unlabelled = \"images\"`: the data set that the labelled images are a part of";
            return Err(at_with("semi", format!("`{name}` needs unlabelled images"), help));
        }
        match (semi.settings().second_view(), &self.strong) {
            (SecondView::Strong, None) => {
                let help = "write `strong = \"NODE\"`, an augment node such as `recipe = \"randaugment\"`";
                return Err(at_with("semi", format!("`{name}` needs strong views"), help));
            }
            (SecondView::None, Some(_)) => {
                let message = format!("`{name}` looks at one view of each image only");
                return Err(at_with("strong", message, "leave it out"));
            }
            _ => {}
        }
        if self.freeze {
            let message = format!("with `{name}` the encoder learns");
            return Err(at_with("freeze", message, "leave out `freeze`, or `semi`"));
        }
        if self.data.len() > 1 {
            let message = format!("`{name}` guesses by itself, so it takes labelled images only");
            return Err(at_with(
                "data[1]",
                message,
                "leave out the pseudo-labelled images, or `semi`",
            ));
        }
        Ok(())
    }

    /// Exactly one thing to start from, and nothing that makes no sense from there.
    fn check_start(&self) -> Result<(), ParamError> {
        match (&self.init, &self.backbone) {
            (None, None) => {
                let help = "`init = \"NODE\"` starts from an encoder, `backbone = { name = \"conv3\" }` from scratch";
                return Err(at_with("", "a finetune node needs `init` or `backbone`", help));
            }
            (Some(start), backbone) => start.check_backbone("init", backbone.as_ref())?,
            (None, Some(_)) => {}
        }
        for (key, given) in [
            ("freeze", self.freeze),
            ("keep_statistics", self.keep_statistics),
            ("head", self.head == HeadStart::Probe),
        ] {
            if given && self.init.is_none() {
                return Err(at_with(
                    key,
                    format!("`{key}` makes no sense from scratch"),
                    format!("give `init`, or leave out `{key}`"),
                ));
            }
        }
        Ok(())
    }
}

impl Node for FinetuneNode {
    const KIND: &'static str = "finetune";
    const VERSION: u32 = 7;
    const OUTPUT: ArtifactType = MODEL;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("data", &self.data, &[DATASET]),
            EncoderStart::port(&self.init, "init", &[ENCODER, MODEL]),
            Port::maybe("views", &self.views, &[RECIPE]),
            Port::maybe("unlabelled", &self.unlabelled, &[DATASET]),
            Port::maybe("strong", &self.strong, &[RECIPE]),
        ]
    }

    fn files(&self, _folder: &Path) -> Vec<NodeFile> {
        EncoderStart::files(&self.init, "init")
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        self.check_settings()?;
        self.check_start()?;
        let Some(data) = inputs.get::<DatasetFacts>("data") else {
            return Ok(Facts::unknown());
        };
        if let Some(second) = inputs.all("data").get(1).and_then(|second| second.facts.get()) {
            same_task("data[1]", data, second)?;
        }
        if let Some(task) = tasks::find(&self.task)? {
            return self.task_facts(task, inputs, data);
        }
        if data.class_names.as_ref().is_some_and(|names| names.len() < 2) {
            let message = "all images are of one class: there is nothing to classify";
            return Err(at_with("data", message, "give images of at least two classes"));
        }
        if self.semi.is_some() && data.input.modality.is_text() {
            return Err(at_with("semi", TEXTS_HAVE_NO_VIEWS, "leave out `semi`"));
        }
        if let Some(unlabelled) = inputs.get::<DatasetFacts>("unlabelled") {
            same_task("unlabelled", data, unlabelled)?;
        }
        check_mixing(inputs, "views", data)?;
        check_recipe(inputs, "strong", data)?;
        if let Some(backbone) = &self.backbone {
            sketches::check(backbone, data.input, None)?;
        }
        // Labelled and unlabelled images go through the network in one batch.
        let unlabelled = self.semi.as_ref().map_or(0, |semi| semi.settings().common().ratio);
        self.network_facts(inputs, data, unlabelled.saturating_add(1), None)
    }

    fn settled(&self, spent: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let budget = self.budget.map(|budget| budget.settled(spent)).transpose()?.flatten();
        let device = self.device.settled(self.precision)?;
        Ok((budget.is_some() || device.is_some()).then(|| Self {
            budget: budget.or(self.budget),
            device: device.unwrap_or_else(|| self.device.clone()),
            precision: None,
            ..self.clone()
        }))
    }

    fn spends(&self, _inputs: &InputFacts) -> Option<Spending> {
        Some(self.spending(&self.settings().ok()?))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        let backbone = self.network(inputs);
        let data = inputs.get::<DatasetFacts>("data");
        // Labelled and unlabelled views go through the network together.
        let views = self
            .semi
            .as_ref()
            .map_or(1, |semi| 1 + 2 * semi.settings().common().ratio);
        let bytes = |(backbone, data): (_, &DatasetFacts)| memory::gpu_bytes(self.batch * views, data.input, backbone);
        self.device.resources(backbone.as_ref().zip(data).map(bytes))
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let sets = inputs.all("data");
        let labelled = Dataset::read(&sets[0], &[SplitName::Train])?;
        let pseudo = sets
            .get(1)
            .map(|set| Dataset::read(set, &[SplitName::Train]))
            .transpose()?;
        if let Some(pseudo) = &pseudo {
            same_task("data[1]", &labelled.facts()?, &pseudo.facts()?).map_err(refused)?;
        }
        match tasks::find(&self.task).map_err(refused)? {
            Some(task) => self.locate(task, (labelled, pseudo), inputs, cx),
            None => self.classify((labelled, pseudo), inputs, cx),
        }
    }
}

impl FinetuneNode {
    /// What comes out, if a step of so many views of an image fits into memory and what it starts from takes such images.
    fn network_facts(
        &self,
        inputs: &InputFacts,
        data: &DatasetFacts,
        views: usize,
        task: Option<&'static str>,
    ) -> Result<Facts, ParamError> {
        memory::Step {
            batch: self.batch,
            views,
            data,
            backbone: self.backbone.as_ref(),
            optimizer: &self.optimizer,
        }
        .fits()?;
        EncoderStart::check_input("init", inputs, data)?;
        Ok(Facts::of(NetworkFacts {
            input: data.input,
            class_names: data.class_names.clone(),
            backbone: self.network(inputs),
            task,
        }))
    }
}
