//! What a method is given: to check its settings, to be built, at the start of an epoch, and in each step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outcome::MethodError;
use crate::augment::{Augmenter, LocalViews};
use crate::backbones::{BackboneSettings, Encoder};
use crate::data::Samples;
use crate::device::DeviceError;
use crate::layers::{BufferPool, FeatureMap, MapShape, Pass, Tensors};
use crate::rng::Stream;
use crate::train::embed;

/// What a method must fit, as far as it is known before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodConstraints {
    /// Images per step.
    pub batch: usize,
    /// Shape of the images.
    pub image: MapShape,
    /// Number of training images.
    pub images: usize,
    /// Length of the encoder's feature vectors.
    pub features: usize,
    /// Whether the encoder brings weights from an earlier training.
    pub pretrained: bool,
    /// Patches that the encoder cuts an image into, if it is a vision transformer.
    pub patches: Option<usize>,
    /// Local views that are made besides the whole ones.
    pub local_views: Option<LocalViews>,
}

impl MethodConstraints {
    /// Whether there are so many images as the setting `key` asks for.
    pub(super) fn check_images(&self, key: &str, asked: usize) -> Result<(), MethodError> {
        if asked <= self.images {
            return Ok(());
        }
        let message = format!("{asked} found, but there are only {} images", self.images);
        Err(MethodError::setting(key, message))
    }
}

/// What a method is built from.
pub struct Setup<'a> {
    /// The network at its first step.
    pub encoder: &'a mut Encoder,
    /// How it was declared.
    pub backbone: &'a BackboneSettings,
    /// The training images.
    pub images: &'a Samples,
    /// Derives the heads' initial weights.
    pub stream: Stream,
}

impl Setup<'_> {
    /// A second encoder with the same weights.
    pub fn twin(&mut self) -> Encoder {
        let mut twin = self
            .backbone
            .build(self.encoder.takes(), &self.stream)
            .expect("BUG: the encoder was built from these settings");
        copy_tensors(self.encoder, &mut twin);
        twin
    }
}

/// Copies all values from one network to another of the same shape.
pub(super) fn copy_tensors(from: &mut dyn Tensors, to: &mut dyn Tensors) {
    let (mut source, mut target) = (Vec::new(), Vec::new());
    from.entries("", &mut source);
    to.entries("", &mut target);
    for (source, target) in source.iter().zip(&mut target) {
        *target.value = source.value.clone();
    }
}

/// Clears all gradients of a network.
pub(super) fn clear_gradients(of: &mut dyn Tensors, pass: &Pass) {
    let mut entries = Vec::new();
    of.entries("", &mut entries);
    let (device, gradients) = (pass.device(), entries.into_iter().filter_map(|e| e.grad));
    gradients.for_each(|gradient| device.fill(gradient, 0.0));
}

/// An epoch that is about to begin.
pub struct Epoch<'a> {
    /// All training images.
    pub images: &'a Samples,
    /// Makes a view of an image, or normalises it as it is.
    pub augmenter: &'a Augmenter,
    /// From 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// Derived from seed and epoch.
    pub stream: Stream,
}

impl Epoch<'_> {
    /// Every image once, in random order.
    pub fn shuffled(&self) -> Vec<u32> {
        self.stream.clone().permutation(self.images.n())
    }

    /// Features of all images as they are, with running statistics, `[images][encoder.dim]`.
    ///
    /// # Errors
    /// The device's.
    pub fn features(&self, encoder: &mut Encoder) -> Result<Vec<f32>, DeviceError> {
        let all: Vec<u32> = (0..self.images.n() as u32).collect();
        embed(encoder, self.images, &all, self.augmenter)
    }
}

/// The images of one step, and the random streams of their views.
pub struct Batch<'a> {
    /// All training images.
    pub images: &'a Samples,
    /// Those of this step.
    pub indices: &'a [u32],
    /// Makes a view of an image.
    pub augmenter: &'a Augmenter,
    /// Derived from seed and step.
    pub stream: Stream,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The share of all steps that are done, in `[0, 1)`.
    pub progress: f32,
    /// Views of this step that were made during the last one.
    pub views: Views,
}

/// Views that were made beforehand, and which were asked for: those are what the next step will ask for too.
#[derive(Debug, Default)]
pub struct Views {
    ready: BTreeMap<ViewName, FeatureMap>,
    asked: Mutex<Asked>,
}

/// Which view of each image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ViewName {
    /// One at full size.
    Whole(String),
    /// One of the local views, by number.
    Local(usize),
}

/// What a step asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The views' names.
    pub(crate) names: Vec<ViewName>,
    /// Time that the step spent on views that were not ready.
    pub(crate) waited: Duration,
}

impl Views {
    /// What was asked for.
    pub(crate) fn into_asked(self) -> Asked {
        self.asked.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch<'_> {
    /// Images of this step.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// One view of every image, `[indices][h][w][c]`, normalised; views with different names are independent.
    pub fn view_into(&self, name: &str, out: &mut [f32]) {
        self.named_view_into(ViewName::Whole(name.to_owned()), out);
    }

    /// All local views of the images, `[count][indices][h][w][c]` of their shape; none if the recipe makes none.
    pub fn local_views(&self, encoder: &Encoder, pass: &Pass) -> Option<FeatureMap> {
        let local = self.augmenter.local_views()?;
        let mut views = self.map(local.count, local.shape(encoder.input), pass);
        let each = views.data.len() / local.count;
        for (number, out) in views.data.chunks_exact_mut(each.max(1)).enumerate() {
            self.named_view_into(ViewName::Local(number), out);
        }
        Some(views)
    }

    fn named_view_into(&self, name: ViewName, out: &mut [f32]) {
        let start = Instant::now();
        let ready = self.views.ready.get(&name);
        match ready {
            Some(view) => out.copy_from_slice(&view.data),
            None => self.make_view(&name, out),
        }
        let mut asked = self.views.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.names.push(name);
        if ready.is_none() {
            asked.waited += start.elapsed();
        }
    }

    fn make_view(&self, name: &ViewName, out: &mut [f32]) {
        let Self {
            augmenter,
            images,
            indices,
            stream,
            ..
        } = self;
        match name {
            ViewName::Whole(name) => augmenter.augment_batch(images, indices, &stream.child(name), out),
            ViewName::Local(number) => {
                let stream = stream.child(&format!("local view {number}"));
                augmenter.local_batch(images, indices, &stream, out);
            }
        }
    }

    /// Makes the views that will be asked for by these names. What is not among them is made when it is asked for.
    pub(crate) fn prepare(&mut self, names: &[ViewName], input: MapShape, buffers: &Arc<BufferPool>) {
        for name in names {
            let shape = match (name, self.augmenter.local_views()) {
                (ViewName::Local(_), Some(local)) => local.shape(input),
                _ => input,
            };
            let mut view = self.map(1, shape, &Pass::inference(buffers));
            self.make_view(name, &mut view.data);
            self.views.ready.insert(name.clone(), view);
        }
    }

    /// [`Batch::view_into`] in a feature map of its own.
    pub fn view(&self, name: &str, encoder: &Encoder, pass: &Pass) -> FeatureMap {
        let mut view = self.map(1, encoder.input, pass);
        self.view_into(name, &mut view.data);
        view
    }

    /// Every image as it is, normalised.
    pub fn plain(&self, encoder: &Encoder, pass: &Pass) -> FeatureMap {
        let mut images = self.map(1, encoder.input, pass);
        self.augmenter.plain_batch(self.images, self.indices, &mut images.data);
        images
    }

    /// The images' classes.
    ///
    /// # Panics
    /// With `BUG:` if one has no label: a method that uses labels is given labelled images only.
    pub fn labels(&self) -> Vec<usize> {
        let label = |i: &u32| usize::from(self.images.labels()[*i as usize].expect("BUG: an image without a label"));
        self.indices.iter().map(label).collect()
    }

    /// A feature map for `copies` views of the batch, unfilled.
    pub fn map(&self, copies: usize, shape: MapShape, pass: &Pass) -> FeatureMap {
        pass.map(copies * self.indices.len(), shape)
    }
}
