//! Groups of features: assignments that fill every cluster, and clusters around means.

mod sinkhorn;

pub use sinkhorn::sinkhorn;
