//! Image files: which a folder has, what they hold, and which of them are the same.

mod bands;
mod decode;
mod fit;
mod folder;
mod inspect;
mod known;
mod leaks;
mod load;
mod overlay;
mod pool;
mod stream;
mod table;

pub use decode::{Header, MAX_PIXELS, Picture, Reading, Values, decode, decode_bytes, header};
pub use fit::Fit;
pub use folder::{Entry, Fault, Found, Layout, images_in, list};
pub(crate) use folder::{files_in, split_of};
pub use inspect::{FileLine, Inspection, PlaceCounts, inspect};
pub(crate) use inspect::{Looked, look_at};
pub(crate) use known::{Decoded, Known};
pub use leaks::{Fingerprint, Pair, pairs};
pub(crate) use load::load;
pub use load::{Fitted, Fitting, LISTED, first_few};
pub use overlay::CLASS_COLOURS;
pub(crate) use overlay::Overlay;
pub use pool::{Kept, Pool};
pub use stream::{Content, Item, expand, stream};
pub use table::Columns;
