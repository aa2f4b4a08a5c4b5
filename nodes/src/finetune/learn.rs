//! Learning to classify: from the data and the encoder to a trained classifier.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use flow_engine::node::{Context, Input, Inputs, NodeError, Output, Progress};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::metrics::{accuracy, argmaxes};
use flow_learn::rng::Stream;
use flow_learn::train::{Classifier, Examples, Fit, Pool, TrainError, Training, predict};

use super::{FinetuneNode, HeadStart};
use crate::artifacts::{
    Dataset, EncoderArtifact, ExampleSet, HeadInfo, History, ModelArtifact, RecipeArtifact, SplitName, same_task,
    without,
};
use crate::device::note_memory;
use crate::failure::{device_failure, failure, refused, training_failure};
use crate::parts::resumes;

/// Steps between two looks at the clock for a checkpoint.
const STRETCH: usize = 25;

/// The metric that says whether a network has learnt what it was shown: the share of its labelled images that it gets right when training has ended.
pub(crate) const TRAIN_ACCURACY: &str = "train_accuracy";

/// Labelled images that this is measured on, at most.
const MEASURED: usize = 1000;

impl FinetuneNode {
    /// Trains the classifier.
    pub(super) fn classify(
        &self,
        (labelled, pseudo): (Dataset, Option<Dataset>),
        inputs: &Inputs,
        cx: &Context<'_>,
    ) -> Result<Output, NodeError> {
        let recipe = |port: &str| match inputs.maybe(port) {
            Some(views) => RecipeArtifact::read(views).map(|recipe| Some(recipe.0)),
            None => Ok(None),
        };
        let (weak, strong) = (recipe("views")?.unwrap_or_default(), recipe("strong")?);
        let stream = Stream::new(self.seed, "classifier");
        let EncoderArtifact {
            backbone,
            mut encoder,
            normalisation,
        } = self.start(inputs, cx, &labelled, &stream)?;
        let device = self.device.open(cx)?;
        encoder.device = Arc::clone(&device);
        let augmenter = normalisation.augmenter(&weak, encoder.takes())?;
        let strong = strong
            .map(|strong| normalisation.augmenter(&strong, encoder.takes()))
            .transpose()?;
        let unlabelled = match inputs.maybe("unlabelled") {
            Some(data) => Some(Unlabelled::read(data, &labelled)?),
            None => None,
        };
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
        let plain = normalisation.augmenter(&Recipe::default(), encoder.takes())?;
        let classes = labelled.classes();
        let classifier = self.classifier(encoder, classes, &labelled_examples, &plain, &stream)?;
        let average = self
            .semi
            .is_some()
            .then(|| twin(&backbone, &classifier, &stream))
            .transpose()?;
        let settings = self.settings().map_err(refused)?;
        let allowed = self.spending(&settings).allowed;
        let mut fit =
            Fit::new(settings, classifier, labelled_examples, pseudo_examples, &augmenter).map_err(failure)?;
        if let (Some(semi), Some(unlabelled), Some(average)) = (&self.semi, &unlabelled, average) {
            let pool = unlabelled.pool(strong.as_ref())?;
            fit = fit.with_unlabelled(semi.clone(), pool, average).map_err(failure)?;
        }
        let fit = self.train(fit, cx)?;
        note_memory(&*device, cx);
        let head = HeadInfo {
            class_names: labelled.class_names.clone(),
            labels: truths.indices.len(),
            pseudo_labels: guesses.as_ref().map(|guesses| guesses.indices.len()),
            task: None,
        };
        let mut metrics = metrics(&fit, &head, allowed);
        let history = self.semi.is_some().then(|| History::of(fit.history()).to_file());
        let mut classifier = fit.into_classifier();
        if !truths.guessed && !truths.indices.is_empty() {
            let learnt = train_accuracy(&mut classifier, &labelled, &truths, &plain)?;
            metrics.insert(TRAIN_ACCURACY.to_owned(), learnt);
        }
        let artifact = ModelArtifact {
            backbone,
            classifier,
            normalisation,
            head,
        };
        Ok(Output {
            files: artifact.into_files().into_iter().chain(history).collect(),
            metrics,
        })
    }

    /// The classifier at its first step.
    fn classifier(
        &self,
        encoder: Encoder,
        classes: usize,
        labelled: &Examples<'_>,
        plain: &Augmenter,
        stream: &Stream,
    ) -> Result<Classifier, NodeError> {
        match self.head {
            HeadStart::Random => Ok(Classifier::new(encoder, classes, stream)),
            HeadStart::Probe => {
                Classifier::with_probe_head(encoder, classes, labelled, plain).map_err(training_failure)
            }
        }
    }

    /// Goes on from the last checkpoint, if there is one, to the last step.
    pub(super) fn train<F: Training>(&self, mut fit: F, cx: &Context<'_>) -> Result<F, NodeError> {
        let steps = self.steps().map_err(refused)?;
        let per_step = self.fit_settings(steps).cost(self.semi.as_ref());
        if let Some(checkpoint) = cx.host.load_checkpoint()? {
            fit.resume(&checkpoint).map_err(failure)?;
            cx.host.note(&resumes(&format!("step {} of {steps}", fit.step())));
        }
        let (began, first) = (Instant::now(), fit.step());
        let (mut recent, mut told) = (f64::NAN, fit.history().len());
        while fit.step() < steps {
            let stopped = fit.run(STRETCH, |step, loss| {
                recent = if recent.is_nan() {
                    f64::from(loss)
                } else {
                    0.95 * recent + 0.05 * f64::from(loss)
                };
                let rate = (step - first) as f64 * per_step / began.elapsed().as_secs_f64();
                cx.host.progress(Progress {
                    step: step as u64,
                    total: steps as u64,
                    unit: "step",
                    metrics: vec![("loss", recent), ("images/s", rate)],
                });
                if cx.host.stop_requested() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            // What failed leaves nothing to go on from.
            let goes_on = matches!(stopped, Ok(()) | Err(TrainError::Stopped));
            if goes_on && (stopped.is_err() || cx.host.checkpoint_due()) {
                let checkpoint = fit.checkpoint().map_err(|error| device_failure(&error))?;
                cx.host.save_checkpoint(&checkpoint)?;
            }
            stopped.map_err(training_failure)?;
            if let Some(part) = fit.history().last().filter(|_| fit.history().len() > told) {
                let metric = |name: &str| part.metrics.get(name).copied().unwrap_or(0.0);
                cx.host.note(&format!(
                    "step {}: loss {:.4}, {:.0} % of the guesses count, {:.1} % of those are right",
                    fit.step(),
                    part.loss,
                    100.0 * metric("kept"),
                    100.0 * metric("precision")
                ));
            }
            told = fit.history().len();
        }
        Ok(fit)
    }
}

/// What a training comes to, for queries.
pub(super) fn metrics(fit: &impl Training, head: &HeadInfo, allowed: f64) -> BTreeMap<String, f64> {
    let counts = [
        ("images_allowed", allowed),
        ("images_trained", fit.images_seen() as f64),
        ("labels", head.labels as f64),
        ("pseudo_labels", head.pseudo_labels.unwrap_or(0) as f64),
    ];
    let counts = counts.map(|(name, value)| (name.to_owned(), value));
    let last = fit.history().last().map(|last| &last.metrics);
    let last = last.into_iter().flatten();
    let last = last.map(|(name, value)| (name.clone(), f64::from(*value)));
    counts.into_iter().chain(last).collect()
}

/// The share of labelled images that a classifier gets right, without augmentation; of many, so many as suffice, evenly over all.
fn train_accuracy(
    classifier: &mut Classifier,
    labelled: &Dataset,
    truths: &ExampleSet,
    plain: &Augmenter,
) -> Result<f64, NodeError> {
    let every = truths.indices.len().div_ceil(MEASURED);
    let indices: Vec<u32> = truths.indices.iter().copied().step_by(every).collect();
    let classes = classifier.classes;
    let known: Vec<usize> = argmaxes(&truths.targets, classes).step_by(every).collect();
    let probabilities = predict(classifier, labelled.train()?, &indices, plain).map_err(|e| device_failure(&e))?;
    Ok(accuracy(&known, &argmaxes(&probabilities, classes).collect::<Vec<_>>()))
}

/// Unlabelled images: those of a data set that are not, pixel for pixel, labelled examples.
struct Unlabelled {
    data: Dataset,
    indices: Vec<u32>,
}

impl Unlabelled {
    fn read(input: &Input, labelled: &Dataset) -> Result<Self, NodeError> {
        let data = Dataset::read(input, &[SplitName::Train])?;
        same_task("unlabelled", &labelled.facts()?, &data.facts()?).map_err(refused)?;
        let indices = without(("unlabelled", data.train()?), ("data", labelled))?;
        Ok(Self { data, indices })
    }

    fn pool<'a>(&'a self, strong: Option<&'a Augmenter>) -> Result<Pool<'a>, NodeError> {
        Ok(Pool {
            images: self.data.train()?,
            indices: &self.indices,
            strong,
        })
    }
}

/// Another classifier of the same shapes, whose weights are to be overwritten.
fn twin(backbone: &BackboneSettings, of: &Classifier, stream: &Stream) -> Result<Classifier, NodeError> {
    let encoder = backbone.build(of.encoder.takes(), stream).map_err(failure)?;
    Ok(Classifier::new(encoder, of.classes, stream))
}
