//! What the last run of a workflow found in the cache, kept under the workflow file's path.

use std::path::Path;

use flow_cache::Store;

/// Begins to read, concurrently with other work, what the last run of the workflow file at `path` found in the store. Best called before
/// the workflow is loaded; without it, plans and runs are slower.
pub fn recall(store: &Store, path: &Path) {
    store.recall(&recall_name(path));
}

/// One memory for each workflow file, whatever its overrides.
#[expect(
    clippy::unnecessary_debug_formatting,
    reason = "it distinguishes bytes that are not UTF-8"
)]
pub(crate) fn recall_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("{absolute:?}")
}
