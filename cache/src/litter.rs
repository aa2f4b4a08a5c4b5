//! What nobody will come back for: left by processes that were killed, or set aside long ago.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::claim;
use crate::error::CacheError;
use crate::files::{Files, Lookup};
use crate::key::ActionKey;
use crate::lease::leased;
use crate::work_folder;

/// A file is staged for seconds: beside others, what is older was left by a process that is gone.
const STAGED: Duration = Duration::from_hours(1);

/// No other process has the store open: everything that is on its way, or says that someone works, was left by the dead.
pub(crate) fn sweep_alone(files: &Files) {
    let staging = files.layout.staging();
    for name in files.disk.list(&staging).unwrap_or_default() {
        let path = staging.join(&name);
        let removed = files
            .disk
            .remove_file(&path)
            .or_else(|_| files.disk.remove_dir_all(&path));
        if let Err(error) = removed {
            tracing::debug!(name, %error, "staged file left behind");
        }
    }
    sweep_signs(files);
}

/// Other processes are at work: only what is certainly of the dead goes.
pub(crate) fn sweep_beside_others(files: &Files) {
    work_folder::sweep(files);
    sweep_signs(files);
}

fn sweep_signs(files: &Files) {
    claim::sweep(files);
    leased(files);
}

/// What a collection found that is no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Litter {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

/// What may go besides entries: what was set aside as damaged or saved for later and not touched for `age`, checkpoints of what is
/// published, and staged files that nobody moved. The caller has made sure that nothing is published meanwhile.
pub(crate) fn find(files: &Files, age: Duration) -> Result<Litter, CacheError> {
    let mut litter = Litter::default();
    let layout = &files.layout;
    litter.add(&layout.quarantine(), |path| is_older(path, age))?;
    litter.add(&layout.staging(), |path| path.is_file() && is_older(path, STAGED))?;
    let used = leased(files);
    litter.add(&layout.scratch(), |path| {
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.parse::<ActionKey>().ok()) {
            Some(key) if used.contains(&key) => false,
            Some(key) => is_older(path, age) || is_published(files, &key),
            None => is_older(path, age),
        }
    })?;
    Ok(litter)
}

fn is_published(files: &Files, key: &ActionKey) -> bool {
    matches!(files.find(key), Ok(Lookup::Sound(entry)) if !entry.collected)
}

impl Litter {
    fn add(&mut self, folder: &Path, is_litter: impl Fn(&Path) -> bool) -> Result<(), CacheError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| CacheError::io("list", folder, error))?,
        };
        let found = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_litter(path));
        for path in found {
            self.bytes += size(&path);
            self.paths.push(path);
        }
        self.paths.sort();
        Ok(())
    }

    /// Removes it; what cannot be removed only takes space.
    pub(crate) fn remove(&self, files: &Files) {
        for path in &self.paths {
            let removed = files
                .disk
                .remove_file(path)
                .or_else(|_| files.disk.remove_dir_all(path));
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "cannot be removed");
            }
        }
    }
}

/// When it was last moved or changed; a directory counts as its newest file. Where nothing can be told, it is new.
fn is_older(path: &Path, age: Duration) -> bool {
    let now = SystemTime::now();
    let Ok(data) = fs::symlink_metadata(path) else {
        return false;
    };
    if !now.duration_since(changed(&data)).is_ok_and(|since| since >= age) {
        return false;
    }
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    !data.is_dir() || inside.map(|entry| entry.path()).all(|path| is_older(&path, age))
}

/// Moving something changes this time, other than that of its content.
fn changed(data: &fs::Metadata) -> SystemTime {
    #[cfg(unix)]
    {
        let seconds = std::os::unix::fs::MetadataExt::ctime(data);
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
    #[cfg(not(unix))]
    {
        data.modified().unwrap_or_else(|_| SystemTime::now())
    }
}

fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => {
            let inside = fs::read_dir(path).into_iter().flatten().flatten();
            inside.map(|entry| size(&entry.path())).sum()
        }
        Ok(data) => data.len(),
        Err(_) => 0,
    }
}
