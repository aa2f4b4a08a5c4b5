//! The files of a folder of code: the one list that digests, copies and watching go by, so that what is not digested is not
//! copied either.
//!
//! What belongs to no program is left out ([`IGNORED`]), and so is what `.flowignore` files say, in the syntax of `.gitignore`: one in the
//! folder, in a folder below it, or in one above it, of which the nearest counts most. Caches (`CACHEDIR.TAG`) are left out wherever they
//! lie. Links are followed; folders count by the files in them, and nothing but files is taken, nor the
//! file that flow itself prints to.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flow_cache::Digest;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::plain_file;

/// What is left out of every folder of code, in the syntax of `.gitignore`; `.flowignore` can bring it back (`!lib.pyc`).
pub const IGNORED: &[&str] = &[
    // version control, and flow's own
    ".git",
    ".hg",
    ".svn",
    ".flow",
    ".flowignore",
    // what interpreters and tools leave
    "__pycache__",
    "*.py[co]",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    // what editors leave: swap, backup and lock files
    "*~",
    "*.bak",
    "*.sw[a-p]",
    "4913",
    "\\#*#",
    ".#*",
    ".goutputstream-*",
    ".idea",
    ".vscode",
    // what file managers and network disks leave
    ".DS_Store",
    "Thumbs.db",
    ".nfs*",
];

/// The name of a file with more of that.
pub(crate) const FLOWIGNORE: &str = ".flowignore";

/// How `CACHEDIR.TAG` begins, see <https://bford.info/cachedir/>.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What lies in a folder, by paths below it, sorted.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The folders that were looked into, that one (as an empty path) included.
    pub folders: Vec<PathBuf>,
    /// Links that lead nowhere: they are in no digest, and not copied.
    pub dangling: Vec<PathBuf>,
}

impl Listing {
    /// Lists a folder.
    ///
    /// # Errors
    /// If something in it cannot be read, a link leads back to a folder above it, or a `.flowignore` is none.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let folder = match (folder.parent(), folder.file_name()) {
            // Links above it are resolved, so that the folders above are those where it lies; it keeps the name that it has there.
            (Some(parent), Some(name)) => fs::canonicalize(nonempty(parent))?.join(name),
            _ => fs::canonicalize(folder)?,
        };
        let mut walk = Walk {
            rules: vec![defaults()?],
            above: Vec::new(),
            found: Self::default(),
        };
        for above in folder.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            walk.rules.extend(rules_in(above)?);
        }
        walk.folder(&folder, PathBuf::new())?;
        let Self {
            files,
            folders,
            dangling,
        } = &mut walk.found;
        files.sort_unstable();
        folders.sort_unstable();
        dangling.sort_unstable();
        Ok(walk.found)
    }

    /// The digest of names and contents, where `digest_of` gives that of a file by its path below the folder.
    pub(crate) fn digest(&self, mut digest_of: impl FnMut(&Path) -> io::Result<Digest>) -> io::Result<Digest> {
        let mut listing = Vec::new();
        for file in &self.files {
            let name = file.as_os_str().as_encoded_bytes();
            listing.extend_from_slice(&(name.len() as u64).to_le_bytes());
            listing.extend_from_slice(name);
            listing.extend_from_slice(digest_of(file)?.as_bytes());
        }
        Ok(Digest::of(&listing))
    }
}

/// Copies a file of code, or a folder with what is listed in it; the digest of the copy, as [`crate::stat::FileDigests`] has it.
///
/// # Errors
/// If something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<Digest> {
    let copy_file = |from: &Path, to: &Path| {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        plain_file::regular(from)?;
        fs::copy(from, to).map_err(|error| named(from, &error))?;
        Digest::of_file(to)
    };
    if !from.is_dir() {
        return copy_file(from, to);
    }
    fs::create_dir_all(to)?;
    Listing::of(from)?.digest(|file| copy_file(&from.join(file), &to.join(file)))
}

/// The most bytes of a workflow file or of a file that it includes.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Reads a text in UTF-8 of at most [`MAX_TEXT_BYTES`].
///
/// # Errors
/// If it cannot be read, is too large or not a regular file, and if it is not UTF-8: with line and column, and what it is likely to be.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let not_utf8 = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut bytes = Vec::new();
    let read = plain_file::open(path)?
        .take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > MAX_TEXT_BYTES {
        let most = MAX_TEXT_BYTES >> 20;
        return Err(io::Error::other(format!(
            "it has more than {most} MiB, the most that a workflow may have"
        )));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(not_utf8(
            "1:1: this is UTF-16, expected UTF-8: save it as UTF-8".to_owned(),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..at]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        not_utf8(format!(
            "{line}:{column}: byte 0x{byte:02x} is not UTF-8: save it as UTF-8"
        ))
    })
}

fn nonempty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn defaults() -> io::Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("/");
    for line in IGNORED {
        builder.add_line(None, line).map_err(io::Error::other)?;
    }
    builder.build().map_err(io::Error::other)
}

/// Bytes of a `.flowignore`: every line of it is held against every file.
const MAX_FLOWIGNORE: u64 = 1 << 20;

/// What the `.flowignore` of a folder says, if it has one.
fn rules_in(folder: &Path) -> io::Result<Option<Gitignore>> {
    let path = folder.join(FLOWIGNORE);
    let size = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => return Ok(None),
    };
    if size > MAX_FLOWIGNORE {
        let message = format!(
            "{}: it has {size} bytes, expected at most {MAX_FLOWIGNORE}",
            path.display()
        );
        return Err(io::Error::other(message));
    }
    let mut builder = GitignoreBuilder::new(folder);
    match builder.add(&path) {
        Some(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
        None => builder.build().map(Some).map_err(io::Error::other),
    }
}

fn is_cache(folder: &Path) -> bool {
    let tag = folder.join("CACHEDIR.TAG");
    let mut signature = [0; CACHE_SIGNATURE.len()];
    let read = plain_file::open(&tag).and_then(|mut tag| tag.read_exact(&mut signature));
    read.is_ok() && signature == CACHE_SIGNATURE
}

/// The files that this process prints to, or its engine does: device and inode. A log that is begun in a folder of code would change it
/// with every line.
#[cfg(unix)]
pub(crate) fn printed() -> &'static [(u64, u64)] {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    PRINTED.get_or_init(|| {
        let (out, err) = (io::stdout(), io::stderr());
        let files = [out.as_fd(), err.as_fd()].map(|fd| fd.try_clone_to_owned().map(fs::File::from));
        let metadata = files.into_iter().filter_map(|file| file.ok()?.metadata().ok());
        metadata.map(|m| (m.dev(), m.ino())).collect()
    })
}

static PRINTED: OnceLock<Vec<(u64, u64)>> = OnceLock::new();

/// Takes over what the engine prints to: a worker prints to pipes.
pub(crate) fn also_printed(files: &[(u64, u64)]) {
    let _ = PRINTED.set(files.to_vec());
}

#[cfg(unix)]
fn is_our_output(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    printed().contains(&(metadata.dev(), metadata.ino()))
}

/// Whether an entry has the inode of such a file, as far as its directory says.
#[cfg(unix)]
fn may_be_our_output(entry: &fs::DirEntry) -> bool {
    let inode = std::os::unix::fs::DirEntryExt::ino(entry);
    printed().iter().any(|(_, printed)| *printed == inode)
}

#[cfg(not(unix))]
fn may_be_our_output(_entry: &fs::DirEntry) -> bool {
    false
}

#[cfg(not(unix))]
pub(crate) fn printed() -> &'static [(u64, u64)] {
    &[]
}

#[cfg(not(unix))]
fn is_our_output(_metadata: &Metadata) -> bool {
    false
}

struct Walk {
    /// The nearest last.
    rules: Vec<Gitignore>,
    /// The folders that lead here, without links.
    above: Vec<PathBuf>,
    found: Listing,
}

impl Walk {
    fn folder(&mut self, path: &Path, relative: PathBuf) -> io::Result<()> {
        let real = fs::canonicalize(path).map_err(|error| named(path, &error))?;
        if self.above.contains(&real) {
            let message = format!("{}: a link that leads back to a directory above it", path.display());
            return Err(io::Error::other(message));
        }
        let rules = rules_in(path)?;
        let own = usize::from(rules.is_some());
        self.rules.extend(rules);
        self.above.push(real);
        for entry in fs::read_dir(path).map_err(|error| named(path, &error))? {
            let entry = entry.map_err(|error| named(path, &error))?;
            let name = entry.file_name();
            let (path, relative) = (path.join(&name), relative.join(&name));
            // Most are files, which the directory itself says: a folder may have tens of thousands.
            match entry.file_type() {
                Ok(kind) if kind.is_file() && !may_be_our_output(&entry) => {
                    if !self.is_ignored(&path, false) {
                        self.found.files.push(relative);
                    }
                }
                _ => self.entry(&path, &relative)?,
            }
        }
        self.above.pop();
        self.rules.truncate(self.rules.len() - own);
        self.found.folders.push(relative);
        Ok(())
    }

    fn entry(&mut self, path: &Path, relative: &Path) -> io::Result<()> {
        let metadata = fs::metadata(path);
        if self.is_ignored(path, metadata.as_ref().is_ok_and(Metadata::is_dir)) {
            return Ok(());
        }
        match metadata {
            Ok(metadata) if metadata.is_dir() && is_cache(path) => {}
            Ok(metadata) if metadata.is_dir() => self.folder(path, relative.to_owned())?,
            Ok(metadata) if metadata.is_file() && !is_our_output(&metadata) => {
                self.found.files.push(relative.to_owned());
            }
            // A socket, a FIFO, a device, or what this process prints.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Or it has just gone.
                if path.is_symlink() {
                    self.found.dangling.push(relative.to_owned());
                }
            }
            Err(error) => return Err(named(path, &error)),
        }
        Ok(())
    }

    fn is_ignored(&self, path: &Path, is_dir: bool) -> bool {
        for rules in self.rules.iter().rev() {
            match rules.matched(path, is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
#[path = "code/tests.rs"]
mod tests;
