//! The folder that a command runs in: its code, its inputs, and what it leaves.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use flow_engine::code;
use flow_engine::node::{Input, NodeError, OpenedFile};
use tempfile::TempDir;

/// The folder of the inputs' folders.
pub(super) const INPUTS: &str = "inputs";
/// The folder of what is left.
pub(super) const OUTPUTS: &str = "outputs";
/// The folder for its temporary files.
const SCRATCH: &str = "tmp";

/// Whether a path from a workflow leads to something below where it starts.
pub(super) fn stays_inside(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A fresh folder, removed at the end.
pub(super) struct Stage {
    folder: TempDir,
}

fn cannot(what: &str, path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let text = format!("cannot {what} {}", path.display());
    move |error| {
        NodeError::failed(format!("{text}: {error}"))
            .with_help("is there room, and may files be made, in the directory for temporary files (TMPDIR)?")
    }
}

impl Stage {
    pub(super) fn new() -> Result<Self, NodeError> {
        let folder =
            TempDir::with_prefix("flow-command-").map_err(cannot("make a directory in", &std::env::temp_dir()))?;
        for name in [INPUTS, OUTPUTS, SCRATCH] {
            let path = folder.path().join(name);
            fs::create_dir(&path).map_err(cannot("make", &path))?;
        }
        Ok(Self { folder })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.path().join(SCRATCH)
    }

    /// A copy of a code file, or of a folder, at its own relative path. A copy, lest the program change the original, or read what
    /// was saved meanwhile: so it is the copy that must be what the node's key says.
    pub(super) fn put_code(&self, code: &Path, file: &OpenedFile) -> Result<(), NodeError> {
        let from = &file.path;
        let copied = code::copy(from, &self.folder.path().join(code)).map_err(cannot("copy", from))?;
        if copied == file.digest {
            return Ok(());
        }
        let message = format!(
            "{} changed after the run had begun; the program was not started",
            from.display()
        );
        Err(NodeError::failed(message).with_help("run again: the new version has another key"))
    }

    /// The files of an input's artifact, verified.
    pub(super) fn put_input(&self, name: &str, input: &Input) -> Result<(), NodeError> {
        let folder = self.folder.path().join(INPUTS).join(name);
        fs::create_dir(&folder).map_err(cannot("make", &folder))?;
        for file in input.artifact.names() {
            let path = folder.join(file);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(cannot("make", parent))?;
            }
            fs::write(&path, input.read(file)?).map_err(cannot("write", &path))?;
        }
        Ok(())
    }

    /// Leaves a file as if the program had.
    pub(super) fn leave(&self, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
        let path = self.folder.path().join(OUTPUTS).join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(cannot("make", parent))?;
        }
        fs::write(&path, bytes).map_err(cannot("write", &path))
    }

    /// What was left, which must be the declared files and nothing else.
    pub(super) fn outputs(&self, declared: &[&str]) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let root = self.folder.path().join(OUTPUTS);
        let mut found = Vec::new();
        list(&root, &mut found).map_err(cannot("read", &root))?;
        let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();
        let found: Vec<String> = found.iter().map(relative).collect();
        let quoted = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let missing: Vec<&str> = declared
            .iter()
            .copied()
            .filter(|d| !found.iter().any(|f| f == d))
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "the program succeeded, but did not write {} in {{outputs}}",
                quoted(&missing)
            );
            let there: Vec<&str> = found.iter().map(String::as_str).collect();
            let help = if there.is_empty() {
                "it wrote no files there".to_owned()
            } else {
                format!("it wrote {}", quoted(&there))
            };
            return Err(NodeError::failed(message).with_help(help));
        }
        let more: Vec<&str> = found
            .iter()
            .map(String::as_str)
            .filter(|f| !declared.contains(f))
            .collect();
        if !more.is_empty() {
            let message = format!(
                "the program wrote {} in {{outputs}}, which is not declared",
                quoted(&more)
            );
            return Err(
                NodeError::failed(message).with_help("add it to `outputs`, or let the program write it elsewhere")
            );
        }
        let read = |name: &&str| {
            let path = root.join(name);
            Ok(((*name).to_owned(), fs::read(&path).map_err(cannot("read", &path))?))
        };
        declared.iter().map(read).collect()
    }
}

/// Every file below a folder, sorted.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, found)?;
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_seen() {
        for inside in ["a", "a/b.txt", "model.pt"] {
            assert!(stays_inside(Path::new(inside)), "{inside}");
        }
        for outside in ["", "/etc/passwd", "../a", "a/../../b", "."] {
            assert!(!stays_inside(Path::new(outside)), "{outside}");
        }
    }

    #[test]
    fn missing_and_undeclared_outputs_are_errors() {
        let stage = Stage::new().expect("a folder");
        stage.leave("sub/a.txt", b"1").expect("written");
        let text = |declared: &[&str]| stage.outputs(declared).map_err(|e| e.to_string());
        assert_eq!(text(&["sub/a.txt"]), Ok(vec![("sub/a.txt".to_owned(), b"1".to_vec())]));
        assert!(text(&["b.txt", "sub/a.txt"]).is_err_and(|e| e.contains("did not leave `b.txt`")));
        assert!(text(&[]).is_err_and(|e| e.contains("left `sub/a.txt`")));
    }
}
