//! Output files that are too large for memory: written as they are made, or in the store already.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::artifact::Artifact;
use crate::error::CacheError;
use crate::files::Files;
use crate::mapped::Mapped;
use crate::record::OutputFile;
use crate::work_folder::WorkFolder;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Where large files are made: a directory in the store that is left alone as long as the process lives that made it, however long the files take.
#[derive(Debug)]
pub enum LargeFolder {
    /// This process's.
    Own(WorkFolder),
    /// Another process's, which outlives this one and takes the files over.
    Lent(PathBuf),
}

/// A file on its way; gone with this unless it is finished.
pub struct LargeWriter {
    file: BufWriter<NamedTempFile>,
    folder: Arc<LargeFolder>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// A whole file that is to be an output. One that is not published is removed with the last clone.
#[derive(Clone, Debug)]
pub struct LargeFile {
    output: OutputFile,
    /// Where it waits; nowhere if it is a blob already.
    staged: Option<Arc<Staged>>,
}

#[derive(Debug)]
struct Staged {
    path: TempPath,
    /// It is there as long as its files are.
    _folder: Arc<LargeFolder>,
}

/// A [`LargeFile`] as one process tells another of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandedOver {
    output: OutputFile,
    /// Its name in the directory that was lent.
    staged: Option<String>,
}

impl LargeFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Lent(path) => path,
        }
    }

    pub(crate) fn file(self: &Arc<Self>, files: &Files) -> Result<LargeWriter, CacheError> {
        files.must_write()?;
        let made = files.sharing.temporary().tempfile_in(self.path());
        let made = made.and_then(|made| files.sharing.widen(made.as_file()).map(|()| made));
        Ok(LargeWriter {
            file: BufWriter::with_capacity(
                BUFFER,
                made.map_err(|error| CacheError::io("make a file in", self.path(), error))?,
            ),
            folder: Arc::clone(self),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// What another process, to which this directory was lent, made in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_over(self: &Arc<Self>, HandedOver { output, staged }: HandedOver) -> io::Result<LargeFile> {
        let staged = staged.map(|name| {
            let path = TempPath::try_from_path(self.path().join(name))?;
            Ok::<_, io::Error>(Arc::new(Staged {
                path,
                _folder: Arc::clone(self),
            }))
        });
        Ok(LargeFile {
            output,
            staged: staged.transpose()?,
        })
    }
}

impl LargeWriter {
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
            staged: Some(Arc::new(Staged {
                path: file.into_temp_path(),
                _folder: self.folder,
            })),
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
        self.staged.as_ref().map(|staged| &*staged.path)
    }

    /// Leaves it to the process that lent the directory.
    ///
    /// # Errors
    /// What the system says.
    pub fn hand_over(self) -> io::Result<HandedOver> {
        let kept = self.staged.and_then(Arc::into_inner).map(|staged| staged.path.keep());
        let kept = kept.transpose().map_err(|kept| kept.error)?;
        let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        Ok(HandedOver {
            output: self.output,
            staged: kept.and_then(name),
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

    fn writer(store: &Store) -> LargeWriter {
        let folder = Arc::new(store.large_folder().expect("a directory"));
        store.large_file(&folder).expect("a file")
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
        let mut writer = writer(&store);
        content
            .chunks(1000)
            .for_each(|part| writer.write_all(part).expect("written"));
        let first = published(&store, "first", writer.finish().expect("whole")).expect("published");
        assert_eq!(first.read("pixels").expect("sound"), content);
        assert_eq!(first.summary().outputs["pixels"].digest, Digest::of(&content));
        assert_eq!(first.read("info").expect("sound"), b"small");

        let same = LargeFile::of(&first, "pixels").expect("an output");
        let handed = same.hand_over().expect("nothing to do");
        let folder = Arc::new(store.large_folder().expect("a directory"));
        let handed = folder.take_over(handed).expect("nothing to do");
        drop(folder);
        let second = published(&store, "second", handed).expect("published");
        assert_eq!(second.path("pixels"), first.path("pixels"));
        assert_eq!(staged(&store), 0);
    }

    #[test]
    fn what_is_not_published_leaves_nothing_and_what_is_handed_over_arrives() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let written = |bytes: &[u8]| {
            let mut writer = writer(&store);
            writer.write_all(bytes).expect("written");
            writer
        };
        drop(written(b"given up"));
        drop(written(b"not wanted").finish().expect("whole"));
        assert_eq!(written(b"looked at").map().expect("mapped").as_ref(), b"looked at");
        assert_eq!(staged(&store), 0);

        let lender = Arc::new(store.large_folder().expect("a directory"));
        let lent = Arc::new(LargeFolder::Lent(lender.path().to_owned()));
        let mut worker = store.large_file(&lent).expect("a file");
        worker.write_all(b"from a worker").expect("written");
        let handed = worker.finish().expect("whole").hand_over().expect("left");
        drop(lent);
        let told = serde_json::to_string(&handed).expect("JSON");
        let handed: HandedOver = serde_json::from_str(&told).expect("read back");
        let file = lender.take_over(handed).expect("there");
        drop(lender);
        let made = published(&store, "worker", file).expect("published");
        assert_eq!(made.read("pixels").expect("sound"), b"from a worker");
        assert_eq!(staged(&store), 0);
    }

    #[test]
    fn a_large_file_is_left_alone_beside_others_however_long_it_waits_and_goes_with_its_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let mut writer = writer(&store);
        writer.write_all(b"pixels").expect("written");
        let file = writer.finish().expect("whole");
        // It is not among the files that a collection takes for left behind by their age, and its directory is locked.
        let waits = file.staged().expect("it waits").to_owned();
        let locked = waits.parent().expect("a directory");
        assert_ne!(locked, store.root().join("staging"));
        let beside = Store::open(folder.path(), Access::ReadWrite).expect("opened beside");
        assert!(waits.exists(), "opening the store sweeps what the dead left");
        // A process that was killed lets go of its lock.
        let dead = store.root().join("staging").join("work-dead");
        std::fs::create_dir(&dead).expect("made");
        std::fs::write(dead.join("lock"), "").expect("made");
        drop(beside);
        drop(Store::open(folder.path(), Access::ReadWrite).expect("opened beside"));
        assert!(!dead.exists() && waits.exists());
        published(&store, "late", file).expect("published");
        assert_eq!(staged(&store), 0);
    }

    #[test]
    fn an_output_that_left_the_store_meanwhile_is_not_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        let mut writer = writer(&store);
        writer.write_all(b"pixels").expect("written");
        let first = published(&store, "first", writer.finish().expect("whole")).expect("published");
        std::fs::remove_file(first.path("pixels").expect("an output")).expect("removed");
        let again = published(&store, "second", LargeFile::of(&first, "pixels").expect("an output"));
        assert!(matches!(again, Err(CacheError::Corrupt { name, .. }) if name == "pixels"));
    }
}
