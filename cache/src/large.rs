//! Output files that are too large for memory: written as they are made, or in the store already.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::artifact::Artifact;
use crate::mapped::Mapped;
use crate::record::OutputFile;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// A file on its way, in the store's directory; gone with this unless it is finished.
pub struct LargeWriter {
    file: BufWriter<NamedTempFile>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// A whole file that is to be an output. One that is not published is removed with the last clone.
#[derive(Clone, Debug)]
pub struct LargeFile {
    output: OutputFile,
    /// Where it waits; nowhere if it is a blob already.
    staged: Option<Arc<TempPath>>,
}

/// A [`LargeFile`] as one process tells another of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandedOver {
    output: OutputFile,
    /// Its name in the directory where files wait.
    staged: Option<String>,
}

impl LargeWriter {
    pub(crate) fn new(file: NamedTempFile) -> Self {
        Self {
            file: BufWriter::with_capacity(BUFFER, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// What was written, as an output.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> io::Result<LargeFile> {
        let digest = self.hasher.finalize().into();
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(LargeFile {
            output: OutputFile {
                digest,
                bytes: self.bytes,
            },
            staged: Some(Arc::new(file.into_temp_path())),
        })
    }

    /// What was written, to be read where it lies; its space is free again when that is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn map(self) -> io::Result<Mapped> {
        let file: File = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .into_file();
        // The name is gone, and with it all ways to change what is mapped.
        Mapped::of(&file)
    }
}

impl Write for LargeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl LargeFile {
    /// A file of an artifact, which is an output of another action as well; `None` if the artifact has none of that name.
    pub fn of(artifact: &Artifact, name: &str) -> Option<Self> {
        let output = *artifact.summary().outputs.get(name)?;
        Some(Self { output, staged: None })
    }

    pub(crate) fn output(&self) -> OutputFile {
        self.output
    }

    pub(crate) fn staged(&self) -> Option<&Path> {
        self.staged.as_ref().map(|path| &***path)
    }

    /// Leaves it to another process, which must take it over or it stays until the store is next swept.
    ///
    /// # Errors
    /// What the system says.
    pub fn hand_over(self) -> io::Result<HandedOver> {
        let kept = self.staged.and_then(Arc::into_inner).map(TempPath::keep).transpose();
        let kept = kept.map_err(|kept| kept.error)?;
        let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        let staged = kept.and_then(name);
        Ok(HandedOver {
            output: self.output,
            staged,
        })
    }
}

impl HandedOver {
    /// What the other process left in the directory where files wait.
    pub(crate) fn take_over(self, staging: &Path) -> io::Result<LargeFile> {
        let path = self.staged.map(|name| staging.join(name));
        let staged = path.map(TempPath::try_from_path).transpose()?;
        Ok(LargeFile {
            output: self.output,
            staged: staged.map(Arc::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, CacheError, Digest, Draft, KeyFields, Store};

    fn staged(store: &Store) -> usize {
        std::fs::read_dir(store.root().join("staging")).expect("there").count()
    }

    fn published(store: &Store, node: &str, file: LargeFile) -> Result<Artifact, CacheError> {
        let (key, components) = KeyFields::new("dataset", 1).param("node", &node.into()).finish();
        let draft = Draft {
            components,
            files: vec![("info".into(), b"small".to_vec())],
            large: vec![("pixels".into(), file)],
            ..Draft::default()
        };
        store.publish(&key, &draft)
    }

    #[test]
    fn a_large_file_is_published_as_if_it_had_been_in_memory_and_is_never_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let content = vec![7; 3 * BUFFER + 5];
        let mut writer = store.large_file().expect("a file");
        content
            .chunks(1000)
            .for_each(|part| writer.write_all(part).expect("written"));
        let first = published(&store, "first", writer.finish().expect("whole")).expect("published");
        assert_eq!(first.read("pixels").expect("sound"), content);
        assert_eq!(first.summary().outputs["pixels"].digest, Digest::of(&content));
        assert_eq!(first.read("info").expect("sound"), b"small");

        let same = LargeFile::of(&first, "pixels").expect("an output");
        let handed = same.hand_over().expect("nothing to do");
        let handed = store.take_over(handed).expect("nothing to do");
        let second = published(&store, "second", handed).expect("published");
        assert_eq!(second.path("pixels"), first.path("pixels"));
        assert_eq!(staged(&store), 0);
    }

    #[test]
    fn what_is_not_published_leaves_nothing_and_what_is_handed_over_arrives() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let written = |bytes: &[u8]| {
            let mut writer = store.large_file().expect("a file");
            writer.write_all(bytes).expect("written");
            writer
        };
        drop(written(b"given up"));
        drop(written(b"not wanted").finish().expect("whole"));
        assert_eq!(written(b"looked at").map().expect("mapped").as_ref(), b"looked at");
        assert_eq!(staged(&store), 0);

        let handed = written(b"from a worker")
            .finish()
            .expect("whole")
            .hand_over()
            .expect("left");
        assert_eq!(staged(&store), 1);
        let told = serde_json::to_string(&handed).expect("JSON");
        let handed: HandedOver = serde_json::from_str(&told).expect("read back");
        let made = published(&store, "worker", store.take_over(handed).expect("there")).expect("published");
        assert_eq!(made.read("pixels").expect("sound"), b"from a worker");
        assert_eq!(staged(&store), 0);
    }

    #[test]
    fn an_output_that_left_the_store_meanwhile_is_not_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let mut writer = store.large_file().expect("a file");
        writer.write_all(b"pixels").expect("written");
        let first = published(&store, "first", writer.finish().expect("whole")).expect("published");
        std::fs::remove_file(first.path("pixels").expect("an output")).expect("removed");
        let again = published(&store, "second", LargeFile::of(&first, "pixels").expect("an output"));
        assert!(matches!(again, Err(CacheError::Corrupt { name, .. }) if name == "pixels"));
    }
}
