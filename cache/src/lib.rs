//! A content-addressed store of artifacts.
//!
//! An [`ActionKey`] (what was done, to what) leads to a [`Record`] (what came out, what it cost), which leads to blobs
//! (the bytes). Blobs and records are files and are the truth; sled holds an index over them that can be rebuilt at any
//! time. The store knows nothing of experiments: a node's kind, parameters and metrics are names and values to it.

pub mod digest;
pub mod key;
pub mod record;
pub mod store;

pub use digest::Digest;
pub use key::{ActionKey, Change, Components, KeyBuilder};
pub use record::{Cost, OutputFile, Record};
pub use store::{Access, Artifact, CacheError, Draft, Lookup, Scratch, Slot, Store};
