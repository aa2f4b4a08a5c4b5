//! Pre-training: epochs over unlabelled images with any method, from the first step or from a checkpoint.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{TrainError, load_optimizer, save_optimizer, update};
use crate::augment::Augmenter;
use crate::backbones::{BackboneSettings, Encoder};
use crate::data::Images;
use crate::layers::{BufferPool, MapShape, Mode, Pass, Tensors};
use crate::methods::{Batch, Method, MethodError, MethodSettings};
use crate::optim::{Optimizer, OptimizerConfig, Schedule};
use crate::rng::Stream;
use crate::state::{StateDict, StateError, Tensor};

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
    /// Passes over the images.
    pub epochs: usize,
    /// Images per step; those that do not fill a last batch wait for the next epoch.
    pub batch: usize,
    /// Decides initial weights, order and views.
    pub seed: u64,
}

/// Means over an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochOutcome {
    /// Loss.
    pub loss: f32,
    /// See [`crate::methods::StepOutcome::health`].
    pub health: f32,
}

/// A pre-training between two epochs.
pub struct Pretraining<'a> {
    settings: PretrainSettings,
    images: &'a Images,
    augmenter: &'a Augmenter,
    encoder: Encoder,
    method: Box<dyn Method>,
    optimizer: Box<dyn Optimizer>,
    schedule: Schedule,
    stream: Stream,
    buffers: Arc<BufferPool>,
    history: Vec<EpochOutcome>,
}

impl<'a> Pretraining<'a> {
    /// A pre-training at its first epoch.
    ///
    /// # Errors
    /// If the settings do not fit each other or the images.
    pub fn new(settings: PretrainSettings, images: &'a Images, augmenter: &'a Augmenter) -> Result<Self, TrainError> {
        let input = MapShape {
            h: images.height,
            w: images.width,
            c: images.channels,
        };
        let method_settings = settings.method.settings();
        method_settings.check(settings.batch, input)?;
        if settings.batch > images.n {
            let message = format!("{} found, but there are only {} images", settings.batch, images.n);
            return Err(TrainError::Setting { key: "batch", message });
        }
        let stream = Stream::new(settings.seed, "pretrain");
        let encoder = settings.backbone.build(input, &stream)?;
        let method = method_settings.build(&encoder, &stream);
        let steps = images.n / settings.batch;
        let schedule = Schedule::warmup_cosine(settings.lr, settings.warmup_epochs * steps, settings.epochs * steps);
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
            stream,
            buffers,
            history,
        })
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.images.n / self.settings.batch
    }

    /// Epochs done, in order.
    pub fn history(&self) -> &[EpochOutcome] {
        &self.history
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.history.len() >= self.settings.epochs
    }

    /// Images that went through the network, forward and backward, so far: views counted.
    pub fn images_seen(&self) -> u64 {
        let per_epoch = self.steps_per_epoch() * self.settings.batch * self.settings.method.settings().views();
        (self.history.len() * per_epoch) as u64
    }

    /// Runs the next epoch; `watch(step, loss)` is called after each step and may break off.
    ///
    /// # Errors
    /// If the loss is no number any more, or `watch` broke off: what this epoch did is then lost, so the caller goes on from
    /// the last checkpoint.
    pub fn run_epoch(
        &mut self,
        mut watch: impl FnMut(usize, f32) -> ControlFlow<()>,
    ) -> Result<EpochOutcome, TrainError> {
        let (epoch, steps, batch) = (self.history.len(), self.steps_per_epoch(), self.settings.batch);
        let order = self
            .stream
            .child("order")
            .index(epoch as u64)
            .permutation(self.images.n);
        let (mut loss, mut health) = (0.0f64, 0.0f64);
        for (step, indices) in order.chunks_exact(batch).enumerate() {
            let at = epoch * steps + step;
            let stream = self.stream.child("views").index(at as u64);
            let batch = Batch {
                images: self.images,
                indices,
                augmenter: self.augmenter,
                stream,
            };
            let mut pass = Pass::recording(Mode::Train, &self.buffers);
            let outcome = self.method.step(&mut self.encoder, &batch, &mut pass)?;
            if !outcome.loss.is_finite() {
                return Err(MethodError::Diverged {
                    loss: outcome.loss,
                    step: at,
                }
                .into());
            }
            let mut entries = Vec::new();
            self.encoder.entries("encoder", &mut entries);
            self.method.entries("method", &mut entries);
            update(self.optimizer.as_mut(), self.schedule.at(at), entries);
            loss += f64::from(outcome.loss);
            health += f64::from(outcome.health);
            if watch(step, outcome.loss).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        let outcome = EpochOutcome {
            loss: (loss / steps as f64) as f32,
            health: (health / steps as f64) as f32,
        };
        self.history.push(outcome);
        Ok(outcome)
    }

    /// Everything that the rest of the training depends on.
    pub fn checkpoint(&mut self) -> Vec<u8> {
        let mut state = StateDict::of(&mut self.encoder, "encoder");
        state.extend(StateDict::of(self.method.as_mut(), "method"));
        save_optimizer(self.optimizer.as_ref(), "optimizer", &mut state);
        let history: Vec<f32> = self.history.iter().flat_map(|h| [h.loss, h.health]).collect();
        state.tensors.insert(
            "history".into(),
            Tensor {
                shape: vec![self.history.len(), 2],
                data: history,
            },
        );
        state.to_bytes()
    }

    /// Goes on from a checkpoint of the same settings and images.
    ///
    /// # Errors
    /// If it is not one.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let state = StateDict::from_bytes(bytes)?;
        let history = state
            .tensors
            .get("history")
            .ok_or(StateError::Missing { name: "history".into() })?;
        state.load(&mut self.encoder, "encoder")?;
        state.load(self.method.as_mut(), "method")?;
        load_optimizer(self.optimizer.as_mut(), "optimizer", &state);
        self.history = history
            .data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[loss, health]| EpochOutcome {
                loss: *loss,
                health: *health,
            })
            .collect();
        Ok(())
    }

    /// The encoder, trained so far.
    pub fn into_encoder(self) -> Encoder {
        self.encoder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Recipe;
    use crate::backbones::Stem;
    use crate::data::Scenes;
    use crate::methods::{RotationSettings, SimclrSettings};

    fn settings(method: MethodSettings, optimizer: OptimizerConfig) -> PretrainSettings {
        PretrainSettings {
            backbone: BackboneSettings {
                name: "conv3".into(),
                widths: vec![8, 16, 16],
                grid: 2,
                stem: Stem::Small,
            },
            method,
            optimizer,
            lr: 0.01,
            warmup_epochs: 1,
            epochs: 3,
            batch: 16,
            seed: 5,
        }
    }

    /// All weights after the last epoch, in a pool of `threads`, through a checkpoint after each epoch if `resumed`.
    fn trained(settings: &PretrainSettings, threads: usize, resumed: bool) -> (Vec<u8>, Vec<EpochOutcome>) {
        let images = Scenes {
            n: 80,
            side: 16,
            seed: 1,
        }
        .images()
        .0;
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
                let mut training = Pretraining::new(settings.clone(), &images, &augmenter).expect("valid");
                while !training.is_done() {
                    training.run_epoch(|_, _| ControlFlow::Continue(())).expect("trains");
                    if resumed {
                        let checkpoint = training.checkpoint();
                        training = Pretraining::new(settings.clone(), &images, &augmenter).expect("valid");
                        training.resume(&checkpoint).expect("own checkpoint");
                    }
                }
                (training.checkpoint(), training.history().to_vec())
            })
    }

    #[test]
    fn every_method_learns_and_resumes_to_the_bit_with_any_number_of_threads() {
        for method in [
            MethodSettings::Simclr(SimclrSettings {
                hidden: 32,
                projection: 16,
                ..SimclrSettings::default()
            }),
            MethodSettings::Rotation(RotationSettings {}),
        ] {
            let settings = settings(method, OptimizerConfig::Adam(Default::default()));
            let (whole, history) = trained(&settings, 1, false);
            assert!(history[2].loss < history[0].loss, "{history:?}");
            assert_eq!(whole, trained(&settings, 2, true).0);
        }
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
    fn impossible_settings_are_refused_before_training() {
        let images = Scenes {
            n: 20,
            side: 16,
            seed: 1,
        }
        .images()
        .0;
        let augmenter = Augmenter::new(&Recipe::default(), &[0.5; 3], &[0.25; 3], 16, 16).expect("valid");
        let start = |change: fn(&mut PretrainSettings)| {
            let mut settings = settings(
                MethodSettings::Simclr(SimclrSettings::default()),
                OptimizerConfig::default(),
            );
            change(&mut settings);
            Pretraining::new(settings, &images, &augmenter)
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
