//! Image files: which a folder has, what they hold, and which of them are the same.

mod decode;
mod fit;
mod folder;
mod inspect;
mod leaks;
mod load;
mod table;

pub use decode::{Header, MAX_PIXELS, Picture, Reading, decode, decode_bytes, header};
pub use fit::Fit;
pub use folder::{Entry, Fault, Found, Layout, list};
pub use inspect::{FileLine, Inspection, inspect};
pub use leaks::{Fingerprint, Pair, pairs};
pub use load::{Fitted, Fitting, LISTED, first_few, load};
pub use table::Columns;
