//! A backbone with a task's head, and its use on images as they are.

use rayon::prelude::*;

use super::{Frame, Head, Task};
use crate::augment::Augmenter;
use crate::backbones::Encoder;
use crate::data::Samples;
use crate::layers::{FeatureMap, Pass, tensors};
use crate::rng::Stream;
use crate::settings::SettingError;

/// Images per pass; a result does not depend on it.
const BATCH: usize = 64;

/// A network that tells where things are.
pub struct Locator {
    /// Image to maps.
    pub encoder: Encoder,
    /// Maps to values.
    pub head: Box<dyn Head>,
    /// What they mean.
    pub task: &'static dyn Task,
    /// Of the images, and how many classes there are.
    pub frame: Frame,
}

tensors!(Locator: encoder, head);

impl Locator {
    /// A fresh head on an encoder.
    ///
    /// # Errors
    /// At `backbone`, if the task cannot stand on it.
    pub fn new(
        encoder: Encoder,
        task: &'static dyn Task,
        classes: usize,
        stream: &Stream,
    ) -> Result<Self, SettingError> {
        let stages = encoder.stages().ok_or_else(|| {
            let message = format!(
                "`{}` needs a backbone of convolutions, whose maps it looks at",
                task.name()
            );
            SettingError::new("backbone", message)
        })?;
        let mut frame = Frame {
            height: encoder.input.h,
            width: encoder.input.w,
            classes,
            maps: Vec::new(),
        };
        let head = task.head(&frame, &stages, &mut stream.child("head"))?;
        frame.maps = head.maps();
        Ok(Self {
            encoder,
            head,
            task,
            frame,
        })
    }

    /// The head's values for a batch.
    pub(super) fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let stages = self.encoder.forward_stages(x, pass);
        self.head.forward(stages, pass)
    }
}

/// What `read` makes of the values of each image at `indices`, which are shown as they are.
pub fn locate<T: Send>(
    network: &mut Locator,
    images: &Samples,
    indices: &[u32],
    augmenter: &Augmenter,
    read: impl Fn(&dyn Task, &[f32], &Frame) -> T + Sync,
) -> Vec<T> {
    let buffers = network.encoder.buffers();
    let mut all = Vec::with_capacity(indices.len());
    for batch in indices.chunks(BATCH) {
        let mut pass = Pass::inference(&buffers);
        let mut x = pass.map(batch.len(), network.encoder.input);
        augmenter.plain_batch(images, batch, &mut x.data);
        let values = network.forward(x, &mut pass);
        let (task, frame) = (network.task, &network.frame);
        let of_images = values.data.par_chunks(values.shape.len());
        all.par_extend(of_images.map(|values| read(task, values, frame)));
    }
    all
}
