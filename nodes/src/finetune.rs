//! `kind = "finetune"`: a classifier, from scratch or from an encoder, on labelled or labelled and pseudo-labelled images.
//!
//! For self-training the engine repeats the node: with `rounds = 2` and `becomes = "guess.teacher"` the student of the
//! first round labels the images that the student of the second learns from.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, Output, ParamError, Port,
    Progress, Resources,
};
use flow_learn::augment::Recipe;
use flow_learn::backbones::BackboneSettings;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::train::{Classifier, Fit, FitSettings};
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, EncoderStart, HeadInfo, MODEL, ModelArtifact,
    NetworkFacts, RECIPE, RecipeArtifact, SplitName, same_task,
};
use crate::augment::check_recipe;
use crate::failure::{at_with, backbone_error, failure, refused, setting_error, training_failure};

/// Steps between two looks at the clock for a checkpoint.
const STRETCH: usize = 25;

/// Data, start, network and optimiser of a fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneNode {
    /// Labelled images and, if there are two, pseudo-labelled ones.
    data: Vec<NodeRef>,
    /// An encoder to start from: a node, or `{ file = "resnet18.safetensors" }`; fresh weights if left out.
    init: Option<EncoderStart>,
    /// The network of a start from scratch or from a file; a node brings its own.
    backbone: Option<BackboneSettings>,
    /// How training images are varied; as they are if left out.
    views: Option<NodeRef>,
    /// Optimiser steps; 0 with `head = "probe"` leaves the linear probe on the encoder as it is.
    steps: usize,
    /// Images per step.
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
}

/// How a head begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    fn settings(&self) -> FitSettings {
        FitSettings {
            optimizer: self.optimizer.clone(),
            lr: self.lr,
            encoder_lr_scale: self.encoder_lr_scale,
            warmup_steps: self.warmup_steps,
            steps: self.steps,
            batch: self.batch,
            labelled_share: self.labelled_share,
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
            .ok_or_else(|| NodeError::failed("neither `init` nor `backbone` is given"))?;
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
        self.settings().check().map_err(setting_error)?;
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
        if self.steps == 0 && self.head != HeadStart::Probe {
            let help = "0 steps make sense with `head = \"probe\"` only: the linear probe on the frozen encoder is then the classifier";
            return Err(at_with("steps", "0 found, expected at least 1", help));
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
    const VERSION: u32 = 3;
    const OUTPUT: ArtifactType = MODEL;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("data", &self.data, &[DATASET]),
            EncoderStart::port(&self.init, "init", &[ENCODER, MODEL]),
            Port::maybe("views", &self.views, &[RECIPE]),
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
        if data.class_names.as_ref().is_some_and(|names| names.len() < 2) {
            let message = "all images are of one class: there is nothing to tell apart";
            return Err(at_with("data", message, "give images of at least two classes"));
        }
        check_recipe(inputs, "views", data)?;
        if let Some(backbone) = &self.backbone {
            backbone
                .build(data.input, &Stream::new(0, "check"))
                .map_err(|e| backbone_error(&e))?;
        }
        EncoderStart::check_input("init", inputs, data)?;
        Ok(Facts::of(NetworkFacts {
            input: data.input,
            class_names: data.class_names.clone(),
        }))
    }

    fn resources(&self) -> Resources {
        Resources {
            max_threads: usize::MAX,
            ..Resources::default()
        }
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
        let recipe = match inputs.maybe("views") {
            Some(views) => RecipeArtifact::read(views)?.0,
            None => Recipe::default(),
        };
        let stream = Stream::new(self.seed, "classifier");
        let EncoderArtifact {
            backbone,
            encoder,
            normalisation,
        } = self.start(inputs, cx, &labelled, &stream)?;
        let augmenter = normalisation.augmenter(&recipe, encoder.takes())?;
        let truths = labelled.example_set()?;
        let guesses = pseudo.as_ref().map(Dataset::example_set).transpose()?;
        if guesses.as_ref().is_some_and(|guesses| guesses.indices.is_empty()) {
            cx.host
                .note("there are no pseudo-labels: self-training does not happen, only the labelled images are learnt");
        }
        let labelled_examples = labelled.as_examples(&truths)?;
        let pseudo_examples = match (&pseudo, &guesses) {
            (Some(data), Some(set)) => Some(data.as_examples(set)?),
            _ => None,
        };
        let classifier = match self.head {
            HeadStart::Random => Classifier::new(encoder, labelled.classes(), &stream),
            HeadStart::Probe => {
                let plain = normalisation.augmenter(&Recipe::default(), encoder.takes())?;
                Classifier::with_probe_head(encoder, labelled.classes(), &labelled_examples, &plain).map_err(failure)?
            }
        };
        let fit = Fit::new(
            self.settings(),
            classifier,
            labelled_examples,
            pseudo_examples,
            &augmenter,
        )
        .map_err(failure)?;
        let fit = self.train(fit, cx)?;
        let head = HeadInfo {
            class_names: labelled.class_names.clone(),
            labels: truths.indices.len(),
            pseudo_labels: guesses.as_ref().map(|guesses| guesses.indices.len()),
        };
        let metrics = [
            ("images_trained", fit.images_seen() as f64),
            ("labels", head.labels as f64),
            ("pseudo_labels", head.pseudo_labels.unwrap_or(0) as f64),
        ];
        let metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        let artifact = ModelArtifact {
            backbone,
            classifier: fit.into_classifier(),
            normalisation,
            head,
        };
        Ok(Output {
            files: artifact.into_files(),
            metrics,
        })
    }
}

impl FinetuneNode {
    /// Goes on from the last checkpoint, if there is one, to the last step.
    fn train<'a>(&self, mut fit: Fit<'a>, cx: &Context<'_>) -> Result<Fit<'a>, NodeError> {
        if let Some(checkpoint) = cx.host.load_checkpoint()? {
            fit.resume(&checkpoint).map_err(failure)?;
            cx.host
                .note(&format!("goes on after step {} of {}", fit.step(), self.steps));
        }
        let (began, first) = (Instant::now(), fit.step());
        let mut recent = f64::NAN;
        while fit.step() < self.steps {
            let stopped = fit.run(STRETCH, |step, loss| {
                recent = if recent.is_nan() {
                    f64::from(loss)
                } else {
                    0.95 * recent + 0.05 * f64::from(loss)
                };
                let rate = ((step - first) * self.batch) as f64 / began.elapsed().as_secs_f64();
                cx.host.progress(Progress {
                    step: step as u64,
                    total: self.steps as u64,
                    unit: "step",
                    figures: vec![("loss", recent), ("images/s", rate)],
                });
                if cx.host.stop_requested() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if stopped.is_err() || cx.host.checkpoint_due() {
                cx.host.save_checkpoint(&fit.checkpoint())?;
            }
            stopped.map_err(training_failure)?;
        }
        Ok(fit)
    }
}
