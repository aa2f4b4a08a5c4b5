//! `kind = "pretrain"`: a backbone learns a pretext task on unlabelled images.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, Output, ParamError, Port,
    Progress, Resources, Spending, Spent,
};
use flow_learn::augment::{LocalViews, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::{NetworkInput, Samples};
use flow_learn::methods::{MethodConstraints, MethodError, MethodSettings};
use flow_learn::optim::{OptimizerConfig, check_lr};
use flow_learn::state::StateDict;
use flow_learn::train::{Length, PretrainSettings, Pretraining, TrainError, held_out, hold_out};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, EncoderStart, History, NetworkFacts, PretextPictures,
    RECIPE, RecipeArtifact, SplitName, TASK, Targets, TaskArtifact,
};
use crate::augment::check_views;
use crate::budget::Budget;
use crate::device::{DeviceChoice, Precision, note_memory};
use crate::failure::{at_with, backbone_error, device_failure, failure, method_error, setting_error, training_failure};
use crate::memory;
use crate::parts::resumes;

/// Images of which it is kept what the task showed of them.
const PICTURED: usize = 4;
/// Of a pretext task with answers, the metric that says which `accuracy` guessing would have.
pub(crate) const BY_GUESSING: &str = "accuracy_by_guessing";

/// Trains an encoder on a pretext task.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretrainNode {
    /// The images. Their labels are not looked at, but by `supervised`, which sees only the images that are labelled.
    data: NodeRef,
    /// How views are made; images as they are if left out.
    views: Option<NodeRef>,
    /// What is learnt.
    task: NodeRef,
    /// An encoder to start from, of the same `backbone`: a node, or `{ file = "resnet18.safetensors" }`; fresh weights if left out.
    init: Option<EncoderStart>,
    /// The network.
    backbone: BackboneSettings,
    /// Passes over the images; either these or `budget`.
    epochs: Option<usize>,
    /// Images that may go through the encoder forward and backward, so that methods that differ in what they do with an image can be
    /// held against each other: SimCLR's two views of an image count as two, a pass without a gradient as a third. Steps follow
    /// from it, and the last epoch may be a short one. `{ of = .., share = 0.5 }` is a part of an arm's budget, `{ of = .., rest = true }` what all that
    /// the node depends on leaves of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
    /// Images per step.
    #[serde(default = "batch")]
    batch: usize,
    /// The optimiser.
    #[serde(default)]
    optimizer: OptimizerConfig,
    /// Peak learning rate.
    lr: f32,
    /// Epochs of linear warm-up before the cosine.
    #[serde(default)]
    warmup_epochs: usize,
    /// Images that the features are watched on after each epoch; 0 for none. So many training images show deviation and effective rank, and vote
    /// on so many that are not trained on: the first of the validation images, or, where there are none, training images that are held out for
    /// this, a twentieth of them at most, the same for every seed and method. Labels are only watched: no weight depends on them.
    #[serde(default = "monitor")]
    monitor: usize,
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

fn monitor() -> usize {
    500
}

fn batch() -> usize {
    256
}

impl PretrainNode {
    /// Exactly one of `epochs` and `budget`.
    fn length(&self) -> Result<Length, ParamError> {
        match (self.epochs, self.budget) {
            (Some(epochs), None) => Ok(Length::Epochs(epochs)),
            (None, Some(budget)) => Ok(Length::Budget(budget.used())),
            (Some(_), Some(_)) => Err(at_with(
                "budget",
                "`epochs` and `budget` both say how long to train",
                "leave one of them out",
            )),
            (None, None) => Err(at_with(
                "",
                "a pretrain node needs `epochs` or `budget`",
                "`epochs = 20` are passes over the images, `budget = 40000` images forward and backward",
            )),
        }
    }

    fn settings(&self, method: MethodSettings) -> Result<PretrainSettings, ParamError> {
        Ok(PretrainSettings {
            backbone: self.backbone.clone(),
            method,
            optimizer: self.optimizer.clone(),
            lr: self.lr,
            warmup_epochs: self.warmup_epochs,
            length: self.length()?,
            batch: self.batch,
            monitor: self.monitor,
            seed: self.seed,
        })
    }

    /// A budget that does not pay for a step is a slip.
    fn check_budget(&self, method: &MethodSettings, local: Option<LocalViews>) -> Result<(), ParamError> {
        let step = self.batch as f64 * method.cost(local);
        match self.budget {
            Some(budget) if (budget.used() as f64) < step => Err(at_with(
                "budget",
                format!(
                    "{} found, but one step of {} takes {step:.0} images forward and backward",
                    budget.used(),
                    method.settings().name()
                ),
                "raise `budget`, or lower `batch`",
            )),
            _ => Ok(()),
        }
    }

    /// Local views are smaller images, which the network must be able to take.
    fn check_local_views(&self, local: Option<LocalViews>, input: NetworkInput) -> Result<(), ParamError> {
        let Some(local) = local else { return Ok(()) };
        let shape = local.shape(input.shape);
        let small = NetworkInput { shape, ..input };
        self.backbone.sketch(small).map(|_| ()).map_err(|e| {
            at_with(
                "views",
                format!("its local views are {}x{} pixels: {e}", shape.w, shape.h),
                "raise `size` of `multi_crop`, or take a backbone that shrinks images less",
            )
        })
    }

    fn spending(&self, used: f64) -> Spending {
        self.budget.map_or(Spending::all(used), |budget| budget.spending(used))
    }

    /// How many images there are, and how many of them are held out, if that is known.
    fn images(&self, method: Option<&MethodSettings>, data: &DatasetFacts) -> Option<(usize, usize)> {
        let all = match data.targets {
            Targets::Labels(labels) if method.is_some_and(|method| method.settings().uses_labels()) => labels,
            _ => data.count(SplitName::Train)?,
        };
        let aside = match data.count(SplitName::Validation) {
            Some(0) => held_out(all, self.monitor),
            _ => 0,
        };
        Some((all, aside))
    }

    /// Whether the method, if it is known, can learn from these examples, so many at a time, with this network.
    fn check_method(
        &self,
        method: Option<&MethodSettings>,
        data: &DatasetFacts,
        local: Option<LocalViews>,
        encoder: &Encoder,
    ) -> Result<(), ParamError> {
        let counts = self.images(method, data);
        if let Some((all, aside)) = counts
            && self.batch > all - aside
        {
            let (noun, rest) = (data.input.modality.noun(), all - aside);
            let message = format!(
                "{} found, but there are only {rest} {noun} to train on ({aside} of {all} are held out by `monitor`)",
                self.batch
            );
            return Err(at_with("batch", message, "lower `batch`"));
        }
        let constraints = MethodConstraints {
            batch: self.batch,
            image: encoder.input,
            // Where the number is not known, more than any setting asks for.
            images: counts.map_or(usize::MAX, |(all, aside)| all - aside),
            features: encoder.dim,
            pretrained: self.init.is_some(),
            patches: encoder.patches(),
            local_views: local,
        };
        let Some(method) = method else { return Ok(()) };
        if let Some((all, aside)) = counts {
            let per_epoch = (all - aside) / self.batch.max(1);
            let steps = self.length()?.steps(per_epoch, self.batch, method.cost(local));
            let checked = self.length()?.check_steps(steps, self.warmup_epochs * per_epoch);
            checked.map_err(setting_error)?;
        }
        method.check(&constraints).map_err(|e| at_task(&e))
    }

    /// The examples to train on, and those that are only watched. A method that uses labels sees labelled examples only.
    fn watched(&self, data: &Dataset, uses_labels: bool) -> Result<(Samples, Samples), NodeError> {
        let train = if uses_labels {
            data.with_targets()?
        } else {
            data.train()?.clone()
        };
        let Ok(validation) = data.split(SplitName::Validation) else {
            return Ok(hold_out(&train, self.monitor));
        };
        let first: Vec<u32> = (0..validation.n().min(self.monitor) as u32).collect();
        Ok((train, validation.select(&first)))
    }

    /// The encoder of the same network to start from, if there is one.
    fn start(&self, data: &Dataset, inputs: &Inputs, cx: &Context<'_>) -> Result<Option<EncoderArtifact>, NodeError> {
        let Some(start) = &self.init else { return Ok(None) };
        let found = start.open(
            "init",
            Some(&self.backbone),
            (&data.facts()?, &data.normalisation),
            inputs,
            cx,
        )?;
        let backbone = &found.backbone;
        if *backbone != self.backbone {
            let message = format!(
                "`init` has the backbone {backbone}, but this node has {}",
                self.backbone
            );
            return Err(NodeError::failed(message).with_help("write the same backbone in both nodes"));
        }
        Ok(Some(found))
    }
}

impl Node for PretrainNode {
    const KIND: &'static str = "pretrain";
    const VERSION: u32 = 8;
    const OUTPUT: ArtifactType = ENCODER;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("data", &self.data, &[DATASET]),
            Port::maybe("views", &self.views, &[RECIPE]),
            Port::one("task", &self.task, &[TASK]),
            EncoderStart::port(&self.init, "init", &[ENCODER]),
        ]
    }

    fn files(&self, _folder: &Path) -> Vec<NodeFile> {
        EncoderStart::files(&self.init, "init")
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        check_lr(self.lr).map_err(setting_error)?;
        self.optimizer.check().map_err(setting_error)?;
        self.length()?.check(self.warmup_epochs).map_err(setting_error)?;
        let Some(data) = inputs.get::<DatasetFacts>("data") else {
            return Ok(Facts::unknown());
        };
        check_views(inputs, "views", data)?;
        let local = local_views(inputs);
        self.check_local_views(local, data.input)?;
        let method = inputs.get::<MethodSettings>("task");
        if let Some(method) = method {
            method.check_takes(data.input.modality).map_err(|e| at_task(&e))?;
            self.check_budget(method, local)?;
        }
        // A network that is too large to be made for this is looked at when it is trained.
        let encoder = self.backbone.sketch(data.input).map_err(|e| backbone_error(&e))?;
        // What is cut into tiles, or looked at once more without a gradient, is held as one image at least; local views go through the network
        // after the whole ones, all together.
        let views = method.map_or(1.0, |method| method.settings().views().clamp(1.0, 2.0));
        let views = views.max(local.map_or(0.0, LocalViews::cost));
        memory::Step {
            batch: self.batch,
            views: views as usize,
            data,
            backbone: Some(&self.backbone),
            optimizer: &self.optimizer,
        }
        .fits()?;
        if let Some(encoder) = encoder {
            self.check_method(method, data, local, &encoder)?;
        }
        EncoderStart::check_input("init", inputs, data)?;
        Ok(Facts::of(NetworkFacts {
            input: data.input,
            class_names: None,
            backbone: Some(self.backbone.clone()),
            task: None,
        }))
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

    fn spends(&self, inputs: &InputFacts) -> Option<Spending> {
        let method = inputs.get::<MethodSettings>("task")?;
        let (views, length) = (method.cost(local_views(inputs)), self.length().ok()?);
        let per_epoch = match length {
            Length::Budget(_) => 0,
            Length::Epochs(_) => {
                let (all, aside) = self.images(Some(method), inputs.get::<DatasetFacts>("data")?)?;
                (all - aside) / self.batch.max(1)
            }
        };
        let steps = length.steps(per_epoch, self.batch, views);
        Some(self.spending(steps as f64 * self.batch as f64 * views))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        let views = inputs
            .get::<MethodSettings>("task")
            .map(|method| method.cost(local_views(inputs)));
        let data = inputs.get::<DatasetFacts>("data");
        self.device.resources(views.zip(data).map(|(views, data)| {
            memory::gpu_bytes((self.batch as f64 * views).ceil() as usize, data.input, &self.backbone)
        }))
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let data = Dataset::read(inputs.one("data"), &[SplitName::Train, SplitName::Validation])?;
        let recipe = match inputs.maybe("views") {
            Some(views) => RecipeArtifact::read(views)?.0,
            None => Recipe::default(),
        };
        let TaskArtifact(method) = TaskArtifact::read(inputs.one("task"))?;
        let (images, held) = self.watched(&data, method.settings().uses_labels())?;
        let start = self.start(&data, inputs, cx)?;
        let normalisation = start
            .as_ref()
            .map_or(&data.normalisation, |start| &start.normalisation)
            .clone();
        let augmenter = normalisation.augmenter(&recipe, data.facts()?.input)?;
        let pretrained = start.map(|mut start| StateDict::of(&mut start.encoder, ""));
        let guessing = method.settings().guessing();
        let settings = self.settings(method).map_err(|e| failure(e.message))?;
        let training = Pretraining::new(settings, &images, &augmenter, pretrained.as_ref()).map_err(failure)?;
        let device = self.device.open(cx)?;
        let mut training = training.on(Arc::clone(&device)).watching(&held);
        cx.host.note(&format!(
            "trains on {} {}, watches {} that are not trained on",
            images.n(),
            data.modality().noun(),
            held.n()
        ));
        self.train(&mut training, cx)?;
        note_memory(&*device, cx);
        let first: Vec<u32> = (0..held.n().min(PICTURED) as u32).collect();
        let pictures = PretextPictures::of(&training.pictures(&held, &first));
        let images_trained = training.images_seen() as f64;
        let mut metrics = std::collections::BTreeMap::from([
            ("images_allowed".to_owned(), self.spending(images_trained).allowed),
            ("images_trained".to_owned(), images_trained),
        ]);
        if let Some(last) = training.history().last() {
            metrics.insert("loss".into(), f64::from(last.loss));
            metrics.extend(guessing.map(|share| (BY_GUESSING.to_owned(), share)));
            metrics.extend(
                last.metrics
                    .iter()
                    .map(|(name, value)| (name.clone(), f64::from(*value))),
            );
        }
        let history = History::of(training.history()).to_file();
        let mut artifact = EncoderArtifact {
            backbone: self.backbone.clone(),
            encoder: training.into_encoder(),
            normalisation,
        };
        Ok(Output {
            files: [artifact.to_file(), history]
                .into_iter()
                .chain(pictures.to_file())
                .collect(),
            metrics,
        })
    }
}

impl PretrainNode {
    /// Goes on from the last checkpoint, if there is one, to the last epoch.
    fn train(&self, training: &mut Pretraining<'_>, cx: &Context<'_>) -> Result<(), NodeError> {
        if let Some(checkpoint) = cx.host.load_checkpoint()? {
            training.resume(&checkpoint).map_err(failure)?;
            let (epochs, steps) = (training.history().len(), training.steps_begun());
            let all = training.epochs();
            cx.host.note(&resumes(&match steps {
                0 => format!("epoch {epochs} of {all}"),
                _ => format!("epoch {epochs} of {all} and {steps} steps"),
            }));
        }
        while !training.is_done() {
            let epoch = training.history().len();
            let (epochs, steps) = (training.epochs(), training.steps_per_epoch());
            let _span = tracing::info_span!("epoch", number = epoch + 1, of = epochs).entered();
            let (all, per_step) = (training.steps(), self.batch);
            let began = Instant::now();
            let begun = training.steps_begun();
            let ended = training.run_epoch(|step, loss| {
                let rate = ((step + 1 - begun) * per_step) as f64 / began.elapsed().as_secs_f64();
                cx.host.progress(Progress {
                    step: (epoch * steps + step + 1) as u64,
                    total: all as u64,
                    unit: "step",
                    metrics: vec![
                        ("epoch", (epoch + 1) as f64),
                        ("loss", f64::from(loss)),
                        ("images/s", rate),
                    ],
                });
                if cx.host.stop_requested() || cx.host.checkpoint_due() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            let outcome = match ended {
                Err(TrainError::Stopped) => {
                    Self::save(training, cx)?;
                    if cx.host.stop_requested() {
                        return Err(NodeError::Stopped);
                    }
                    continue;
                }
                ended => ended.map_err(training_failure)?,
            };
            let metrics = outcome
                .metrics
                .iter()
                .map(|(name, value)| format!(", {name} {value:.4}"));
            let metrics: String = metrics.collect();
            cx.host
                .note(&format!("epoch {}: loss {:.4}{metrics}", epoch + 1, outcome.loss));
            Self::save(training, cx)?;
        }
        Ok(())
    }

    fn save(training: &mut Pretraining<'_>, cx: &Context<'_>) -> Result<(), NodeError> {
        let checkpoint = training.checkpoint().map_err(|error| device_failure(&error))?;
        cx.host.save_checkpoint(&checkpoint)
    }
}

/// What the recipe of `views` asks for besides whole ones.
fn local_views(inputs: &InputFacts) -> Option<LocalViews> {
    inputs.get::<Recipe>("views").and_then(Recipe::local_views)
}

/// The culprit may be a key of the pretext node; it is named in the text, and the task is where it is chosen.
fn at_task(error: &MethodError) -> ParamError {
    let mut error = method_error(error);
    if !["batch", "backbone", "views"].contains(&&*error.key) {
        error.message = format!("`{}` of the pretext task: {}", error.key, error.message);
        error.key = "task".into();
    }
    error
}
