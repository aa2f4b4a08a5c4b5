//! Files of others: opening one never waits, and reading one ends, whatever lies there.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::Path;

use crate::Machine;

/// The metadata of a file that can be read to its end: opening a FIFO would wait for someone who writes to it.
///
/// # Errors
/// If it cannot be looked at, or is neither a file nor a folder.
pub(crate) fn regular(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path)?;
    match metadata.is_file() || metadata.is_dir() {
        true => Ok(metadata),
        false => Err(no_file(kind(&metadata))),
    }
}

/// What is neither a file nor a folder, in words.
#[cfg(unix)]
pub fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_fifo() => "a FIFO (named pipe)",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// What is neither a file nor a folder, in words.
#[cfg(not(unix))]
pub fn kind(_metadata: &Metadata) -> &'static str {
    "not a file"
}

fn no_file(what: &str) -> io::Error {
    io::Error::other(format!("it is {what}, expected a regular file"))
}

/// Opens a file for reading. Opening never waits, and what was opened is asked what it is, so that a file that is replaced by a
/// FIFO meanwhile is found out as well.
///
/// # Errors
/// If it cannot be opened, or is no regular file.
pub fn open(path: &Path) -> io::Result<fs::File> {
    regular(path)?;
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    match () {
        () if metadata.is_file() => Ok(file),
        () if metadata.is_dir() => Err(no_file("a directory")),
        () => Err(no_file(kind(&metadata))),
    }
}

/// The whole of a file that fits into the memory of this machine.
///
/// # Errors
/// As [`open`]; if it is too large, with its size.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let too_large = || {
        let message = format!("it has {size} bytes, for which there is not enough memory");
        io::Error::new(io::ErrorKind::OutOfMemory, message)
    };
    // Reserving succeeds for more than there is: the system gives pages when they are written to.
    let most = Machine::here().memory.unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let reserved = usize::try_from(size).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
    if size > most || !reserved {
        return Err(too_large());
    }
    // What grows meanwhile is read as long as it was when it was opened; its digest tells that it changed.
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text; what is not UTF-8 is replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &Path) -> io::Result<String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_memory_is_refused_with_its_size_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        let file = fs::File::create(&path).unwrap();
        // A hole: it takes no room on the disk.
        file.set_len(1 << 42).unwrap();
        let error = read(&path).unwrap_err().to_string();
        insta::assert_snapshot!(error);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_plain_file_is_named_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        for (path, what) in [
            (fifo.as_path(), "a FIFO"),
            (Path::new("/dev/zero"), "a device"),
            (dir.path(), "a directory"),
        ] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
