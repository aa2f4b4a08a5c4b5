//! A simulated disk, in memory: it forgets what was not synced, tears it, and fails when told to.
//!
//! Every file is an inode with a volatile and a durable content, every directory a map of names, volatile and durable. A power
//! loss keeps what is durable and, of what is not, whatever a seed says: a rename may survive whose content does not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Disk;

/// A handle; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    now: Names,
    durable: Names,
    /// The number of changes made so far.
    changes: usize,
    /// The change that fails, and all after it, with the error.
    fails: Option<(usize, ErrorKind)>,
}

/// What is where.
#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts a change, failing if its time has come.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some((at, kind)) = state.fails
            && state.changes >= at
        {
            return Err(kind.into());
        }
        state.changes += 1;
        Ok(state)
    }

    /// A change that frees space, and so succeeds on a full disk.
    fn release(&self) -> io::Result<MutexGuard<'_, State>> {
        let full = matches!(self.state().fails, Some((_, ErrorKind::StorageFull)));
        if full { Ok(self.state()) } else { self.change() }
    }

    /// How many changes were made.
    pub(crate) fn changes(&self) -> usize {
        self.state().changes
    }

    /// Lets the first `changes` changes from now succeed and all others fail.
    pub(crate) fn fail_after(&self, changes: usize, kind: ErrorKind) {
        let mut state = self.state();
        state.fails = Some((state.changes + changes, kind));
    }

    /// Lets everything succeed again.
    pub(crate) fn heal(&self) {
        self.state().fails = None;
    }

    /// The disk after a power loss at this moment. What was not synced survives or not as the bits of `seed` fall.
    pub(crate) fn after_power_loss(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut coins = Coins(seed);
        let mut names = state.durable.clone();
        for dir in &state.now.dirs {
            if !names.dirs.contains(dir) && coins.toss() {
                names.dirs.insert(dir.clone());
            }
        }
        let paths: BTreeSet<&PathBuf> = state.now.files.keys().chain(state.durable.files.keys()).collect();
        for path in paths {
            let (now, durable) = (state.now.files.get(path), state.durable.files.get(path));
            if now != durable && coins.toss() {
                match now {
                    Some(inode) => drop(names.files.insert(path.clone(), *inode)),
                    None => drop(names.files.remove(path)),
                }
            }
        }
        let reachable = names.clone();
        names.files.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|dir| is_root(dir) || reachable.dirs.contains(dir))
        });
        names
            .dirs
            .retain(|path| path.ancestors().all(|dir| is_root(dir) || reachable.dirs.contains(dir)));
        let inodes = state.inodes.iter().map(|inode| {
            let content = if inode.now == inode.durable {
                inode.now.clone()
            } else {
                coins.tear(inode)
            };
            Inode {
                now: content.clone(),
                durable: content,
            }
        });
        let state = State {
            inodes: inodes.collect(),
            now: names.clone(),
            durable: names,
            changes: 0,
            fails: None,
        };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// Overwrites a file's content, durably, as a failing disk or a careless person would.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.now.files[path];
        change(&mut state.inodes[inode].now);
        state.inodes[inode].durable = state.inodes[inode].now.clone();
    }

    /// Every file's path.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().now.files.keys().cloned().collect()
    }
}

fn is_root(dir: &Path) -> bool {
    dir.parent().is_none()
}

/// A stream of bits from a seed (splitmix64).
struct Coins(u64);

impl Coins {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn toss(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    /// An unsynced content: empty, cut, or of the full length with zeros where nothing was written yet.
    fn tear(&mut self, inode: &Inode) -> Vec<u8> {
        let kept = (self.next() % (inode.now.len() as u64 + 1)) as usize;
        let mut content = inode.now[..kept].to_vec();
        if self.toss() {
            content.resize(inode.now.len(), 0);
        }
        content
    }
}

impl State {
    fn must_be_dir(&self, dir: &Path) -> io::Result<()> {
        if is_root(dir) || self.now.dirs.contains(dir) {
            Ok(())
        } else {
            Err(ErrorKind::NotFound.into())
        }
    }

    fn inode(&self, path: &Path) -> io::Result<&Inode> {
        self.now
            .files
            .get(path)
            .map(|inode| &self.inodes[*inode])
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn place(&mut self, path: &Path, bytes: &[u8]) {
        self.inodes.push(Inode {
            now: bytes.to_vec(),
            durable: Vec::new(),
        });
        self.now.files.insert(path.to_owned(), self.inodes.len() - 1);
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut state = self.change()?;
        state.must_be_dir(dir.parent().unwrap_or(dir))?;
        Ok(state.now.dirs.insert(dir.to_owned()))
    }

    fn stage(&self, dir: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let mut state = self.change()?;
        state.must_be_dir(dir)?;
        let path = dir.join(format!("new-{}", state.inodes.len()));
        state.place(&path, bytes);
        Ok(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let inode = *state.now.files.get(path).ok_or(ErrorKind::NotFound)?;
        state.inodes[inode].durable = state.inodes[inode].now.clone();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.must_be_dir(dir)?;
        let here = |path: &Path| path.parent() == Some(dir);
        let State { now, durable, .. } = &mut *state;
        durable.files.retain(|path, _| !here(path));
        durable.files.extend(
            now.files
                .iter()
                .filter(|(path, _)| here(path))
                .map(|(path, inode)| (path.clone(), *inode)),
        );
        durable.dirs.retain(|path| !here(path));
        durable.dirs.extend(now.dirs.iter().filter(|path| here(path)).cloned());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.must_be_dir(to.parent().unwrap_or(to))?;
        let inode = state.now.files.remove(from).ok_or(ErrorKind::NotFound)?;
        state.now.files.insert(to.to_owned(), inode);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().now.files.contains_key(to) {
            Err(ErrorKind::AlreadyExists.into())
        } else {
            self.rename(from, to)
        }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.change()?;
        state.must_be_dir(path.parent().unwrap_or(path))?;
        match state.now.files.get(path).copied() {
            Some(inode) => state.inodes[inode].now.extend_from_slice(bytes),
            None => state.place(path, bytes),
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.state().inode(path).map(|inode| inode.now.clone())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.state().inode(path).map(|inode| inode.now.len() as u64)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.must_be_dir(dir)?;
        let paths = state
            .now
            .files
            .keys()
            .chain(&state.now.dirs)
            .filter(|path| path.parent() == Some(dir));
        let mut names: Vec<String> = paths
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.release()?
            .now
            .files
            .remove(path)
            .map(drop)
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.release()?;
        state.must_be_dir(dir)?;
        state.now.files.retain(|path, _| !path.starts_with(dir));
        state.now.dirs.retain(|path| !path.starts_with(dir));
        Ok(())
    }
}
