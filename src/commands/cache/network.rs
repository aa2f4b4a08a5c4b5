//! `flow cache export ENTRY --to torch | onnx -o FILE`: an entry's network as other programs take it.

use std::path::Path;

use flow_cache::{Artifact, Record, Store};
use flow_engine::node::NodeError;

use super::archive::gone;
use crate::exit::{Exit, Failure};
use crate::output::{bytes, print, say};

/// Weights for PyTorch, and on stdout the Python that loads them.
pub(super) fn to_torch(store: &Store, record: &Record, to: &Path) -> Result<Exit, Failure> {
    let weights = converted(store, record, flow_nodes::torch_weights)?;
    write(to, &weights.bytes, &weights.notes)?;
    print(&weights.usage.replace("FILE", &to.display().to_string()));
    Ok(Exit::Ok)
}

/// The network with its weights for onnxruntime and others.
pub(super) fn to_onnx(store: &Store, record: &Record, preprocessing: bool, to: &Path) -> Result<Exit, Failure> {
    let model = converted(store, record, |artifact| {
        flow_nodes::onnx_model(artifact, preprocessing)
    })?;
    write(to, &model.bytes, &model.notes)?;
    Ok(Exit::Ok)
}

fn converted<T>(
    store: &Store,
    record: &Record,
    convert: impl Fn(&Artifact) -> Result<T, NodeError>,
) -> Result<T, Failure> {
    let artifact = store.peek(&record.key)?.ok_or_else(|| gone(record))?;
    convert(&artifact).map_err(|e| Failure::failed(format!("{} ({}): {e}", record.key.short(), record.node)))
}

/// Whole or not at all: a reader never sees half a file. It is the user's file, with the permissions that theirs have.
fn write(to: &Path, content: &[u8], notes: &[String]) -> Result<(), Failure> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    let written = std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, to));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        Failure::failed(format!("cannot write {}: {e}", to.display()))
    })?;
    say(&format!("wrote {} ({})", to.display(), bytes(content.len() as u64)));
    notes.iter().for_each(|note| say(note));
    Ok(())
}
