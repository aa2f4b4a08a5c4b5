//! Workflow model, plan, schedule and execution. Knows no node kind by name: see [`node::Node`].
pub mod node;
