//! Fitting a classifier: from scratch or from an encoder, on labelled images or on labelled and pseudo-labelled ones.
//!
//! The length is a number of steps, not of epochs, so that arms with few labels and arms with many pseudo-labels are given
//! the same training. With pseudo-labels, every batch has a fixed share of truly labelled images (as in Zoph et al. 2020,
//! 2006.06882), so that ten thousand guesses do not drown forty truths.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::classifier::{Classifier, Examples, NO_LABELS, Pool};
use super::epoch::{EpochOutcome, load_history, save_history};
use super::feed::{Feed, Prepared};
use super::fit_settings::FitSettings;
use super::guesses::{GuessMonitor, distance, follow};
use super::joint::JointLoss;
use super::{Optimizers, Steps, TrainError, Training, WaitTimes};
use crate::augment::Augmenter;
use crate::data::Label;
use crate::device::{DeviceError, LossValue};
use crate::layers::{Buffer, BufferPool, FeatureMap, Layer, Mode, Pass, Tensors};
use crate::rng::Stream;
use crate::semi::{SecondView, SemiBatch, SemiMethod, SemiSettings, SemiSetup, Student};
use crate::settings::SettingError;
use crate::state::StateDict;

/// A fit between two steps.
pub struct Fit<'a> {
    settings: FitSettings,
    feed: Feed<'a>,
    learner: Learner,
    steps: Steps<Prepared>,
}

/// What a step changes.
struct Learner {
    classifier: Classifier,
    optimizers: Optimizers,
    buffers: Arc<BufferPool>,
    semi: Option<Semi>,
    /// Of a fit with pseudo-labels, with how many rows of a batch are truly labelled.
    joint: Option<(JointLoss, usize)>,
    noise: Stream,
}

/// What learning from unlabelled images adds.
struct Semi {
    settings: SemiSettings,
    method: Box<dyn SemiMethod>,
    /// The average of the weights.
    average: Classifier,
    monitor: GuessMonitor,
    history: Vec<EpochOutcome>,
}

impl<'a> Fit<'a> {
    /// A fit at its first step.
    ///
    /// # Errors
    /// If there is nothing to fit or a setting is out of range.
    pub fn new(
        settings: FitSettings,
        classifier: Classifier,
        labelled: Examples<'a>,
        pseudo: Option<Examples<'a>>,
        augmenter: &'a Augmenter,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        if labelled.indices.is_empty() {
            return Err(SettingError::new("data", NO_LABELS).into());
        }
        if classifier.classes < 2 {
            return Err(SettingError::new("data", "all images are of one class: there is nothing to classify").into());
        }
        let pseudo = pseudo.filter(|p| !p.indices.is_empty());
        let buffers = classifier.encoder.buffers();
        let has_pseudo = pseudo.is_some();
        let feed = Feed {
            labelled,
            pseudo,
            unlabelled: None,
            augmenter,
            batch: settings.batch,
            truths: settings.truths(has_pseudo),
            classes: classifier.classes,
            label_smoothing: settings.label_smoothing,
            steps: settings.steps,
            input: classifier.encoder.input,
            stream: Stream::new(settings.seed, "fit"),
            buffers: Arc::clone(&buffers),
        };
        let learner = Learner {
            classifier,
            optimizers: Optimizers::new(&settings),
            buffers,
            semi: None,
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

    /// The same fit, which learns from unlabelled images too; `average` is another network of the same shapes, which becomes the average of the
    /// weights.
    ///
    /// # Errors
    /// If there are none, a setting is out of range, or strong views are needed and none are made.
    pub fn with_unlabelled(
        mut self,
        semi: SemiSettings,
        pool: Pool<'a>,
        mut average: Classifier,
    ) -> Result<Self, TrainError> {
        semi.check()?;
        let (settings, second) = (semi.settings(), semi.settings().second_view());
        if pool.indices.is_empty() {
            return Err(SettingError::new("unlabelled", "there are no unlabelled images").into());
        }
        if second == SecondView::Strong && pool.strong.is_none() {
            let message = format!("`{}` needs strong views of the unlabelled images", settings.name());
            return Err(SettingError::new("strong", message).into());
        }
        let classifier = &mut self.learner.classifier;
        average.encoder.device = Arc::clone(&classifier.encoder.device);
        follow(&mut average, classifier, 0.0, &**self.learner.buffers.device());
        let method = settings.build(&SemiSetup {
            classes: classifier.classes,
            features: classifier.encoder.dim,
            labelled: self.feed.labelled.indices.len(),
            pool: pool.indices.len(),
            stream: &self.feed.stream.child("semi"),
        });
        let monitor = GuessMonitor::new(self.feed.labelled.targets, classifier.classes);
        self.feed.unlabelled = Some((pool, settings.common().ratio, second));
        self.learner.semi = Some(Semi {
            settings: semi,
            method,
            average,
            monitor,
            history: Vec::new(),
        });
        Ok(self)
    }

    /// How long steps waited for their views.
    pub fn wait_times(&self) -> WaitTimes {
        self.steps.wait_times()
    }

    /// The classifier, fitted so far: the average of its weights, if one is kept.
    pub fn into_classifier(self) -> Classifier {
        match self.learner.semi {
            Some(semi) if semi.settings.settings().common().ema > 0.0 => semi.average,
            _ => self.learner.classifier,
        }
    }
}

impl Training for Fit<'_> {
    fn step(&self) -> usize {
        self.steps.done()
    }

    fn images_seen(&self) -> u64 {
        let semi = self.learner.semi.as_ref().map(|semi| &semi.settings);
        (self.step() as f64 * self.settings.cost(semi)).round() as u64
    }

    fn run(&mut self, steps: usize, watch: impl FnMut(usize, f32) -> ControlFlow<()>) -> Result<(), TrainError> {
        let (settings, feed, learner) = (&self.settings, &self.feed, &mut self.learner);
        let learn = |step: usize, examples: Prepared| {
            let loss = match examples {
                Prepared::Labelled(x, targets) => learner.step(settings, step, x, &targets),
                Prepared::Semi(batch, truths) => learner.semi_step(settings, step, &batch, &truths),
            };
            learner.buffers.device().check()?;
            loss
        };
        self.steps.run(steps, |step| feed.prepare(step), learn, watch)
    }

    fn checkpoint(&mut self) -> Result<Vec<u8>, DeviceError> {
        let learner = &mut self.learner;
        let mut state = StateDict::of(&mut learner.classifier, "classifier");
        learner.optimizers.save(&mut state);
        if let Some((joint, _)) = &mut learner.joint {
            state.extend(StateDict::of(joint, "joint"));
        }
        if let Some(semi) = &mut learner.semi {
            for (part, name) in [
                (&mut semi.average as &mut dyn Tensors, "average"),
                (semi.method.as_mut() as &mut dyn Tensors, "semi"),
                (&mut semi.monitor, "monitor"),
            ] {
                state.extend(StateDict::of(part, name));
            }
            save_history(&semi.history, &mut state);
        }
        self.steps.save(&mut state);
        learner.buffers.device().check()?;
        Ok(state.to_bytes())
    }

    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let state = StateDict::from_bytes(bytes)?;
        let learner = &mut self.learner;
        state.load(&mut learner.classifier, "classifier")?;
        learner.optimizers.load(&state);
        if let Some((joint, _)) = &mut learner.joint {
            state.load(joint, "joint")?;
        }
        if let Some(semi) = &mut learner.semi {
            state.load(&mut semi.average, "average")?;
            state.load(semi.method.as_mut(), "semi")?;
            state.load(&mut semi.monitor, "monitor")?;
            semi.history = load_history(&state)?;
        }
        Ok(self.steps.load(&state)?)
    }

    /// Of a training with unlabelled images; nothing of another.
    fn history(&self) -> &[EpochOutcome] {
        self.learner.semi.as_ref().map_or(&[], |semi| &semi.history)
    }
}

impl Learner {
    /// One update on views `x` with their targets, `[batch][classes]`.
    fn step(&mut self, settings: &FitSettings, step: usize, x: FeatureMap, targets: &[f32]) -> Result<f32, TrainError> {
        let freeze = settings.freeze;
        let Classifier { encoder, head, classes } = &mut self.classifier;
        let mut pass = Pass::recording(settings.mode(), &self.buffers).noisy(self.noise.index(step as u64));
        let features = if freeze {
            encoder.forward(x, &mut Pass::inference(&self.buffers))
        } else {
            encoder.forward(x, &mut pass)
        };
        let logits = head.forward(features, &mut pass);
        let (n, shape) = (logits.n, logits.shape);
        let (loss, gradient) = match &mut self.joint {
            Some((joint, truths)) => joint
                .of(&logits.data, targets, *truths, *classes)
                .map(|(loss, gradient)| (LossValue::from(loss), Buffer::from(gradient)))?,
            None => pass.device().cross_entropy(*classes, &logits.data, targets)?,
        };
        let dfeatures = head.backward(FeatureMap::new(n, shape, gradient), &mut pass, !freeze);
        if let Some(dfeatures) = dfeatures {
            encoder.backward(dfeatures, &mut pass, false);
        }

        self.update(settings, step);
        Ok(loss.get())
    }

    /// One update on labelled and unlabelled views; `truths` are the unlabelled images' true classes, for the monitor.
    fn semi_step(
        &mut self,
        settings: &FitSettings,
        step: usize,
        batch: &SemiBatch,
        truths: &[Label],
    ) -> Result<f32, TrainError> {
        let Some(semi) = &mut self.semi else {
            return Err(TrainError::Stopped);
        };
        let mut student = Student {
            classifier: &mut self.classifier,
            average: &mut semi.average,
            mode: if settings.keep_statistics {
                Mode::Eval
            } else {
                Mode::Train
            },
            buffers: &self.buffers,
            noise: Some(self.noise.index(step as u64)),
        };
        let outcome = semi.method.step(&mut student, batch)?;
        if !outcome.loss.is_finite() {
            return Ok(outcome.loss);
        }
        self.update(settings, step);
        let Some(semi) = &mut self.semi else {
            return Err(TrainError::Stopped);
        };
        // As Mean Teacher's: a young average must not be of what was there before training.
        let keep = semi.settings.settings().common().ema.min(1.0 - 1.0 / (step + 1) as f32);
        follow(&mut semi.average, &mut self.classifier, keep, &**self.buffers.device());
        semi.monitor.add(&outcome, truths);
        let gap = || distance(&mut self.classifier, &mut semi.average);
        let advice = semi.settings.settings().advice();
        let shown = semi.monitor.finish((step, settings.steps), gap, advice)?;
        semi.history.extend(shown);
        Ok(outcome.loss)
    }

    /// The optimisers' step.
    fn update(&mut self, settings: &FitSettings, step: usize) {
        let Classifier { encoder, head, .. } = &mut self.classifier;
        let mut entries = Vec::new();
        head.entries("head", &mut entries);
        if let Some(semi) = &mut self.semi {
            semi.method.entries("semi", &mut entries);
        }
        let device = self.buffers.device();
        self.optimizers.update((settings, step), &**device, entries, encoder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Recipe;
    use crate::backbones::BackboneSettings;
    use crate::data::{Images, Samples};
    use crate::layers::MapShape;
    use crate::metrics::{accuracy, argmax};
    use crate::optim::OptimizerConfig;
    use crate::probe::Probe;
    use crate::train::{embed, predict};

    /// Bright above or bright below, with noise: two classes.
    fn images() -> Samples {
        let mut stream = Stream::new(1, "test images");
        let labels: Vec<u16> = (0..64).map(|i| i % 2).collect();
        let pixel = |label: u16, p: usize, noise: f32| {
            if (p < 128) == (label == 0) {
                150.0 + noise
            } else {
                60.0 + noise
            }
        };
        let pixels = labels
            .iter()
            .flat_map(|l| {
                (0..256)
                    .map(|p| pixel(*l, p, 50.0 * stream.uniform()) as u8)
                    .collect::<Vec<_>>()
            })
            .collect();
        Images::new(16, 16, 1, pixels, labels).expect("sizes fit").into()
    }

    fn settings(freeze: bool) -> FitSettings {
        FitSettings {
            optimizer: OptimizerConfig::default(),
            lr: 0.05,
            encoder_lr_scale: 1.0,
            warmup_steps: 2,
            steps: 20,
            batch: 16,
            labelled_share: 0.5,
            joint: None,
            label_smoothing: 0.1,
            freeze,
            keep_statistics: false,
            seed: 3,
        }
    }

    fn classifier() -> Classifier {
        let backbone = BackboneSettings {
            widths: vec![8, 8, 8],
            grid: 2,
            ..BackboneSettings::named("conv3")
        };
        let stream = Stream::new(3, "test classifier");
        let encoder = backbone.build(MapShape { h: 16, w: 16, c: 1 }, &stream).expect("valid");
        Classifier::new(encoder, 2, &stream)
    }

    /// Weights after 20 steps on half the images, the other half as pseudo-labels, broken off and resumed after `stop` steps.
    fn fitted(freeze: bool, stop: Option<usize>) -> (StateDict, f64) {
        let images = images();
        let augmenter =
            Augmenter::new(&Recipe::named("weak").expect("shipped"), &[0.4], &[0.2], 16, 16).expect("valid");
        let targets: Vec<f32> = images
            .labels()
            .iter()
            .flatten()
            .flat_map(|l| [1.0 - f32::from(*l), f32::from(*l)])
            .collect();
        let all: Vec<u32> = (0..64).collect();
        let examples = |range: std::ops::Range<usize>| Examples {
            images: &images,
            indices: &all[range.clone()],
            targets: &targets[2 * range.start..2 * range.end],
        };
        let start = || {
            Fit::new(
                settings(freeze),
                classifier(),
                examples(0..32),
                Some(examples(32..64)),
                &augmenter,
            )
            .expect("valid")
        };
        let on = |_: usize, _: f32| ControlFlow::Continue(());
        let mut fit = start();
        if let Some(stop) = stop {
            fit.run(stop, on).expect("trains");
            let checkpoint = fit.checkpoint().expect("the CPU does not fail");
            fit = start();
            fit.resume(&checkpoint).expect("own checkpoint");
        }
        fit.run(100, on).expect("trains");
        let mut classifier = fit.into_classifier();
        let guesses: Vec<usize> = predict(&mut classifier, &images, &all, &augmenter)
            .expect("the CPU does not fail")
            .chunks_exact(2)
            .map(argmax)
            .collect();
        let truth: Vec<usize> = images.labels().iter().flatten().map(|l| usize::from(*l)).collect();
        (StateDict::of(&mut classifier, ""), accuracy(&truth, &guesses))
    }

    #[test]
    fn a_fit_learns_and_resumes_to_the_bit() {
        let (whole, right) = fitted(false, None);
        assert!(right > 0.95, "accuracy {right} on two easy classes");
        assert_eq!(whole, fitted(false, Some(7)).0);
    }

    #[test]
    fn kept_statistics_stay_and_the_weights_learn() {
        let images = images();
        let augmenter = Augmenter::new(&Recipe::default(), &[0.4], &[0.2], 16, 16).expect("valid");
        let targets: Vec<f32> = images
            .labels()
            .iter()
            .flatten()
            .flat_map(|l| [1.0 - f32::from(*l), f32::from(*l)])
            .collect();
        let all: Vec<u32> = (0..64).collect();
        let examples = Examples {
            images: &images,
            indices: &all,
            targets: &targets,
        };
        let settings = FitSettings {
            keep_statistics: true,
            ..settings(false)
        };
        let mut fit = Fit::new(settings, classifier(), examples, None, &augmenter).expect("valid");
        fit.run(100, |_, _| ControlFlow::Continue(())).expect("trains");
        let after = StateDict::of(&mut fit.into_classifier(), "");
        let before = StateDict::of(&mut classifier(), "");
        for (name, tensor) in &before.tensors {
            let is_statistic = name.contains("running_") || name.contains("num_batches");
            assert_eq!(after.tensors[name] == *tensor, is_statistic, "{name}");
        }
    }

    #[test]
    fn a_probe_head_begins_where_the_probe_of_the_frozen_features_is() {
        let images = images();
        let plain = Augmenter::new(&Recipe::default(), &[0.4], &[0.2], 16, 16).expect("valid");
        let targets: Vec<f32> = images
            .labels()
            .iter()
            .flatten()
            .flat_map(|l| [1.0 - f32::from(*l), f32::from(*l)])
            .collect();
        let all: Vec<u32> = (0..64).collect();
        let examples = Examples {
            images: &images,
            indices: &all,
            targets: &targets,
        };
        let none = Examples {
            indices: &[],
            targets: &[],
            ..examples.clone()
        };
        assert!(Classifier::with_probe_head(classifier().encoder, 2, &none, &plain).is_err());
        let mut classifier =
            Classifier::with_probe_head(classifier().encoder, 2, &examples, &plain).expect("labelled examples");
        let features = embed(&mut classifier.encoder, &images, &all, &plain).expect("the CPU does not fail");
        let truth: Vec<usize> = images.labels().iter().flatten().map(|l| usize::from(*l)).collect();
        let probe = Probe::fit(&features, &truth, classifier.encoder.dim, 2).predict(&features);
        let head: Vec<usize> = predict(&mut classifier, &images, &all, &plain)
            .expect("the CPU does not fail")
            .chunks_exact(2)
            .map(argmax)
            .collect();
        assert_eq!(head, probe);
    }

    #[test]
    fn a_frozen_encoder_stays_as_it_is() {
        let (after, _) = fitted(true, None);
        let before = StateDict::of(&mut classifier(), "");
        assert_ne!(after.tensors["head.weight"], before.tensors["head.weight"]);
        assert!(
            before
                .tensors
                .iter()
                .filter(|(n, _)| n.starts_with("encoder"))
                .all(|(n, t)| after.tensors[n] == *t)
        );
    }
}
