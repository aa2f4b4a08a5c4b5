//! Guesses of where things are: what the teacher is sure of, and nothing of the rest.

use std::collections::BTreeMap;

use flow_engine::node::{Context, Inputs, NodeError, Output, ParamError};
use flow_learn::augment::Recipe;
use flow_learn::data::{Annotations, IGNORE, Located};
use flow_learn::pseudo::Balance;
use flow_learn::tasks::{Frame, Guessing, Needs, Task, locate};

use super::PseudoLabelNode;
use crate::artifacts::{Dataset, ExampleSet, LocatorArtifact, SplitName, compatible, without};
use crate::failure::{device_failure, failure, refused};
use crate::parts::by_parts;
use crate::tasks;

impl PseudoLabelNode {
    /// Whether nothing is asked for that only classification has.
    pub(super) fn check_task(&self, task: &dyn Task) -> Result<(), ParamError> {
        let given = [
            ("balance", self.balance != Balance::None),
            ("per_class", self.per_class.is_some()),
            ("align", self.align),
        ];
        let found = given.into_iter().find(|(_, given)| *given);
        found.map_or(Ok(()), |(key, _)| Err(tasks::only_classify(key, task)))
    }

    /// Labels images: those of which the teacher is sure of something are examples.
    pub(super) fn locate(&self, task: &dyn Task, inputs: &Inputs, cx: &Context<'_>) -> Result<Output, NodeError> {
        let mut data = Dataset::read(inputs.one("data"), &[SplitName::Train])?;
        let mut teacher = LocatorArtifact::read(inputs.one("teacher"))?;
        tasks::same("teacher", &teacher.facts(), Some(task)).map_err(refused)?;
        compatible("teacher", &teacher.facts(), &data.facts()?).map_err(refused)?;
        let takes = teacher.network.encoder.takes();
        let augmenter = teacher.normalisation.augmenter(&Recipe::default(), takes)?;
        let except = inputs
            .maybe("except")
            .map(|except| Dataset::read(except, &[SplitName::Train]));
        let pool = match &except.transpose()? {
            Some(except) => without(("data", data.train()?), ("except", except))?,
            None => (0..data.train()?.n() as u32).collect(),
        };
        teacher.network.encoder.device = self.device.open(cx)?;
        let how = Guessing {
            threshold: self.threshold,
            soft: self.soft.then_some(self.temperature),
        };
        let guess = |task: &dyn Task, values: &[f32], frame: &Frame| task.guess(values, frame, how);
        let train = data.train()?;
        let guesses = by_parts(cx, &pool, |part| {
            let guesses = locate(&mut teacher.network, train, part, &augmenter, guess);
            teacher.network.encoder.device.check().map_err(|e| device_failure(&e))?;
            Ok(guesses)
        })?;
        let guesses: BTreeMap<u32, Located> = pool
            .iter()
            .zip(guesses)
            .filter_map(|(i, guess)| Some((*i, guess?)))
            .collect();
        let metrics = metrics(task, &data, &guesses, pool.len());
        let note = format!("kept {} of {} guesses", guesses.len(), pool.len());
        cx.host.note(&match metrics.get("precision") {
            Some(precision) => format!("{note}; {:.1} % of what they tell is right", 100.0 * precision),
            None => note,
        });
        let annotations = annotations(task, &data, &guesses)?;
        data.examples = Some(example_set(&guesses, data.classes()));
        data.annotations = BTreeMap::from([(SplitName::Train, annotations)]);
        let output = data.into_output(cx.host)?;
        Ok(Output {
            files: output.files,
            metrics,
        })
    }
}

/// What was kept, and how much of it is right, where that is known.
fn metrics(task: &dyn Task, data: &Dataset, guesses: &BTreeMap<u32, Located>, pool: usize) -> BTreeMap<String, f64> {
    let kept = guesses.len() as f64;
    let mut metrics = BTreeMap::from([
        // A forward pass alone counts a third.
        ("images_trained".to_owned(), pool as f64 / 3.0),
        ("pool".to_owned(), pool as f64),
        ("kept".to_owned(), kept),
        ("kept_share".to_owned(), kept / pool.max(1) as f64),
    ]);
    if let Some(truths) = data.annotations.get(&SplitName::Train) {
        let counts = guesses
            .iter()
            .map(|(i, guess)| task.right(guess, &truths.get(*i as usize)));
        let (right, all) = counts.fold((0.0, 0.0), |(right, all), (r, a)| (right + r, all + a));
        if all > 0.0 {
            metrics.insert("precision".into(), right / all);
        }
    }
    metrics
}

/// The guesses in place of what is known; of other images nothing is told.
fn annotations(task: &dyn Task, data: &Dataset, guesses: &BTreeMap<u32, Located>) -> Result<Annotations, NodeError> {
    let images = data
        .train()?
        .images()
        .ok_or_else(|| failure("BUG: texts have no places"))?;
    let size = [images.height, images.width];
    let soft = guesses.values().next().map_or(0, |guess| guess.soft.len());
    let nothing = Located {
        mask: match task.needs() {
            Needs::Masks => vec![IGNORE; size[0] * size[1]],
            Needs::Boxes => Vec::new(),
        },
        soft: vec![0; soft],
        objects: Vec::new(),
    };
    let all: Vec<Located> = (0..images.n as u32)
        .map(|i| guesses.get(&i).unwrap_or(&nothing).clone())
        .collect();
    let annotations = Annotations::of(size, &images.labels, &all);
    Ok(match task.needs() {
        Needs::Masks => Annotations {
            objects: None,
            ..annotations
        },
        Needs::Boxes => annotations,
    })
}

/// The images of which something is guessed; for those who ask for a class, all classes alike.
fn example_set(guesses: &BTreeMap<u32, Located>, classes: usize) -> ExampleSet {
    ExampleSet {
        guessed: true,
        indices: guesses.keys().copied().collect(),
        targets: vec![1.0 / classes.max(1) as f32; guesses.len() * classes],
    }
}
