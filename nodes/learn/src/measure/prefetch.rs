//! Whether training waits for its views.

use std::sync::Arc;

use serde::Serialize;

use super::augment::random_images;
use super::{Recipe, Shape};
use crate::augment::Augmenter;
use crate::backbones::BackboneSettings;
use crate::device::Device;
use crate::methods::{MethodSettings, SimclrSettings};
use crate::optim::OptimizerConfig;
use crate::settings::SettingError;
use crate::train::{Length, PretrainSettings, Pretraining, TrainError};

/// How a pre-training spent its time.
#[derive(Clone, Debug, Serialize)]
pub struct PrefetchTimes {
    /// Milliseconds of a step, with the next step's views made during it.
    pub step_ms: f64,
    /// Milliseconds of a step in which nothing but views was made.
    pub waited_ms: f64,
    /// The share of time in which the step waited, in percent.
    pub waited_percent: f64,
}

/// Pre-trains with SimCLR on `device` for `steps` steps on random images, whose views are made in the calling thread pool.
///
/// # Errors
/// If backbone, recipe or batch do not fit the images, and the device's.
pub fn prefetch_times(
    device: Arc<dyn Device>,
    backbone: &str,
    image: Shape,
    recipe: &Recipe,
    batch: usize,
    steps: usize,
) -> Result<PrefetchTimes, TrainError> {
    let images = random_images(image, batch * steps);
    let (mean, std) = images.channel_statistics();
    let augmenter = Augmenter::new(recipe, &mean, &std, images.height, images.width)
        .map_err(|e| SettingError::new("recipe", e.to_string()))?;
    let settings = PretrainSettings {
        backbone: BackboneSettings::named(backbone),
        method: MethodSettings::Simclr(SimclrSettings::default()),
        optimizer: OptimizerConfig::default(),
        lr: 0.01,
        warmup_epochs: 0,
        length: Length::Epochs(1),
        batch,
        monitor: 0,
        seed: 0,
    };
    let samples = images.into();
    let mut training = Pretraining::new(settings, &samples, &augmenter, None)?.on(device);
    training.run_epoch(|_, _| std::ops::ControlFlow::Continue(()))?;
    let wait_times = training.wait_times();
    Ok(PrefetchTimes {
        step_ms: wait_times.total.as_secs_f64() * 1e3 / steps as f64,
        waited_ms: wait_times.waited.as_secs_f64() * 1e3 / steps as f64,
        waited_percent: 100.0 * wait_times.share(),
    })
}
