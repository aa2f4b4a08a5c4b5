//! How well a network tells where things are.

use flow_engine::node::{Context, Inputs, NodeError, Output};
use flow_learn::augment::Recipe;
use flow_learn::tasks::{Frame, Task, locate};

use super::ScoreNode;
use crate::artifacts::{Dataset, LocatedScore, LocatorArtifact, Scores, SplitName, compatible};
use crate::failure::{device_failure, failure, refused};
use crate::parts::by_parts;
use crate::tasks;

impl ScoreNode {
    /// Looks at every image of the split once, as it is, normalised as the network was trained.
    pub(super) fn locate(&self, task: &dyn Task, inputs: &Inputs, cx: &Context<'_>) -> Result<Output, NodeError> {
        let input = inputs.one("data");
        let data = Dataset::read(input, &[SplitName::Train, self.split])?;
        let mut model = LocatorArtifact::read(inputs.one("model"))?;
        model.network.encoder.device = self.device.open(cx)?;
        tasks::same("model", &model.facts(), Some(task)).map_err(refused)?;
        let facts = data.facts()?;
        compatible("model", &model.facts(), &facts).map_err(refused)?;
        tasks::annotated("data", &facts, task).map_err(refused)?;
        let images = data.split(self.split)?;
        let known = data.annotations.get(&self.split);
        let known =
            known.ok_or_else(|| failure(format!("the {} images have no {}", self.split, task.needs().noun())))?;
        let takes = model.network.encoder.takes();
        let augmenter = model.normalisation.augmenter(&Recipe::default(), takes)?;
        let all: Vec<u32> = (0..images.n() as u32).collect();
        let read = |task: &dyn Task, values: &[f32], frame: &Frame| task.decode(values, frame);
        let found = by_parts(cx, &all, |part| {
            let found = locate(&mut model.network, images, part, &augmenter, read);
            model.network.encoder.device.check().map_err(|e| device_failure(&e))?;
            Ok(found)
        })?;
        let truths: Vec<_> = (0..images.n()).map(|i| known.get(i)).collect();
        let judged = task.judge(&found, &truths, &model.network.frame, &data.class_names);
        let scores = Scores {
            split: self.split,
            judged_on: Dataset::digest_of(input, self.split)?,
            noun: data.modality().noun().to_owned(),
            class_names: data.class_names.clone(),
            pseudo_labels: model.head.pseudo_labels,
            truth: images.labels().iter().map(|label| label.unwrap_or_default()).collect(),
            scores: Vec::new(),
            located: Some(LocatedScore {
                task: task.name().to_owned(),
                figure: task.figure().0.to_owned(),
                metrics: judged.metrics.clone(),
                by_class: judged.by_class,
                contributions: judged.contributions,
            }),
        };
        Ok(Output {
            files: vec![scores.to_file()],
            metrics: judged.metrics,
        })
    }
}
