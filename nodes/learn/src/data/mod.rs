//! Examples in memory, what they are and where they come from: IDX bytes, a procedural scene, splits and label budgets.

mod annotations;
mod encoded_masks;
mod idx;
mod images;
mod input;
mod label;
mod pixels;
mod samples;
mod scenes;
mod split;
mod tokens;

pub use annotations::{Annotations, IGNORE, Located, MOST_MASK_CLASSES, Object};
pub use encoded_masks::{EncodingError, from_polygon, from_runs, unpacked};
pub use idx::{IMAGES_HEADER, IdxError, check_length, image_sizes, parse_labels};
pub use images::{Depth, Images, ImagesError};
pub use input::{Modality, NetworkInput};
pub use label::{Label, classes_of};
pub use pixels::{Bytes, Pixels};
pub use samples::{Sample, Samples};
pub use scenes::{SCENE_CLASSES, Scene, SceneStyle, Scenes};
pub use split::{SplitError, long_tailed, stratified};
pub use tokens::Tokens;
