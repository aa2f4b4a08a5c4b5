//! Work outside of a run.

use flow_engine::node::{Host, NodeError, Progress};

/// A host to whom nothing is told, and who keeps nothing: for what takes seconds and fits into memory.
pub(crate) struct Quiet;

impl Host for Quiet {
    fn progress(&self, _: Progress) {}
    fn note(&self, _: &str) {}
    fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(None)
    }
    fn save_checkpoint(&self, _: &[u8]) -> Result<(), NodeError> {
        Ok(())
    }
    fn stop_requested(&self) -> bool {
        false
    }
}
