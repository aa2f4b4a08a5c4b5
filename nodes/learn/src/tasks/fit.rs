//! Fitting a network that tells where things are, on labelled images or on labelled and pseudo-labelled ones: the loop of [`crate::train::Fit`] for other
//! heads. Every batch has a fixed share of truly labelled images, and both kinds are weighed by the joint loss where it is asked for.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Locator;
use crate::augment::Augmenter;
use crate::data::{Annotations, Images, Located};
use crate::device::DeviceError;
use crate::layers::{BufferPool, FeatureMap, MapShape, Mode, Pass};
use crate::losses::LossError;
use crate::rng::Stream;
use crate::settings::SettingError;
use crate::state::StateDict;
use crate::train::{FitSettings, JointLoss, Optimizers, Steps, TrainError, Training, draw};

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
    learner: Learner,
    steps: Steps<Prepared>,
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
    optimizers: Optimizers,
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
        let has_pseudo = pseudo.is_some();
        let buffers = network.encoder.buffers();
        let feed = Feed {
            labelled,
            pseudo,
            augmenter,
            batch: settings.batch,
            truths: settings.truths(has_pseudo),
            input: network.encoder.input,
            stream: Stream::new(settings.seed, "fit"),
            buffers: Arc::clone(&buffers),
        };
        let learner = Learner {
            network,
            optimizers: Optimizers::new(&settings),
            buffers,
            joint: settings.joint_loss(has_pseudo),
            noise: feed.stream.child("noise"),
        };
        Ok(Self {
            steps: Steps::new(settings.steps),
            settings,
            feed,
            learner,
        })
    }

    /// The network, fitted so far.
    pub fn into_network(self) -> Locator {
        self.learner.network
    }
}

impl Training for LocatingFit<'_> {
    fn step(&self) -> usize {
        self.steps.done()
    }

    fn images_seen(&self) -> u64 {
        (self.step() as f64 * self.settings.cost(None)).round() as u64
    }

    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError> {
        let (settings, feed, learner) = (&self.settings, &self.feed, &mut self.learner);
        let learn = |step: usize, examples: Prepared| {
            let loss = learner.step(settings, step, examples);
            learner.buffers.device().check()?;
            loss
        };
        self.steps.run(steps, |step| feed.prepare(step), learn, watch)
    }

    fn checkpoint(&mut self) -> Result<Vec<u8>, DeviceError> {
        let learner = &mut self.learner;
        let mut state = StateDict::of(&mut learner.network, "network");
        learner.optimizers.save(&mut state);
        if let Some((joint, _)) = &mut learner.joint {
            state.extend(StateDict::of(joint, "joint"));
        }
        self.steps.save(&mut state);
        learner.buffers.device().check()?;
        Ok(state.to_bytes())
    }

    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let state = StateDict::from_bytes(bytes)?;
        let learner = &mut self.learner;
        state.load(&mut learner.network, "network")?;
        learner.optimizers.load(&state);
        if let Some((joint, _)) = &mut learner.joint {
            state.load(joint, "joint")?;
        }
        Ok(self.steps.load(&state)?)
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
        let mut pass = Pass::recording(settings.mode(), &self.buffers).noisy(self.noise.index(step as u64));
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
        let Locator { encoder, head, .. } = &mut self.network;
        let mut entries = Vec::new();
        head.entries("head", &mut entries);
        let device = self.buffers.device();
        self.optimizers.update((settings, step), &**device, entries, encoder);
    }
}
