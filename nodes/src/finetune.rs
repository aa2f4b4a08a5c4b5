//! `kind = "finetune"`: a classifier, from scratch or from an encoder, on labelled or labelled and pseudo-labelled images.
//!
//! For self-training the engine repeats the node: with `rounds = 2` and `becomes = "guess.teacher"` the student of the
//! first round labels the images that the student of the second learns from.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Progress,
    Resources,
};
use flow_learn::augment::Recipe;
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::NetworkInput;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::train::{Classifier, Fit, FitSettings};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, EncoderStart, MODEL, ModelArtifact, RECIPE,
    RecipeArtifact, SplitName, input_facts,
};
use crate::augment::check_recipe;
use crate::failure::{at_with, backbone_error, failure, setting_error, training_failure};

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
        input: NetworkInput,
        stream: &Stream,
    ) -> Result<EncoderArtifact, NodeError> {
        if let Some(start) = &self.init {
            return start.open("init", self.backbone.as_ref(), input, inputs, cx);
        }
        let backbone = self
            .backbone
            .clone()
            .ok_or_else(|| NodeError::failed("neither `init` nor `backbone` is given"))?;
        let encoder = backbone.build(input, stream).map_err(failure)?;
        Ok(EncoderArtifact { backbone, encoder })
    }
}

impl Node for FinetuneNode {
    const KIND: &'static str = "finetune";
    const VERSION: u32 = 2;
    const OUTPUT: ArtifactType = MODEL;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("data", &self.data, &[DATASET]),
            EncoderStart::port(&self.init, "init", &[ENCODER, MODEL]),
            Port::maybe("views", &self.views, &[RECIPE]),
        ]
    }

    fn files(&self) -> Vec<PathBuf> {
        EncoderStart::files(&self.init)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
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
        if self.steps == 0 && self.head != HeadStart::Probe {
            let help = "0 steps make sense with `head = \"probe\"` only: the linear probe on the frozen encoder is then the classifier";
            return Err(at_with("steps", "0 found, expected at least 1", help));
        }
        let Some(data) = inputs.get("data").and_then(|d| d.first()).and_then(DatasetFacts::of) else {
            return Ok(Facts::new());
        };
        if data.classes == Some(1) {
            let help = "give images of at least two classes";
            return Err(at_with(
                "data",
                "all images are of one class: there is nothing to tell apart",
                help,
            ));
        }
        check_recipe(inputs, "views", &data)?;
        if let Some(backbone) = &self.backbone {
            backbone
                .build(data.input(), &Stream::new(0, "check"))
                .map_err(|e| backbone_error(&e))?;
        }
        if let Some(encoder) = inputs.get("init").and_then(|i| i.first()) {
            EncoderStart::check_input("init", encoder, &data)?;
        }
        let mut facts = input_facts(data.input());
        if let Some(classes) = data.classes {
            facts.insert("classes".into(), json!(classes));
        }
        Ok(facts)
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
        let recipe = match inputs.maybe("views") {
            Some(views) => RecipeArtifact::read(views)?.0,
            None => Recipe::default(),
        };
        let augmenter = labelled.augmenter(&recipe)?;
        let stream = Stream::new(self.seed, "classifier");
        let EncoderArtifact { backbone, encoder } = self.start(inputs, cx, augmenter.input(), &stream)?;
        let truths = labelled.example_set()?;
        let guesses = pseudo.as_ref().map(Dataset::example_set).transpose()?;
        let labelled_examples = labelled.as_examples(&truths)?;
        let pseudo_examples = match (&pseudo, &guesses) {
            (Some(data), Some(set)) => Some(data.as_examples(set)?),
            _ => None,
        };
        let classifier = match self.head {
            HeadStart::Random => Classifier::new(encoder, labelled.classes(), &stream),
            HeadStart::Probe => {
                let plain = labelled.augmenter(&Recipe::default())?;
                Classifier::with_probe_head(encoder, labelled.classes(), &labelled_examples, &plain)
            }
        };
        let mut fit = Fit::new(
            self.settings(),
            classifier,
            labelled_examples,
            pseudo_examples,
            &augmenter,
        )
        .map_err(failure)?;
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
        let metrics = [
            ("images_trained", fit.images_seen() as f64),
            ("labels", truths.indices.len() as f64),
            ("pseudo_labels", guesses.as_ref().map_or(0, |g| g.indices.len()) as f64),
        ];
        let artifact = ModelArtifact {
            backbone,
            classifier: fit.into_classifier(),
        };
        let metrics = metrics
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(Output {
            files: artifact.into_files(),
            metrics,
        })
    }
}
