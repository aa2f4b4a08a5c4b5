//! `flow cache export KEY --to torch -o FILE`: an entry's weights as PyTorch takes them.

use std::path::Path;

use flow_cache::{Record, Store};

use crate::exit::{Exit, Failure};
use crate::output::{bytes, print, say};

/// Writes the file, prints the Python that loads it, and says what to know about it.
pub(crate) fn export(store: &Store, record: &Record, to: &Path) -> Result<Exit, Failure> {
    let gone = || Failure::failed(format!("entry {} is no longer in the cache", record.key.short()));
    let artifact = store.peek(&record.key)?.ok_or_else(gone)?;
    let weights = flow_nodes::torch_weights(&artifact)
        .map_err(|e| Failure::failed(format!("{} ({}): {e}", record.key.short(), record.node)))?;
    write(to, &weights.bytes)?;
    say(&format!(
        "wrote {} ({})",
        to.display(),
        bytes(weights.bytes.len() as u64)
    ));
    weights.notes.iter().for_each(|note| say(note));
    print(&weights.usage.replace("FILE", &to.display().to_string()));
    Ok(Exit::Ok)
}

/// Whole or not at all: a reader never sees half a file.
fn write(to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = flow_cache::write_whole(to, bytes, false);
    written.map_err(|e| Failure::failed(format!("cannot write {}: {e}", to.display())))
}
