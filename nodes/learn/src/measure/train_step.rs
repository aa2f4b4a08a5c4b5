//! One whole training step on given images: forward, loss, backward, optimiser. No augmentation, no data loading.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::median_seconds;
use crate::backbones::{BackboneSettings, Encoder};
use crate::device::Device;
use crate::layers::{
    BatchNorm, BufferPool, FeatureMap, Layer, Linear, MapShape, Mode, NormSettings, Pass, Sequential, Tensors, Timing,
};
use crate::optim::{Optimizer, OptimizerConfig};
use crate::rng::Stream;
use crate::train::{TrainError, update};

const CLASSES: usize = 10;
const TEMPERATURE: f32 = 0.2;

/// What the step learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A linear head on ten classes, cross-entropy.
    Supervised,
    /// Two given views of each image, a 256-64 projector with batch norm, NT-Xent at 0.2.
    Simclr,
}

/// Channels, height and width of an image, written `3x32x32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Shape(pub MapShape);

impl From<Shape> for String {
    fn from(Shape(s): Shape) -> Self {
        format!("{}x{}x{}", s.c, s.h, s.w)
    }
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        match sizes.as_deref() {
            Ok([c, h, w]) if *c > 0 && *h > 0 && *w > 0 => Ok(Self(MapShape { c: *c, h: *h, w: *w })),
            _ => Err(format!(
                "`{text}` is not an image size: write CHANNELSxHEIGHTxWIDTH, e.g. 3x32x32"
            )),
        }
    }
}

/// Which step.
#[derive(Clone, Debug, Serialize)]
pub struct StepSpec {
    /// A backbone's name.
    pub backbone: String,
    /// Size of the images.
    pub image: Shape,
    /// Images; SimCLR takes two views of each.
    pub batch: usize,
    /// What is learnt.
    pub task: Task,
}

/// A training step that can be taken again and again.
pub struct TrainStep {
    task: Task,
    encoder: Encoder,
    head: Sequential,
    head_outputs: usize,
    optimizer: Box<dyn Optimizer>,
    batch: usize,
    images: Vec<f32>,
    views: usize,
    targets: Vec<f32>,
    buffers: Arc<BufferPool>,
}

/// Times of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepTimes {
    /// Median of the whole step in milliseconds.
    pub median_ms: f64,
    /// Images (not views) a second at the median.
    pub images_per_s: f64,
    /// The last step's loss, to the last bit: all weights and all steps before have a part in it.
    pub loss: f32,
}

impl TrainStep {
    /// The step with fresh weights and random images.
    ///
    /// # Errors
    /// If the backbone cannot be built for the images.
    pub fn new(spec: &StepSpec) -> Result<Self, TrainError> {
        let Shape(input) = spec.image;
        let stream = Stream::new(0, "bench");
        let encoder = BackboneSettings::named(&spec.backbone).build(input, &stream)?;
        let mut random = stream.child("head");
        let (head, head_outputs, views) = match spec.task {
            Task::Supervised => {
                let linear = Linear::new(encoder.dim, CLASSES, true, &mut random);
                (Sequential::default().with("fc", linear), CLASSES, spec.batch)
            }
            Task::Simclr => {
                let projector = Sequential::default()
                    .with("0", Linear::new(encoder.dim, 256, true, &mut random))
                    .with("1", BatchNorm::new(256, true, NormSettings::default()))
                    .with("3", Linear::new(256, 64, true, &mut random));
                (projector, 64, 2 * spec.batch)
            }
        };
        let mut random = stream.child("images");
        let images = (0..views * input.len()).map(|_| random.normal()).collect();
        let mut targets = vec![0.0; spec.batch * CLASSES];
        targets
            .chunks_exact_mut(CLASSES)
            .enumerate()
            .for_each(|(i, row)| row[i * 7 % CLASSES] = 1.0);
        Ok(Self {
            task: spec.task,
            encoder,
            head,
            head_outputs,
            optimizer: OptimizerConfig::default().build(),
            batch: spec.batch,
            images,
            views,
            targets,
            buffers: Arc::default(),
        })
    }

    /// The same step on a device.
    #[must_use]
    pub fn on(mut self, device: Arc<dyn Device>) -> Self {
        self.buffers = Arc::new(BufferPool::on(device));
        self
    }

    /// Takes one step and returns its loss.
    ///
    /// # Errors
    /// Those of the loss, e.g. a batch that is too small to contrast, and of the device.
    pub fn step(&mut self) -> Result<f32, TrainError> {
        let mut pass = Pass::recording(Mode::Train, &self.buffers);
        let loss = self.step_in(&mut pass)?;
        pass.device().check()?;
        Ok(loss)
    }

    /// What each layer takes: medians over some steps.
    ///
    /// # Errors
    /// As [`TrainStep::step`].
    pub fn layers(&mut self, steps: usize) -> Result<Vec<Timing>, TrainError> {
        let mut runs: Vec<Vec<Timing>> = Vec::with_capacity(steps);
        for _ in 0..steps {
            let mut pass = Pass::recording(Mode::Train, &self.buffers).profiled();
            self.step_in(&mut pass)?;
            runs.push(pass.into_timings());
        }
        let mut layers = runs.first().cloned().unwrap_or_default();
        for (i, layer) in layers.iter_mut().enumerate() {
            let mut seconds: Vec<f64> = runs.iter().map(|run| run[i].seconds).collect();
            seconds.sort_by(f64::total_cmp);
            layer.seconds = seconds[seconds.len() / 2];
        }
        Ok(layers)
    }

    fn step_in(&mut self, pass: &mut Pass) -> Result<f32, TrainError> {
        let mut images = pass.map(self.views, self.encoder.input);
        images.data.copy_from_slice(&self.images);
        let features = self.encoder.forward(images, pass);
        let outputs = self.head.forward(features, pass);
        let (n, shape) = (outputs.n, outputs.shape);
        let (device, width) = (pass.device(), self.head_outputs);
        let (loss, gradient) = match self.task {
            Task::Supervised => device.cross_entropy(width, &outputs.data, &self.targets),
            Task::Simclr => device.nt_xent(width, &outputs.data, TEMPERATURE),
        }?;
        let gradient = FeatureMap::new(n, shape, gradient);
        if let Some(gradient) = self.head.backward(gradient, pass, true) {
            self.encoder.backward(gradient, pass, false);
        }
        let mut entries = Vec::new();
        self.encoder.entries("encoder", &mut entries);
        self.head.entries("head", &mut entries);
        update(&*pass.device(), self.optimizer.as_mut(), 0.01, entries);
        Ok(loss.get())
    }

    /// The median of `steps` steps after three untimed ones.
    ///
    /// # Errors
    /// As [`TrainStep::step`].
    pub fn time(&mut self, steps: usize) -> Result<StepTimes, TrainError> {
        let mut last = self.step();
        let seconds = median_seconds(2, steps, || {
            if last.is_ok() {
                last = self.step();
            }
        });
        Ok(StepTimes {
            median_ms: seconds * 1e3,
            images_per_s: self.batch as f64 / seconds,
            loss: last?,
        })
    }
}
