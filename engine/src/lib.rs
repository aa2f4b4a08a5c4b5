//! Workflow model, plan, schedule and execution. Knows no node kind by name: see [`node::Node`].
pub mod node;
pub mod registry;
pub mod workflow;

pub use registry::Registry;
pub use workflow::{Diagnostics, Override, Workflow};
