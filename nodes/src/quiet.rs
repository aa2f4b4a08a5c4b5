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

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use flow_cache::{LargeFile, LargeWriter, Store};

    use super::*;

    /// A quiet one with room for large files.
    pub(crate) struct Room {
        store: Store,
        large: Mutex<Vec<(String, LargeFile)>>,
    }

    impl Room {
        pub(crate) fn new(store: Store) -> Self {
            Self {
                store,
                large: Mutex::default(),
            }
        }

        pub(crate) fn store(&self) -> &Store {
            &self.store
        }

        /// The large files that were put out since this was last asked.
        pub(crate) fn take_large(&self) -> Vec<(String, LargeFile)> {
            std::mem::take(&mut *self.large.lock().expect("sound"))
        }
    }

    impl Host for Room {
        fn progress(&self, _: Progress) {}
        fn note(&self, _: &str) {}
        fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
            Quiet.load_checkpoint()
        }
        fn save_checkpoint(&self, bytes: &[u8]) -> Result<(), NodeError> {
            Quiet.save_checkpoint(bytes)
        }
        fn stop_requested(&self) -> bool {
            Quiet.stop_requested()
        }
        fn large_file(&self) -> Result<LargeWriter, NodeError> {
            let folder = Arc::new(self.store.large_folder()?);
            Ok(self.store.large_file(&folder)?)
        }
        fn output(&self, name: &str, file: LargeFile) -> Result<(), NodeError> {
            self.large.lock().expect("sound").push((name.to_owned(), file));
            Ok(())
        }
    }
}
