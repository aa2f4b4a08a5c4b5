//! Tasks that tell where things are.

use flow_engine::node::{Context, Facts, InputFacts, Inputs, NodeError, Output, ParamError};
use flow_learn::rng::Stream;
use flow_learn::tasks::{LocatedExamples, LocatingFit, Locator, Task};

use super::learn::metrics;
use super::{FinetuneNode, HeadStart};
use crate::artifacts::{
    Dataset, DatasetFacts, EncoderArtifact, ExampleSet, HeadInfo, LocatorArtifact, RecipeArtifact, SplitName,
};
use crate::augment::check_recipe;
use crate::failure::{failure, refused};
use crate::{sketches, tasks};

impl FinetuneNode {
    /// Whether nothing is asked for that only classification has.
    pub(super) fn check_task(&self, task: &dyn Task) -> Result<(), ParamError> {
        let smooth = self.label_smoothing != 0.0;
        let warm = self.pseudo_loss.is_some_and(|loss| loss.temperature != 1.0);
        let given = [
            ("semi", self.semi.is_some()),
            ("unlabelled", self.unlabelled.is_some()),
            ("strong", self.strong.is_some()),
            ("head", self.head != HeadStart::Random),
            ("label_smoothing", smooth),
            ("pseudo_loss.temperature", warm),
        ];
        let found = given.into_iter().find(|(_, given)| *given);
        found.map_or(Ok(()), |(key, _)| Err(tasks::only_classify(key, task)))
    }

    /// What can be said of the network before anything runs.
    pub(super) fn task_facts(
        &self,
        task: &'static dyn Task,
        inputs: &InputFacts,
        data: &DatasetFacts,
    ) -> Result<Facts, ParamError> {
        tasks::annotated("data", data, task)?;
        if let Some(pseudo) = inputs.all("data").get(1).and_then(|second| second.facts.get()) {
            tasks::annotated("data[1]", pseudo, task)?;
        }
        check_recipe(inputs, "views", data)?;
        if let Some(backbone) = &self.backbone {
            let head = data.class_names.as_ref().map(|names| (task, names.len()));
            sketches::check(backbone, data.input, head)?;
        }
        self.network_facts(inputs, data, 1, Some(task.name()))
    }

    /// Trains the network.
    pub(super) fn locate(
        &self,
        task: &'static dyn Task,
        (labelled, pseudo): (Dataset, Option<Dataset>),
        inputs: &Inputs,
        cx: &Context<'_>,
    ) -> Result<Output, NodeError> {
        let views = inputs.maybe("views").map(RecipeArtifact::read).transpose()?;
        let stream = Stream::new(self.seed, "locator");
        let EncoderArtifact {
            backbone,
            mut encoder,
            normalisation,
        } = self.start(inputs, cx, &labelled, &stream)?;
        encoder.device = self.device.open(cx)?;
        let augmenter = normalisation.augmenter(&views.map(|views| views.0).unwrap_or_default(), encoder.takes())?;
        let truths = labelled.example_set()?;
        let guesses = pseudo.as_ref().map(Dataset::example_set).transpose()?;
        if guesses.as_ref().is_some_and(|guesses| guesses.indices.is_empty()) {
            cx.host
                .note("there are no pseudo-labels: self-training does not happen, only the labelled images are learnt");
        }
        let labelled_examples = examples(&labelled, &truths, task)?;
        let pseudo_examples = match (&pseudo, &guesses) {
            (Some(data), Some(set)) => Some(examples(data, set, task)?),
            _ => None,
        };
        let network = Locator::new(encoder, task, labelled.classes(), &stream).map_err(failure)?;
        let settings = self.settings().map_err(refused)?;
        let allowed = self.spending(&settings).allowed;
        let fit = LocatingFit::new(settings, network, labelled_examples, pseudo_examples, &augmenter);
        let fit = self.train(fit.map_err(failure)?, cx)?;
        let head = HeadInfo {
            class_names: labelled.class_names.clone(),
            labels: truths.indices.len(),
            pseudo_labels: guesses.as_ref().map(|guesses| guesses.indices.len()),
            task: Some(task.name().to_owned()),
        };
        let metrics = metrics(&fit, &head, allowed);
        let artifact = LocatorArtifact {
            backbone,
            network: fit.into_network(),
            normalisation,
            head,
        };
        Ok(Output {
            files: artifact.into_files(),
            metrics,
        })
    }
}

/// The examples of a data set with what is where in them.
fn examples<'a>(data: &'a Dataset, set: &'a ExampleSet, task: &dyn Task) -> Result<LocatedExamples<'a>, NodeError> {
    tasks::annotated("data", &data.facts()?, task).map_err(refused)?;
    let missing = || failure("BUG: images with masks or boxes have annotations");
    Ok(LocatedExamples {
        images: data.train()?.images().ok_or_else(missing)?,
        annotations: data.annotations.get(&SplitName::Train).ok_or_else(missing)?,
        indices: &set.indices,
    })
}
