//! Pre-training: epochs over unlabelled images with any method, from the first step or from a checkpoint.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::epoch::{EpochOutcome, Means, PartialEpoch, load_history, save_history};
use super::monitor::Monitor;
use super::{Length, TrainError, WaitTimes, load_optimizer, save_optimizer, update_each};
use crate::augment::Augmenter;
use crate::backbones::{BackboneSettings, Encoder};
use crate::data::{NetworkInput, Samples};
use crate::device::{Device, DeviceError};
use crate::layers::{BufferPool, Mode, Pass, Tensors};
use crate::methods::{
    Batch, Epoch, Method, MethodConstraints, MethodError, MethodSettings, Setup, Shown, StepOutcome, ViewName, Views,
};
use crate::optim::{Optimizer, OptimizerConfig, Schedule, check_lr};
use crate::rng::Stream;
use crate::settings::SettingError;
use crate::state::StateDict;

/// Everything that decides a pre-training but the images and their views.
#[derive(Clone, Debug, PartialEq)]
pub struct PretrainSettings {
    /// The network.
    pub backbone: BackboneSettings,
    /// What it learns.
    pub method: MethodSettings,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Peak learning rate.
    pub lr: f32,
    /// Epochs of linear warm-up, then cosine to zero.
    pub warmup_epochs: usize,
    /// How long it is.
    pub length: Length,
    /// Images per step; those that do not fill a last batch wait for the next epoch.
    pub batch: usize,
    /// Training images that features are watched on after each epoch; 0 for none.
    pub monitor: usize,
    /// Decides initial weights, order and views.
    pub seed: u64,
}

impl PretrainSettings {
    /// Whether those numbers are in their ranges that need no data to be judged.
    ///
    /// # Errors
    /// With the setting that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        self.optimizer.check()?;
        check_lr(self.lr)?;
        self.method.check_ranges()?;
        self.length.check(self.warmup_epochs)
    }
}

/// A pre-training between two steps.
pub struct Pretraining<'a> {
    settings: PretrainSettings,
    images: &'a Samples,
    augmenter: &'a Augmenter,
    encoder: Encoder,
    method: Box<dyn Method>,
    optimizer: Box<dyn Optimizer>,
    schedule: Schedule,
    /// Steps in all.
    steps: usize,
    stream: Stream,
    monitor: Monitor<'a>,
    buffers: Arc<BufferPool>,
    history: Vec<EpochOutcome>,
    /// The epoch that was begun and not ended.
    partial_epoch: Option<PartialEpoch>,
    wait_times: WaitTimes,
}

impl<'a> Pretraining<'a> {
    /// A pre-training at its first epoch, from random weights or from those of `pretrained`.
    ///
    /// # Errors
    /// If the settings do not fit each other or the images.
    pub fn new(
        settings: PretrainSettings,
        images: &'a Samples,
        augmenter: &'a Augmenter,
        pretrained: Option<&StateDict>,
    ) -> Result<Self, TrainError> {
        let input = augmenter.input();
        settings.method.check_takes(input.modality)?;
        settings.check()?;
        if settings.batch > images.n() {
            let message = format!("{} found, but there are only {} images", settings.batch, images.n());
            return Err(SettingError::new("batch", message).into());
        }
        let stream = Stream::new(settings.seed, "pretrain");
        let mut encoder = settings.backbone.build(input, &stream)?;
        settings.method.check(&MethodConstraints {
            batch: settings.batch,
            image: input.shape,
            images: images.n(),
            features: encoder.dim,
            pretrained: pretrained.is_some(),
            patches: encoder.patches(),
            local_views: augmenter.local_views(),
        })?;
        if let Some(local) = augmenter.local_views() {
            settings.backbone.sketch(NetworkInput {
                shape: local.shape(input.shape),
                ..input
            })?;
        }
        if let Some(state) = pretrained {
            state.load(&mut encoder, "")?;
        }
        let method = settings.method.settings().build(&mut Setup {
            encoder: &mut encoder,
            backbone: &settings.backbone,
            images,
            stream: stream.clone(),
        })?;
        let monitor = Monitor::new(images, settings.monitor, &stream);
        let per_epoch = images.n() / settings.batch;
        let steps = settings
            .length
            .steps(per_epoch, settings.batch, settings.method.cost(augmenter.local_views()));
        settings.length.check_steps(steps, settings.warmup_epochs * per_epoch)?;
        let schedule = Schedule::warmup_cosine(settings.lr, settings.warmup_epochs * per_epoch, steps);
        let optimizer = settings.optimizer.build();
        let (buffers, history) = (Arc::default(), Vec::new());
        Ok(Self {
            settings,
            images,
            augmenter,
            encoder,
            method,
            optimizer,
            schedule,
            steps,
            stream,
            monitor,
            buffers,
            history,
            partial_epoch: None,
            wait_times: WaitTimes::default(),
        })
    }

    /// Shows after each epoch what the nearest training images say of these, which are not trained on.
    #[must_use]
    pub fn watching(mut self, held: &'a Samples) -> Self {
        self.monitor.watch(held);
        self
    }

    /// Steps of a whole epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.images.n() / self.settings.batch
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Epochs in all; under a budget the last one may be short.
    pub fn epochs(&self) -> usize {
        self.steps.div_ceil(self.steps_per_epoch())
    }

    /// Steps done by the end of the epochs done.
    fn steps_of_epochs(&self) -> usize {
        (self.history.len() * self.steps_per_epoch()).min(self.steps)
    }

    /// Epochs done, in order.
    pub fn history(&self) -> &[EpochOutcome] {
        &self.history
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.steps_of_epochs() >= self.steps
    }

    /// Images that went through the network, forward and backward, so far: see [`MethodSettings::cost`].
    pub fn images_seen(&self) -> u64 {
        let images = self.steps_of_epochs() * self.settings.batch;
        (images as f64 * self.settings.method.cost(self.augmenter.local_views())).round() as u64
    }

    /// Pictures of what the method shows the network of these images, and of what it makes of them.
    pub fn pictures(&mut self, images: &Samples, indices: &[u32]) -> Vec<Shown> {
        let batch = Batch {
            images,
            indices,
            augmenter: self.augmenter,
            stream: self.stream.child("pictures"),
            epoch: 0,
            progress: 0.0,
            views: Views::default(),
        };
        let mut pass = Pass::inference(&self.buffers);
        self.method.pictures(&mut self.encoder, &batch, &mut pass)
    }

    /// How long steps waited for their views.
    pub fn wait_times(&self) -> WaitTimes {
        self.wait_times
    }

    /// Steps done of an epoch that was begun and not ended.
    pub fn steps_begun(&self) -> usize {
        self.partial_epoch.as_ref().map_or(0, |epoch| epoch.step)
    }

    /// Runs the next epoch, or the rest of one that was broken off; `watch(step, loss)` is called after each step and may
    /// break off.
    ///
    /// # Errors
    /// [`TrainError::Stopped`] if `watch` broke off: a checkpoint may be taken then, and the epoch gone on with. If the loss
    /// is no number any more, or training collapsed.
    pub fn run_epoch(
        &mut self,
        mut watch: impl FnMut(usize, f32) -> ControlFlow<()>,
    ) -> Result<EpochOutcome, TrainError> {
        let (epoch, before, batch) = (self.history.len(), self.steps_of_epochs(), self.settings.batch);
        let all = self.steps;
        let steps = self.steps_per_epoch().min(all - before);
        if self.partial_epoch.is_none() {
            self.begin_epoch()?;
        }
        let Self {
            settings,
            images,
            augmenter,
            encoder,
            method,
            optimizer,
            buffers,
            wait_times,
            partial_epoch,
            ..
        } = self;
        let Some(PartialEpoch { order, step, means }) = partial_epoch else {
            return Err(TrainError::Stopped);
        };
        let advice = settings.method.settings().advice();
        let batch_of = |step: usize, indices| {
            let at = before + step;
            Batch {
                images,
                indices,
                augmenter,
                stream: self.stream.child("views").index(at as u64),
                epoch,
                progress: at as f32 / all as f32,
                views: Views::default(),
            }
        };
        let mut batches = order
            .chunks_exact(batch)
            .take(steps)
            .enumerate()
            .skip(*step)
            .map(|(step, indices)| batch_of(step, indices));
        let mut now = batches.next();
        // The names of the views that a step asks for are not known before the first one has.
        let mut names: Vec<ViewName> = Vec::new();
        while let Some(present) = now {
            let at = before + *step;
            let rates = (self.schedule.at(at), settings.lr);
            let mut next = batches.next();
            let input = encoder.input;
            let (outcome, ()) = wait_times.overlap(
                || take_step(encoder, method.as_mut(), optimizer.as_mut(), rates, &present, buffers),
                || {
                    if let Some(next) = &mut next {
                        next.prepare(&names, input, buffers);
                    }
                },
            );
            // What a device that failed gives is no number, and no sign of a divergence.
            buffers.device().check()?;
            let outcome = outcome?;
            if !outcome.loss.is_finite() {
                let loss = outcome.loss;
                return Err(MethodError::Diverged { loss, step: at, advice }.into());
            }
            let asked = present.views.into_asked();
            wait_times.waited += asked.waited;
            names = asked.names;
            now = next;
            means.add(outcome.loss, outcome.metrics);
            *step += 1;
            if watch(*step - 1, outcome.loss).is_break() && *step < steps {
                return Err(TrainError::Stopped);
            }
        }
        let outcome = means.finish(epoch, advice)?;
        self.partial_epoch = None;
        self.end_epoch(outcome)
    }

    /// The order of the next epoch's images, and whatever the method does before an epoch.
    fn begin_epoch(&mut self) -> Result<(), TrainError> {
        let (number, of) = (self.history.len(), self.epochs());
        let order = self.method.begin_epoch(
            &mut self.encoder,
            &Epoch {
                images: self.images,
                augmenter: self.augmenter,
                number,
                of,
                stream: self.stream.child("order").index(number as u64),
            },
        )?;
        for part in self.method.renewed() {
            self.optimizer.forget(&format!("method.{part}."));
        }
        self.partial_epoch = Some(PartialEpoch {
            order,
            step: 0,
            means: Means::default(),
        });
        Ok(())
    }

    /// Judges an epoch, and adds what the monitor sees after it.
    fn end_epoch(&mut self, mut outcome: EpochOutcome) -> Result<EpochOutcome, TrainError> {
        let (epoch, advice) = (self.history.len(), self.settings.method.settings().advice());
        if let Some(first) = self.history.first() {
            check_growth(first.loss, outcome.loss, epoch, advice)?;
        }
        for metric in self.monitor.look(&mut self.encoder, self.images, self.augmenter)? {
            metric.check(metric.value, epoch, advice)?;
            outcome.metrics.insert(metric.name.to_owned(), metric.value);
        }
        self.history.push(outcome.clone());
        Ok(outcome)
    }

    /// Everything that the rest of the training depends on.
    ///
    /// # Errors
    /// The device's: what it could not give any more is no checkpoint.
    pub fn checkpoint(&mut self) -> Result<Vec<u8>, DeviceError> {
        let mut state = StateDict::of(&mut self.encoder, "encoder");
        state.extend(StateDict::of(self.method.as_mut(), "method"));
        save_optimizer(self.optimizer.as_ref(), "optimizer", &mut state);
        save_history(&self.history, &mut state);
        if let Some(epoch) = &self.partial_epoch {
            epoch.save(&mut state);
        }
        self.buffers.device().check()?;
        Ok(state.to_bytes())
    }

    /// Goes on from a checkpoint of the same settings and images.
    ///
    /// # Errors
    /// If it is not one.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let state = StateDict::from_bytes(bytes)?;
        state.load(&mut self.encoder, "encoder")?;
        state.load(self.method.as_mut(), "method")?;
        load_optimizer(self.optimizer.as_mut(), "optimizer", &state);
        self.history = load_history(&state)?;
        self.partial_epoch = PartialEpoch::load(&state);
        Ok(())
    }

    /// The same training on a device; what it gives does not depend on when this is called.
    #[must_use]
    pub fn on(mut self, device: Arc<dyn Device>) -> Self {
        self.encoder.device = device;
        self.buffers = self.encoder.buffers();
        self
    }

    /// The network to use, trained so far.
    pub fn into_encoder(self) -> Encoder {
        self.method.into_encoder(self.encoder)
    }
}

/// One step of a method and the optimiser, at the learning rate of `(schedule, peak)` that each part takes. Weights stay as they are where
/// the loss is no number.
fn take_step(
    encoder: &mut Encoder,
    method: &mut dyn Method,
    optimizer: &mut dyn Optimizer,
    (scheduled, peak): (f32, f32),
    batch: &Batch<'_>,
    buffers: &Arc<BufferPool>,
) -> Result<StepOutcome, MethodError> {
    let mut pass = Pass::recording(Mode::Train, buffers).noisy(batch.stream.child("layers"));
    let outcome = method.step(encoder, batch, &mut pass)?;
    if outcome.loss.is_finite() {
        let parts = method.unscheduled().iter();
        let constant: Vec<String> = parts.map(|part| format!("method.{part}.")).collect();
        let mut entries = Vec::new();
        encoder.entries("encoder", &mut entries);
        method.entries("method", &mut entries);
        let lr = |name: &str| match constant.iter().any(|part| name.starts_with(part.as_str())) {
            true => peak,
            false => scheduled,
        };
        update_each(&*pass.device(), optimizer, lr, entries);
    }
    Ok(outcome)
}

/// A mean loss so many times that of the first epoch does not come back.
const GROWN: f32 = 10.0;

/// An error if the mean loss of an epoch (from 0) is far above that of the first. Losses below zero have no such measure.
fn check_growth(first: f32, loss: f32, epoch: usize, advice: &'static str) -> Result<(), MethodError> {
    if first <= 0.0 || loss <= GROWN * first {
        return Ok(());
    }
    Err(MethodError::Grown {
        loss,
        first,
        epoch: epoch + 1,
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Recipe;
    use crate::data::Scenes;
    use crate::methods::{DeepClusterSettings, RotationSettings, SimclrSettings};

    fn settings(method: MethodSettings, optimizer: OptimizerConfig) -> PretrainSettings {
        PretrainSettings {
            backbone: BackboneSettings {
                widths: vec![8, 16, 16],
                grid: 2,
                ..BackboneSettings::named("conv3")
            },
            method,
            optimizer,
            lr: 0.01,
            warmup_epochs: 1,
            length: Length::Epochs(3),
            batch: 16,
            monitor: 40,
            seed: 5,
        }
    }

    /// All weights after the last epoch, in a pool of `threads`; if `resumed`, through a checkpoint every other step.
    fn trained(settings: &PretrainSettings, threads: usize, resumed: bool) -> (Vec<u8>, Vec<EpochOutcome>) {
        let images = Scenes {
            n: 80,
            side: 16,
            seed: 1,
            style: Default::default(),
        }
        .images()
        .0
        .into();
        let augmenter = Augmenter::new(
            &Recipe::named("simclr").expect("shipped"),
            &[0.5; 3],
            &[0.25; 3],
            16,
            16,
        )
        .expect("valid");
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool")
            .install(|| {
                let mut training = Pretraining::new(settings.clone(), &images, &augmenter, None).expect("valid");
                while !training.is_done() {
                    let stop = |step| resumed && step % 2 == 1;
                    let ended = training.run_epoch(|step, _| match stop(step) {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    });
                    assert!(matches!(ended, Ok(_) | Err(TrainError::Stopped)), "trains");
                    if resumed {
                        let checkpoint = training.checkpoint().expect("the CPU does not fail");
                        training = Pretraining::new(settings.clone(), &images, &augmenter, None).expect("valid");
                        training.resume(&checkpoint).expect("own checkpoint");
                    }
                }
                (
                    training.checkpoint().expect("the CPU does not fail"),
                    training.history().to_vec(),
                )
            })
    }

    #[test]
    fn every_optimizer_resumes_to_the_bit() {
        for optimizer in [
            OptimizerConfig::default(),
            OptimizerConfig::AdamW(Default::default()),
            OptimizerConfig::Lars(Default::default()),
        ] {
            let settings = settings(MethodSettings::Rotation(RotationSettings {}), optimizer);
            assert_eq!(trained(&settings, 2, false).0, trained(&settings, 1, true).0);
        }
    }

    #[test]
    fn a_head_that_begins_anew_begins_without_momentum() {
        let method = MethodSettings::DeepCluster(DeepClusterSettings {
            clusters: 4,
            components: 8,
            iterations: 3,
        });
        let settings = settings(method, OptimizerConfig::Adam(Default::default()));
        let checkpoint = StateDict::from_bytes(&trained(&settings, 2, false).0).expect("a checkpoint");
        // Each parameter's, of three epochs of five steps.
        let steps = |of: &str| -> Vec<f32> {
            let of = format!("optimizer.steps.{of}.");
            let its = checkpoint.tensors.iter().filter(|(name, _)| name.starts_with(&of));
            its.map(|(_, steps)| steps.data[0]).collect()
        };
        assert_eq!(steps("method.head"), [5.0; 2]);
        let of_encoder = steps("encoder");
        assert!(!of_encoder.is_empty() && of_encoder.iter().all(|steps| *steps == 15.0));
    }

    #[test]
    fn a_budget_may_end_within_an_epoch_and_resumes_to_the_bit() {
        // Five steps an epoch and four views an image: a budget of seven steps ends in the second epoch.
        let settings = PretrainSettings {
            length: Length::Budget(7 * 16 * 4),
            ..settings(
                MethodSettings::Rotation(RotationSettings {}),
                OptimizerConfig::default(),
            )
        };
        let (whole, history) = trained(&settings, 2, false);
        assert_eq!(history.len(), 2);
        assert_eq!(whole, trained(&settings, 1, true).0);
        let epochs = PretrainSettings {
            length: Length::Epochs(2),
            ..settings
        };
        assert_ne!(whole, trained(&epochs, 2, false).0, "the last epoch was not cut short");
    }

    #[test]
    fn a_loss_that_grew_tenfold_is_an_error_while_it_is_still_a_number() {
        let grown = |first, loss| check_growth(first, loss, 4, "lower `lr`").err().map(|e| e.to_string());
        let message = grown(2.0, 21.0).expect("far above");
        assert!(
            message.contains("epoch 5") && message.contains("lower `lr`"),
            "{message}"
        );
        assert_eq!(grown(2.0, 19.0), None);
        assert_eq!(grown(-9.0, 0.5), None, "SCAN's second stage has another loss");
    }

    #[test]
    fn impossible_settings_are_refused_before_training() {
        let images = Scenes {
            n: 20,
            side: 16,
            seed: 1,
            style: Default::default(),
        }
        .images()
        .0
        .into();
        let augmenter = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 16, 16).expect("valid");
        let start = |change: fn(&mut PretrainSettings)| {
            let mut settings = settings(
                MethodSettings::Simclr(SimclrSettings::default()),
                OptimizerConfig::default(),
            );
            change(&mut settings);
            Pretraining::new(settings, &images, &augmenter, None)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert!(start(|s| s.batch = 21).contains("only 20 images"));
        assert!(start(|s| s.batch = 1).contains("at least 2"));
        assert!(start(|s| s.backbone.grid = 5).contains("4x4"));
        assert!(start(|s| s.backbone.name = "conv5".into()).contains("conv4"));
    }
}
