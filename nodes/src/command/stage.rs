//! The folder that a command runs in: its code, its inputs, and what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use flow_engine::node::{Host, Input, NodeError, OpenedFile};
use flow_engine::{code, leash, plain_file};
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
        let folder = leash::folder("flow-command-").map_err(cannot("make a directory in", &std::env::temp_dir()))?;
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
        Err(changed(from))
    }

    /// A data file or folder at its own relative path: a link to where it lies, as it may be large. That it does not change meanwhile is
    /// checked by the engine.
    pub(super) fn put_data(&self, data: &Path, file: &OpenedFile) -> Result<(), NodeError> {
        let to = self.folder.path().join(data);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(cannot("make", parent))?;
        }
        let from = std::path::absolute(&file.path).map_err(cannot("find", &file.path))?;
        std::os::unix::fs::symlink(from, &to).map_err(cannot("link", &to))
    }

    /// A fresh folder for an input's files.
    pub(super) fn input_folder(&self, name: &str) -> Result<PathBuf, NodeError> {
        let folder = self.folder.path().join(INPUTS).join(name);
        fs::create_dir(&folder).map_err(cannot("make", &folder))?;
        Ok(folder)
    }

    /// The files of an input's artifact, verified.
    pub(super) fn put_input(&self, name: &str, input: &Input) -> Result<(), NodeError> {
        let folder = self.input_folder(name)?;
        for file in input.artifact.names() {
            let path = folder.join(file);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(cannot("make", parent))?;
            }
            fs::write(&path, input.read(file)?).map_err(cannot("write", &path))?;
        }
        Ok(())
    }

    /// An output that is written for the program; what was written can be read back.
    pub(super) fn output(&self, name: &str) -> Result<fs::File, NodeError> {
        let path = self.folder.path().join(OUTPUTS).join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(cannot("make", parent))?;
        }
        let mut options = fs::File::options();
        options.read(true).append(true).create_new(true);
        options.open(&path).map_err(cannot("write", &path))
    }

    /// Where outputs are left, links resolved.
    pub(super) fn outputs_folder(&self) -> Result<PathBuf, NodeError> {
        let root = self.folder.path().join(OUTPUTS);
        fs::canonicalize(&root).map_err(cannot("read", &root))
    }

    /// What was left, by name. Only plain files and folders are taken, and links to plain files that were left as well; no other link is followed.
    fn found(&self) -> Result<BTreeMap<String, PathBuf>, NodeError> {
        let root = self.outputs_folder()?;
        let mut found = BTreeMap::new();
        list(&root, &root, &mut found)?;
        Ok(found)
    }

    /// The names of files that were left beside those that were declared.
    pub(super) fn undeclared(&self, declared: &[&str]) -> Result<Vec<String>, NodeError> {
        let more = self
            .found()?
            .into_keys()
            .filter(|name| !declared.contains(&name.as_str()));
        Ok(more.collect())
    }

    /// The declared files, all of which must have been left, and nothing else unless `more_may_be`.
    pub(super) fn outputs(
        &self,
        declared: &[&str],
        more_may_be: bool,
        host: &dyn Host,
    ) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let mut found = self.found()?;
        let quoted = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let is_missing = |name: &&str| !found.contains_key(*name);
        let missing: Vec<&str> = declared.iter().copied().filter(is_missing).collect();
        if !missing.is_empty() {
            let message = format!(
                "the program succeeded, but did not write {} in {{outputs}}",
                quoted(&missing)
            );
            let there: Vec<&str> = found.keys().map(String::as_str).take(SHOWN).collect();
            let help = if there.is_empty() {
                "it wrote no files there".to_owned()
            } else {
                format!("it wrote {}", quoted(&there))
            };
            return Err(NodeError::failed(message).with_help(help));
        }
        let is_more = |name: &&str| !declared.contains(name);
        let more: Vec<&str> = found.keys().map(String::as_str).filter(is_more).take(SHOWN).collect();
        if !more.is_empty() && !more_may_be {
            let message = format!(
                "the program wrote {} in {{outputs}}, which is not declared",
                quoted(&more)
            );
            return Err(
                NodeError::failed(message).with_help("add it to `outputs`, or let the program write it elsewhere")
            );
        }
        let read = |(name, path): (String, PathBuf)| match host.stop_requested() {
            true => Err(NodeError::Stopped),
            false => Ok((name, read(&path)?)),
        };
        found.retain(|name, _| declared.contains(&name.as_str()));
        found.into_iter().map(read).collect()
    }
}

fn changed(code: &Path) -> NodeError {
    let message = format!(
        "{} changed after the run had begun; the program was not started",
        code.display()
    );
    NodeError::failed(message).with_help("run again: the new version has another key")
}

/// Files that an error names.
const SHOWN: usize = 20;

/// A file that may be larger than memory.
fn read(path: &Path) -> Result<Vec<u8>, NodeError> {
    plain_file::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => NodeError::failed(format!("{}: {error}", path.display()))
            .with_help("let the program leave less, or raise the limit (ulimit -v)"),
        _ => cannot("read", path)(error),
    })
}

/// Every file below a folder, by its name as an output; with the file that is to be read for it.
fn list(root: &Path, folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), NodeError> {
    for entry in fs::read_dir(folder).map_err(cannot("read", folder))? {
        let path = entry.map_err(cannot("read", folder))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(cannot("read", &path))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let kind = metadata.file_type();
        if kind.is_dir() {
            list(root, &path, found)?;
        } else if kind.is_symlink() {
            found.insert(name.clone(), linked(root, &path, &name)?);
        } else if kind.is_file() {
            found.insert(name, path);
        } else {
            return Err(odd(&name, plain_file::kind(&metadata)));
        }
    }
    Ok(())
}

/// The plain file among the outputs that a link leads to.
fn linked(root: &Path, link: &Path, name: &str) -> Result<PathBuf, NodeError> {
    let Ok(target) = fs::canonicalize(link) else {
        return Err(odd(name, "a link that leads nowhere"));
    };
    if !target.starts_with(root) {
        return Err(odd(name, &format!("a link to {}, outside of it", target.display())));
    }
    match fs::symlink_metadata(&target) {
        Ok(metadata) if metadata.is_file() => Ok(target),
        _ => Err(odd(name, "a link to something that is not a regular file")),
    }
}

fn odd(name: &str, what: &str) -> NodeError {
    NodeError::failed(format!("the program left `{name}` in {{outputs}}, which is {what}"))
        .with_help("only regular files and directories are kept: let the program copy what is to be kept (cp -L)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quiet::Quiet;

    #[test]
    fn paths_that_lead_out_are_seen() {
        for inside in ["a", "a/b.txt", "model.pt"] {
            assert!(stays_inside(Path::new(inside)), "{inside}");
        }
        for outside in ["", "/etc/passwd", "../a", "a/../../b", "."] {
            assert!(!stays_inside(Path::new(outside)), "{outside}");
        }
    }

    fn left(stage: &Stage, declared: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
        stage.outputs(declared, false, &Quiet).map_err(|e| e.to_string())
    }

    fn place(stage: &Stage, name: &str) -> PathBuf {
        stage.folder().join(OUTPUTS).join(name)
    }

    #[test]
    fn missing_and_undeclared_outputs_are_errors() {
        let stage = Stage::new().expect("a folder");
        fs::create_dir(place(&stage, "sub")).expect("made");
        fs::write(place(&stage, "sub/a.txt"), b"1").expect("written");
        assert_eq!(
            left(&stage, &["sub/a.txt"]),
            Ok(vec![("sub/a.txt".to_owned(), b"1".to_vec())])
        );
        assert!(left(&stage, &["b.txt", "sub/a.txt"]).is_err_and(|e| e.contains("did not write `b.txt`")));
        assert!(left(&stage, &[]).is_err_and(|e| e.contains("wrote `sub/a.txt`")));
    }

    #[test]
    fn a_link_is_taken_if_it_leads_to_a_plain_file_among_the_outputs_and_else_an_error() {
        use std::os::unix::fs::symlink;
        let elsewhere = tempfile::NamedTempFile::new().expect("a file");
        let cases = [
            (Path::new("f"), None),
            (elsewhere.path(), Some("outside of it")),
            (Path::new("gone"), Some("leads nowhere")),
            (Path::new("."), Some("not a regular file")),
            (Path::new("g"), Some("leads nowhere")),
        ];
        for (target, expected) in cases {
            let stage = Stage::new().expect("a folder");
            fs::write(place(&stage, "f"), b"1").expect("written");
            symlink(target, place(&stage, "g")).expect("linked");
            match (left(&stage, &["f", "g"]), expected) {
                (Ok(files), None) => assert_eq!(files[1], ("g".to_owned(), b"1".to_vec())),
                (Err(error), Some(words)) => assert!(error.contains(words) && error.contains("`g`"), "{error}"),
                other => panic!("{}: {other:?}", target.display()),
            }
        }
    }

    #[test]
    fn what_is_no_file_among_the_outputs_is_named_and_not_opened() {
        let stage = Stage::new().expect("a folder");
        let _socket = std::os::unix::net::UnixListener::bind(place(&stage, "s")).expect("a socket");
        assert!(left(&stage, &["s"]).is_err_and(|e| e.contains("`s`") && e.contains("a socket")));
    }

    #[test]
    fn a_file_that_is_not_as_it_was_to_be_says_what_to_do() {
        use crate::failure::tests::said;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        // A hole: it takes no room on the disk.
        std::fs::File::create(&path).unwrap().set_len(1 << 42).unwrap();
        let huge = read(&path).map(|_| ()).expect_err("it is refused");
        let both = [huge, changed(Path::new("train.py"))].map(|error| said(&error));
        let said = both.join("\n");
        insta::assert_snapshot!(said.replace(&dir.path().display().to_string(), "[dir]"));
    }
}
