//! What a network may be trained to tell of an image beyond its class: where things are. Each task is a file and a line in [`TASKS`].
//!
//! A task says which head stands on a backbone's maps, what its loss is against what is where in an image, what the head's values mean, how good that is,
//! and what a student is given to learn of it. [`LocatingFit`] trains any of them, with pseudo-labelled images beside labelled ones if there are such.

pub mod detect;
mod fit;
mod network;
mod segment;

use std::collections::BTreeMap;

pub use fit::{LocatedExamples, LocatingFit};
pub use network::{Locator, locate};

use crate::data::Located;
use crate::layers::{FeatureMap, MapShape, Pass, Tensors};
use crate::losses::LossError;
use crate::rng::Stream;
use crate::settings::SettingError;

/// All tasks beyond classification. A new one is a file and a line.
pub const TASKS: &[&dyn Task] = &[&segment::Segment, &detect::Detect];

/// The task of a name; none for classification.
pub fn named(name: &str) -> Option<&'static dyn Task> {
    TASKS.iter().copied().find(|task| task.name() == name)
}

/// What a task needs to know of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The class of each pixel.
    Masks,
    /// A box around each thing.
    Boxes,
}

impl Needs {
    /// In words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Masks => "masks",
            Self::Boxes => "boxes",
        }
    }
}

/// A thing that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its class.
    pub class: u16,
    /// Left, top, right and bottom in pixels.
    pub bounds: [f32; 4],
    /// How sure that is, in [0, 1].
    pub score: f32,
}

/// What a network found in an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// `[height][width]`, as [`Located::mask`]; empty where no masks are looked for.
    pub mask: Vec<u8>,
    /// Things, the surest first.
    pub boxes: Vec<Detection>,
}

/// How good a network is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The task's figures by name.
    pub metrics: BTreeMap<String, f64>,
    /// [`Task::figure`] of each class; 0 for one that does not occur.
    pub by_class: Vec<f64>,
    /// What each image contributes to [`Task::figure`]: their mean is the figure, and their variance over the number of images the
    /// figure's variance.
    pub contributions: Vec<f64>,
}

/// What values are of: height, width and number of classes, background not counted, and maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Classes of things.
    pub classes: usize,
    /// Height and width of each map that a head's values are of, one after the other.
    pub maps: Vec<[usize; 2]>,
}

/// How a teacher's values become what a student learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guessing {
    /// How sure a guess is at least, in [0, 1].
    pub threshold: f32,
    /// For soft guesses, which tell how sure they are, their temperature: `p^(1/T)`; hard ones if none.
    pub soft: Option<f32>,
}

/// What stands on a backbone.
pub trait Head: Tensors + Send + Sync {
    /// Its values for a batch, from the backbone's maps, finest first.
    fn forward(&mut self, stages: Vec<FeatureMap>, pass: &mut Pass) -> FeatureMap;

    /// Adds to the parameters' gradients and gives those of the maps that it looks at.
    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass) -> Vec<Option<FeatureMap>>;

    /// Height and width of each map that its values are of.
    fn maps(&self) -> Vec<[usize; 2]>;
}

/// Something to tell of images.
pub trait Task: Send + Sync {
    /// Its name in workflows.
    fn name(&self) -> &'static str;

    /// What it learns from.
    fn needs(&self) -> Needs;

    /// The metric that networks are compared by: its name, and in words.
    fn figure(&self) -> (&'static str, &'static str);

    /// A fresh head on maps of these shapes.
    ///
    /// # Errors
    /// If these maps do not go with it.
    fn head(&self, frame: &Frame, stages: &[MapShape], stream: &mut Stream) -> Result<Box<dyn Head>, SettingError>;

    /// Loss of a batch's values and its gradient.
    ///
    /// # Errors
    /// Those of the loss.
    fn loss(&self, values: &[f32], truths: &[Located], frame: &Frame) -> Result<(f32, Vec<f32>), LossError>;

    /// What the values of one image mean.
    fn decode(&self, values: &[f32], frame: &Frame) -> Found;

    /// What a student may learn of the values of one image: what is sure enough; what is not counts nowhere. None if nothing is.
    fn guess(&self, values: &[f32], frame: &Frame, how: Guessing) -> Option<Located>;

    /// How good what was found is, image by image. The figure of each class is named after it, and classes are called as in `class_names`.
    fn judge(&self, found: &[Found], truths: &[Located], frame: &Frame, class_names: &[String]) -> Judged;

    /// The share of what a guess tells that is right, where the truth is known: two counts, right and all.
    fn right(&self, guess: &Located, truth: &Located) -> (f64, f64);
}
