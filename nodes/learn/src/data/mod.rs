//! Images in memory and where they come from: IDX bytes, a procedural scene, splits and label budgets.

mod idx;
mod images;
mod scenes;
mod split;

pub use idx::{IdxError, parse_images, parse_labels};
pub use images::{Annotations, Images, ImagesError};
pub use scenes::{SCENE_CLASSES, Scene, Scenes};
pub use split::{SplitError, stratified};
