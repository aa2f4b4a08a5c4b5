//! Fitting a network that tells where things are, on labelled images or on labelled and pseudo-labelled ones: the loop of [`crate::train::Fit`] for other
//! heads. Every batch has a fixed share of truly labelled images, and both kinds are weighed by the joint loss where it is asked for.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Locator;
use crate::augment::Augmenter;
use crate::data::{Annotations, Images, Located};
use crate::layers::{BufferPool, FeatureMap, MapShape, Mode, Pass, Tensors};
use crate::losses::LossError;
use crate::optim::{Optimizer, Schedule};
use crate::rng::Stream;
use crate::settings::SettingError;
use crate::state::{StateDict, StateError, Tensor};
use crate::train::{FitSettings, JointLoss, TrainError, WaitTimes, draw, load_optimizer, save_optimizer, update};

/// Images with what is where in them.
#[derive(Clone, Copy, Debug)]
pub struct LocatedExamples<'a> {
    /// The images, of which some are examples.
    pub images: &'a Images,
    /// Of all of them.
    pub annotations: &'a Annotations,
    /// Which are examples.
    pub indices: &'a [u32],
}

/// A fit between two steps.
pub struct LocatingFit<'a> {
    settings: FitSettings,
    feed: Feed<'a>,
    /// The next step's examples, if they are made already.
    ready: Option<Prepared>,
    learner: Learner,
    step: usize,
    wait_times: WaitTimes,
}

/// Makes the examples of any step, from the step's number alone.
struct Feed<'a> {
    labelled: LocatedExamples<'a>,
    pseudo: Option<LocatedExamples<'a>>,
    augmenter: &'a Augmenter,
    batch: usize,
    /// Examples of a step that are truly labelled.
    truths: usize,
    input: MapShape,
    stream: Stream,
    buffers: Arc<BufferPool>,
}

/// Views, and what is where in them.
struct Prepared {
    x: FeatureMap,
    located: Vec<Located>,
}

/// What a step changes.
struct Learner {
    network: Locator,
    encoder_optimizer: Box<dyn Optimizer>,
    head_optimizer: Box<dyn Optimizer>,
    schedule: Schedule,
    buffers: Arc<BufferPool>,
    /// Of a fit with pseudo-labels, with how many images of a batch are truly labelled.
    joint: Option<(JointLoss, usize)>,
    noise: Stream,
}

impl<'a> LocatingFit<'a> {
    /// A fit at its first step.
    ///
    /// # Errors
    /// If there is nothing to fit or a setting is out of range.
    pub fn new(
        settings: FitSettings,
        network: Locator,
        labelled: LocatedExamples<'a>,
        pseudo: Option<LocatedExamples<'a>>,
        augmenter: &'a Augmenter,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        if labelled.indices.is_empty() {
            return Err(SettingError::new("data", "there are no labelled images to fit").into());
        }
        let pseudo = pseudo.filter(|pseudo| !pseudo.indices.is_empty());
        let truths = match &pseudo {
            Some(_) => ((settings.batch as f32 * settings.labelled_share).round() as usize).min(settings.batch),
            None => settings.batch,
        };
        let buffers = network.encoder.buffers();
        let feed = Feed {
            labelled,
            pseudo,
            augmenter,
            batch: settings.batch,
            truths,
            input: network.encoder.input,
            stream: Stream::new(settings.seed, "fit"),
            buffers: Arc::clone(&buffers),
        };
        let learner = Learner {
            network,
            encoder_optimizer: settings.optimizer.build(),
            head_optimizer: settings.optimizer.build(),
            schedule: Schedule::warmup_cosine(settings.lr, settings.warmup_steps, settings.steps),
            buffers,
            joint: settings
                .joint
                .filter(|_| feed.pseudo.is_some())
                .map(|joint| (JointLoss::new(joint), truths)),
            noise: feed.stream.child("noise"),
        };
        Ok(Self {
            settings,
            feed,
            ready: None,
            learner,
            step: 0,
            wait_times: WaitTimes::default(),
        })
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Images that went through the network, forward and backward, so far: see [`FitSettings::cost`].
    pub fn images_seen(&self) -> u64 {
        (self.step as f64 * self.settings.cost(None)).round() as u64
    }

    /// Runs up to `steps` more steps, calling `watch(step, loss)` after each, which may break off between steps.
    ///
    /// # Errors
    /// If the loss is no number any more.
    pub fn run(
        &mut self,
        steps: usize,
        mut watch: impl FnMut(usize, f32) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let until = (self.step + steps).min(self.settings.steps);
        while self.step < until {
            let loss = self.one_step()?;
            self.learner.buffers.device().check()?;
            if !loss.is_finite() {
                let message = format!(
                    "the loss became {loss} in step {}: training diverged, lower it",
                    self.step
                );
                return Err(SettingError::new("lr", message).into());
            }
            self.step += 1;
            if watch(self.step, loss).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        Ok(())
    }

    fn one_step(&mut self) -> Result<f32, TrainError> {
        let Self {
            settings,
            feed,
            ready,
            learner,
            step,
            wait_times,
        } = self;
        let examples = ready.take().unwrap_or_else(|| feed.prepare(*step));
        let next = *step + 1;
        let (loss, made) = wait_times.overlap(
            || learner.step(settings, *step, examples),
            || (next < settings.steps).then(|| feed.prepare(next)),
        );
        *ready = made;
        loss
    }

    /// Everything that the rest of the fit depends on.
    pub fn checkpoint(&mut self) -> Vec<u8> {
        let learner = &mut self.learner;
        let mut state = StateDict::of(&mut learner.network, "network");
        let mut optimizers = StateDict::default();
        save_optimizer(learner.encoder_optimizer.as_ref(), "encoder_optimizer", &mut optimizers);
        save_optimizer(learner.head_optimizer.as_ref(), "head_optimizer", &mut optimizers);
        state.extend(optimizers);
        if let Some((joint, _)) = &mut learner.joint {
            state.extend(StateDict::of(joint, "joint"));
        }
        let step = Tensor {
            shape: vec![1],
            data: vec![self.step as f32],
        };
        state.tensors.insert("step".into(), step);
        state.to_bytes()
    }

    /// Goes on from a checkpoint of the same settings and data.
    ///
    /// # Errors
    /// If it is not one.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let state = StateDict::from_bytes(bytes)?;
        let step = state.tensors.get("step").and_then(|t| t.data.first());
        let step = *step.ok_or(StateError::Missing { name: "step".into() })?;
        let learner = &mut self.learner;
        state.load(&mut learner.network, "network")?;
        load_optimizer(learner.encoder_optimizer.as_mut(), "encoder_optimizer", &state);
        load_optimizer(learner.head_optimizer.as_mut(), "head_optimizer", &state);
        if let Some((joint, _)) = &mut learner.joint {
            state.load(joint, "joint")?;
        }
        self.step = step as usize;
        self.ready = None;
        Ok(())
    }

    /// The network, fitted so far.
    pub fn into_network(self) -> Locator {
        self.learner.network
    }
}

impl Feed<'_> {
    /// What a step learns from: labelled images first.
    fn prepare(&self, step: usize) -> Prepared {
        let mut x = Pass::recording(Mode::Train, &self.buffers).map(self.batch, self.input);
        let (x_true, x_pseudo) = x.data.split_at_mut(self.truths * self.input.len());
        let mut located = self.fill(step, &self.labelled, "labelled", x_true);
        if let Some(pseudo) = &self.pseudo {
            located.extend(self.fill(step, pseudo, "pseudo", x_pseudo));
        }
        Prepared { x, located }
    }

    /// A step's examples of one kind: views into `x`, and what is where in them.
    fn fill(&self, step: usize, examples: &LocatedExamples<'_>, kind: &str, x: &mut [f32]) -> Vec<Located> {
        let stream = self.stream.child(kind);
        let count = x.len() / self.input.len();
        let drawn = draw(&stream.child("order"), examples.indices.len(), step * count, count);
        let images: Vec<u32> = drawn.iter().map(|i| examples.indices[*i as usize]).collect();
        let views = stream.child("steps").index(step as u64).child("views");
        let located = |index: usize| examples.annotations.get(index);
        self.augmenter
            .augment_located(examples.images, located, &images, &views, x)
    }
}

impl Learner {
    /// One update.
    fn step(&mut self, settings: &FitSettings, step: usize, examples: Prepared) -> Result<f32, TrainError> {
        let Prepared { x, located } = examples;
        let mode = if settings.freeze || settings.keep_statistics {
            Mode::Eval
        } else {
            Mode::Train
        };
        let mut pass = Pass::recording(mode, &self.buffers).noisy(self.noise.index(step as u64));
        let Locator { encoder, head, .. } = &mut self.network;
        let stages = match settings.freeze {
            true => encoder.forward_stages(x, &mut Pass::inference(&self.buffers)),
            false => encoder.forward_stages(x, &mut pass),
        };
        let values = head.forward(stages, &mut pass);
        let (loss, gradient) = self.loss(&values.data, &located)?;
        let Locator { encoder, head, .. } = &mut self.network;
        let gradients = head.backward(FeatureMap::new(values.n, values.shape, gradient), &mut pass);
        if !settings.freeze {
            encoder.backward_stages(gradients, &mut pass);
        }
        self.update(settings, step);
        Ok(loss)
    }

    /// Loss and gradient of a batch's values: of both kinds at once, or by the joint loss.
    fn loss(&mut self, values: &[f32], located: &[Located]) -> Result<(f32, Vec<f32>), LossError> {
        let Locator { task, frame, .. } = &self.network;
        let Some((joint, truths)) = &mut self.joint else {
            return task.loss(values, located, frame);
        };
        let (labelled, pseudo) = located.split_at(*truths);
        let (first, second) = values.split_at(values.len() / located.len() * *truths);
        let (loss, mut gradient) = match labelled {
            [] => (0.0, Vec::new()),
            labelled => task.loss(first, labelled, frame)?,
        };
        let (other, other_gradient) = match pseudo {
            [] => (0.0, Vec::new()),
            pseudo => task.loss(second, pseudo, frame)?,
        };
        let weight = joint.settings.weight;
        let scaled = weight * joint.scale([loss, other]);
        gradient.iter_mut().for_each(|g| *g /= 1.0 + weight);
        gradient.extend(other_gradient.iter().map(|g| g * scaled / (1.0 + weight)));
        Ok(((loss + scaled * other) / (1.0 + weight), gradient))
    }

    /// The optimisers' step.
    fn update(&mut self, settings: &FitSettings, step: usize) {
        let lr = self.schedule.at(step);
        let device = self.buffers.device();
        let mut entries = Vec::new();
        self.network.head.entries("head", &mut entries);
        update(&**device, self.head_optimizer.as_mut(), lr, entries);
        if !settings.freeze {
            let mut entries = Vec::new();
            self.network.encoder.entries("encoder", &mut entries);
            let lr = lr * settings.encoder_lr_scale;
            update(&**device, self.encoder_optimizer.as_mut(), lr, entries);
        }
    }
}
