//! A request to stop, shared with its sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asked to stop or not. Clones share the answer; [`StopFlag::shared`] suits signal handlers.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Not asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. Running nodes save a checkpoint and return, no further ones begin.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether anyone asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, e.g. for `signal_hook::flag::register`.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
