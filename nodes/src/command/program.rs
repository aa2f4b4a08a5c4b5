//! Where the programs of `command` nodes lie, and which of them are part of the system.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Directories of a system's packages. What lies there is known to the package manager, is the same on machines that are set up alike, and
/// changes with every update: it is no part of keys.
const SYSTEM: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/nix/store",
    "/gnu/store",
    "/snap",
    "/System",
    "/opt/homebrew",
];
/// What administrators install by hand lies here.
const NOT_SYSTEM: &str = "/usr/local";

/// A place that was looked up is taken to be the same for so long: workflows have thousands of nodes with one program.
const FRESH: Duration = Duration::from_secs(1);

/// A program's file, and whether it is of the system, with links resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProgramFile {
    pub(super) path: PathBuf,
    pub(super) of_system: bool,
}

/// Of a name and a PATH: when it was looked up, and what was found.
type LookUps = HashMap<(String, Option<OsString>), (Instant, Option<ProgramFile>)>;

static LOOK_UPS: LazyLock<Mutex<LookUps>> = LazyLock::new(Mutex::default);

/// Whether it can only be among the code: a path relative to the directory that the program runs in.
pub(super) fn is_code(program: &str) -> bool {
    program.contains('/') && !Path::new(program).is_absolute()
}

/// Whether a word of a command line names a file, wherever the command runs.
pub(super) fn is_file(word: &str) -> bool {
    Path::new(word).is_absolute() && Path::new(word).exists()
}

/// The file of a program; a name without a slash is looked up as the system would: in PATH, or in the one given. Directories in PATH that are
/// relative are left out: they would lie below the directory that the program runs in.
pub(super) fn found(program: &str, path: Option<&String>) -> Option<ProgramFile> {
    let path = path.map(OsString::from).or_else(|| std::env::var_os("PATH"));
    let mut known = LOOK_UPS.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, found) = known
        .entry((program.to_owned(), path.clone()))
        .or_insert_with(|| (Instant::now(), look_up(program, path.as_deref())));
    if at.elapsed() > FRESH {
        (*at, *found) = (Instant::now(), look_up(program, path.as_deref()));
    }
    found.clone()
}

fn look_up(program: &str, path: Option<&OsStr>) -> Option<ProgramFile> {
    if is_code(program) {
        return None;
    }
    let folders = std::env::split_paths(path.unwrap_or_default()).filter(|folder| folder.is_absolute());
    let path = std::env::join_paths(folders).ok()?;
    let path = which::which_in(program, Some(path), "/").ok()?;
    let of_system = is_of_system(&std::fs::canonicalize(&path).ok()?);
    Some(ProgramFile { path, of_system })
}

/// Whether a file is of the system.
fn is_of_system(file: &Path) -> bool {
    SYSTEM.iter().any(|folder| file.starts_with(folder)) && !file.starts_with(NOT_SYSTEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_systems_packages_are_told_from_ones_own() {
        for of_system in ["/usr/bin/python3.12", "/bin/sh", "/nix/store/x/bin/x"] {
            assert!(is_of_system(Path::new(of_system)), "{of_system}");
        }
        for own in ["/usr/local/bin/x", "/home/me/bin/x", "/opt/x/bin/x", "/usrx/bin/x"] {
            assert!(!is_of_system(Path::new(own)), "{own}");
        }
    }

    #[test]
    fn a_program_is_found_in_the_path_that_it_will_be_started_with() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let tool = folder.path().join("own-tool");
        std::fs::write(&tool, "#!/bin/sh\n").expect("written");
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let path = folder.path().display().to_string();
        let own = ProgramFile {
            path: tool,
            of_system: false,
        };
        assert_eq!(found("own-tool", Some(&path)), Some(own));
        assert_eq!(found("own-tool", Some(&"bin:/nowhere".to_owned())), None);
    }
}
