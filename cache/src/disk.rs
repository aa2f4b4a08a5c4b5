//! The few file operations that the store needs, behind a trait, so that tests can run it on a disk that fails or forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::mapped::Mapped;
use crate::sharing::Sharing;
use crate::stamp::Stamp;

#[cfg(debug_assertions)]
mod failpoint;
#[cfg(test)]
pub(crate) mod sim;

/// A disk as the store sees it. Nothing is durable before the `sync_*` of the file *and* of its folder.
pub(crate) trait Disk: Send + Sync {
    /// Makes one folder; `Ok(false)` if it is there already, `NotADirectory` if something else is.
    fn create_dir(&self, dir: &Path) -> io::Result<bool>;
    /// Writes `bytes` to a new file of an unused name in `dir`, not yet synced.
    fn stage(&self, dir: &Path, bytes: &[u8]) -> io::Result<PathBuf>;
    /// Makes a file's content durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Moves a file, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file; `AlreadyExists` if something is there. The file may be gone after an error.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Adds `bytes` at the end of a file, in one piece, making the file if need be.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// A file's content.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A file's stamp; `None` on a disk that has none.
    fn stamp(&self, path: &Path) -> Option<Stamp> {
        let _ = path;
        None
    }
    /// A file's content, and its stamp from before it was read.
    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Option<Stamp>)> {
        Ok((self.read(path)?, None))
    }
    /// A file's length in bytes; `IsADirectory` if something else than a file lies there.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Whether something else lies at a path than a plain file, which a link to one is not, or than a folder, wherever it lies.
    fn is_misplaced(&self, path: &Path, folder: bool) -> bool {
        let _ = (path, folder);
        false
    }
    /// The names in a folder, sorted; those that are not UTF-8 are no business of the store's and left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// As [`Disk::stage`], synced.
    fn stage_synced(&self, dir: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let staged = self.stage(dir, bytes)?;
        self.sync_file(&staged).inspect_err(|_| self.unstage(&staged))?;
        Ok(staged)
    }

    /// Writes a file in one piece, in place of what is there, by way of `staging`, a folder of the same file system. A
    /// `durable` one is synced before it is moved; its folder is yet to be.
    fn place(&self, staging: &Path, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
        let staged = if durable {
            self.stage_synced(staging, bytes)
        } else {
            self.stage(staging, bytes)
        }?;
        self.rename(&staged, path).inspect_err(|_| self.unstage(&staged))
    }

    /// Removes a staged file that is not wanted: on a full disk its space is.
    fn unstage(&self, staged: &Path) {
        match self.remove_file(staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %staged.display(), %error, "staged file left behind");
            }
            _ => {}
        }
    }

    /// A file to lock, made if need be; `None` on a disk that has no locks.
    fn lock_file(&self, path: &Path) -> io::Result<Option<File>> {
        let _ = path;
        Ok(None)
    }

    /// Says whose the files are that are made from here on.
    fn share(&mut self, sharing: Sharing) {
        let _ = sharing;
    }

    /// A file's bytes where they lie.
    fn map(&self, path: &Path) -> io::Result<Mapped> {
        self.read(path).map(Mapped::from)
    }

    /// The digest of a file's content.
    fn digest(&self, path: &Path) -> io::Result<Digest> {
        self.read(path).map(|bytes| Digest::of(&bytes))
    }
}

/// The disk of this machine, and whose the files are that are made there.
#[derive(Default)]
pub(crate) struct RealDisk(Sharing);

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The disk that a store is opened on.
pub(crate) fn of_this_machine() -> Box<dyn Disk> {
    #[cfg(debug_assertions)]
    return failpoint::disk();
    #[cfg(not(debug_assertions))]
    return Box::<RealDisk>::default();
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        match self.0.create_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) => Err(error),
        }
    }

    fn stage(&self, dir: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let mut staged = self.0.temporary().tempfile_in(dir)?;
        self.0.widen(staged.as_file())?;
        staged.write_all(bytes)?;
        // From here on the caller moves the file; what a crash leaves is swept when the store is next opened.
        let (_, path) = staged.keep().map_err(|kept| kept.error)?;
        Ok(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(()) // Folders cannot be synced there; the file system orders their changes.
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        tempfile::TempPath::try_from_path(from)?
            .persist_noclobber(to)
            .map_err(|refused| refused.error)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.append(path)?.write_all(bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_stamped(path).map(|(bytes, _)| bytes)
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        Stamp::of(path)
    }

    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Option<Stamp>)> {
        let (mut file, metadata) = open_plain(path)?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok((bytes, Stamp::from_metadata(&metadata)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let metadata = fs::metadata(path)?;
        must_be_plain(&metadata)?;
        Ok(metadata.len())
    }

    fn is_misplaced(&self, path: &Path, folder: bool) -> bool {
        let fits = |metadata: fs::Metadata| match folder {
            true => metadata.is_dir() || (metadata.is_symlink() && path.is_dir()),
            false => metadata.is_file(),
        };
        fs::symlink_metadata(path).is_ok_and(|metadata| !fits(metadata))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn lock_file(&self, path: &Path) -> io::Result<Option<File>> {
        self.0.open(path).map(Some)
    }

    fn share(&mut self, sharing: Sharing) {
        self.0 = sharing;
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        Mapped::of(&open_plain(path)?.0)
    }

    fn digest(&self, path: &Path) -> io::Result<Digest> {
        Digest::of_reader(open_plain(path)?.0)
    }
}

/// Opens a plain file to be read. Where something else lies nothing is waited for, as it would be for a pipe, and nothing read.
pub(crate) fn open_plain(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.read(true).open(path)?;
    let metadata = file.metadata()?;
    must_be_plain(&metadata)?;
    Ok((file, metadata))
}

fn must_be_plain(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory or a device, not a file",
        )),
    }
}
