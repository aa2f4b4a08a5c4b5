//! `kind = "dataset"`: images or texts from a source, or a part of another data set.

pub(crate) mod files;
mod located;
mod part;
mod source;

pub use part::PartNode;
pub use source::SourceNode;
