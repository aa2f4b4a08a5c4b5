//! Full disks, damaged files, archives of others, limits of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Tried;
use crate::site::{Dice, Site, files_under, undisturbed};

/// A small disk at a folder, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount(at: PathBuf, kib: u64) -> Option<Self> {
        std::fs::create_dir_all(&at).ok()?;
        let size = format!("size={kib}k");
        mount(&["-t", "tmpfs", "-o", &size, "torture"], &at).then(|| Self(at))
    }

    fn grow(&self) -> bool {
        mount(&["-o", "remount,size=64m"], &self.0)
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount")
        .args(arguments)
        .arg(at)
        .output()
        .is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // By its folder's end at the latest.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A disk that is too small for a run, or, where none may be mounted, files that may not grow.
pub(crate) fn full_disk(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(3));
    let run = Site::run_of(&salts, 2);
    let disk = SmallDisk::mount(site.path(".flow"), 8 + 4 * dice.roll(60));
    let ended = match &disk {
        Some(_) => site.start(&run).end()?,
        None => site.start_limited(&format!("-f {}", 1 + dice.roll(12)), &run).end()?,
    };
    if ended.code != Some(0) && ended.stderr.trim().is_empty() {
        return Err("it failed without a word".to_owned());
    }
    if disk.as_ref().is_some_and(|disk| !disk.grow()) {
        return Err("the small disk cannot be made larger".to_owned());
    }
    site.holds(&salts).map(|()| ended.code != Some(0))
}

/// Any file of the cache becomes something else.
pub(crate) fn damage(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    site.run(&salts)?;
    for _ in 0..=dice.roll(3) {
        let mut files = files_under(&site.cache());
        files.retain(|file| file.is_file());
        let file = dice.pick(&files).clone();
        spoil(&file, dice).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let changed = Site::run_of(&dice.salts(3), 2);
    site.start(&changed).end()?;
    site.start(&["cache", "verify", "--repair"]).end()?.must_be(&[0, 4])?;
    site.run(&salts)?;
    site.whole(&salts, &["quarantine"]).map(|()| true)
}

fn spoil(file: &Path, dice: &mut Dice) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    let at = dice.roll(bytes.len().max(1) as u64) as usize;
    match dice.roll(8) {
        0 => return std::fs::remove_file(file),
        1 => {
            std::fs::remove_file(file)?;
            return std::fs::create_dir(file);
        }
        2 => {
            std::fs::remove_file(file)?;
            let made = Command::new("mkfifo").arg(file).status()?;
            return if made.success() {
                Ok(())
            } else {
                Err(std::io::Error::other("mkfifo"))
            };
        }
        3 => {
            let folder = file.parent().unwrap_or(file);
            // A file in place of a whole folder, but not of the cache itself.
            if folder.ends_with("cache") {
                return std::fs::remove_file(file);
            }
            std::fs::remove_dir_all(folder)?;
            return std::fs::write(folder, "no folder");
        }
        4 => bytes.truncate(at),
        5 => bytes.extend(std::iter::repeat_n(dice.roll(256) as u8, 100)),
        6 => bytes.fill(0),
        _ if bytes.is_empty() => bytes.push(7),
        _ => bytes[at] ^= 1 << dice.roll(8),
    }
    std::fs::write(file, bytes)
}

/// An archive that was changed on its way.
pub(crate) fn archive(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let mut bytes = undisturbed().1.clone();
    match dice.roll(4) {
        0 => bytes.truncate(dice.roll(bytes.len() as u64) as usize),
        1 => bytes.extend_from_slice(b"and more"),
        _ => {
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(bytes.len() as u64) as usize;
                bytes[at] = dice.roll(256) as u8;
            }
        }
    }
    std::fs::write(site.path("changed"), bytes).map_err(|error| error.to_string())?;
    let refused = site
        .start(&["cache", "import", "changed"])
        .end()?
        .must_be(&[0, 1, 2, 4])?
        .code
        != Some(0);
    if refused && site.published(&salts)? != 0 {
        return Err("something of a refused archive was taken".to_owned());
    }
    site.holds(&salts).map(|()| refused)
}

/// Few open files, little memory, small files, few processes.
pub(crate) fn limits(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let limit = match dice.roll(3) {
        0 => format!("-n {}", 3 + dice.roll(40)),
        1 => format!("-v {}", 100_000 + 40_000 * dice.roll(80)),
        _ => format!("-f {}", 1 + dice.roll(20)),
    };
    let run = Site::run_of(&salts, 2);
    let ended = site.start_limited(&limit, &run).end().or_else(|finding| {
        // Below some hundred files, threads or bytes even a program that does nothing cannot be loaded.
        let loader = ["error while loading shared libraries", "cannot allocate memory"];
        match loader.iter().any(|words| finding.contains(words)) {
            true => site.start(&run).end(),
            false => Err(finding),
        }
    })?;
    if ended.code != Some(0) && ended.stderr.trim().is_empty() {
        return Err(format!("under ulimit {limit} it failed without a word"));
    }
    site.holds(&salts).map(|()| ended.code != Some(0))
}
