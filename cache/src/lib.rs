//! A content-addressed store of artifacts.
//!
//! An [`ActionKey`] (what was done, to what) leads to a [`Record`] (what came out, what it cost), which leads to blobs
//! (the bytes). Blobs and records are files and are the truth; sled holds an index over them that can be rebuilt at any
//! time. The store knows nothing of experiments: a node's kind, parameters and metrics are names and values to it.

mod archive;
mod artifact;
mod catalog;
mod claim;
#[cfg(test)]
mod decoding;
pub mod digest;
mod disk;
mod error;
pub mod expr;
mod files;
mod gc;
mod host;
mod index;
pub mod key;
mod large;
mod layout;
mod lease;
mod litter;
mod lock;
mod mapped;
mod marks;
#[cfg(test)]
mod messages;
pub mod name;
mod nearest;
mod output_name;
mod past;
mod process;
mod publish;
mod publishing;
pub mod query;
mod recall;
pub mod record;
mod record_file;
mod scratch;
mod shared;
mod sharing;
mod stamp;
pub mod store;
mod summary;
#[cfg(test)]
mod testing;
mod verify;
mod work_folder;

pub use archive::{ArchiveError, ArchiveLimits, Imported};
pub use artifact::Artifact;
pub use claim::{Claim, Claiming};
pub use digest::Digest;
pub use error::{CacheError, NonDeterminism};
pub use files::Access;
pub use gc::{Collected, GcOptions, GcReport};
pub use host::{panic_text, peak_memory_bytes, unix_ms};
pub use key::{ActionKey, Change, Components, FileField, InputField, KeyFields};
pub use large::{HandedOver, LargeFile, LargeFolder, LargeWriter};
pub use lease::Lease;
pub use mapped::Mapped;
pub use marks::Marks;
pub use nearest::nearest;
pub use output_name::{BadOutputName, MAX_NAME, MAX_PART, OutputName};
pub use past::{Past, PastRun};
pub use publish::Draft;
pub use query::QueryError;
pub use record::{Cost, OutputFile, Record};
pub use scratch::Scratch;
pub use sharing::Sharing;
pub use stamp::Stamp;
pub use store::Store;
pub use summary::ArtifactSummary;
pub use verify::{Fault, VerifyReport};
pub use work_folder::WorkFolder;
