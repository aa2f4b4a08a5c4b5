//! The sole right to work on a key, among all processes: two runs on one cache share their work.
//!
//! Every open store that works has a file under `claims/`, locked as long as it is open, with who it is and the keys that it works
//! on, a line each. Who claims a key looks through the others' files, one process at a time. The system gives locks back when a
//! process ends, however it ends: a file that is not locked claims nothing, and is removed. It is a file for each process and not
//! for each key because some file systems are slow to make a file where many were just removed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::CacheError;
use crate::files::Files;
use crate::key::ActionKey;
use crate::lock;
use crate::process;
use crate::sharing::Sharing;

/// A claim that was asked for.
#[derive(Debug)]
pub enum Claiming {
    /// It is ours until the [`Claim`] is dropped.
    Given(Claim),
    /// Someone else has it, described as `process 123 on host`.
    Held(String),
}

/// The right to work on a key; given back when dropped.
pub struct Claim {
    key: ActionKey,
    claims: Arc<Claims>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.give_back(&self.key);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What one open store works on.
pub(crate) struct Claims {
    folder: PathBuf,
    sharing: Sharing,
    ours: Mutex<Ours>,
}

#[derive(Default)]
struct Ours {
    keys: BTreeSet<ActionKey>,
    board: Option<Board>,
}

/// Where the others see it.
struct Board {
    path: PathBuf,
    file: File,
    /// This process, as others are told.
    who: String,
    /// Locked while boards are read or written.
    turn: File,
}

impl Claims {
    pub(crate) fn new(files: &Files) -> Arc<Self> {
        Arc::new(Self {
            folder: files.layout.claims(),
            sharing: files.sharing,
            ours: Mutex::default(),
        })
    }

    pub(crate) fn take(self: &Arc<Self>, key: &ActionKey) -> Result<Claiming, CacheError> {
        let mut ours = self.ours();
        if ours.keys.contains(key) {
            return Ok(Claiming::Held("an earlier run of this process".to_owned()));
        }
        let failed = |error| CacheError::io("claim a key in", &self.folder, error);
        if ours.board.is_none() {
            ours.board = Board::put_up(&self.folder, self.sharing).map_err(failed)?;
        }
        let Ours { keys, board } = &mut *ours;
        if let Some(board) = board {
            board.turn.lock().map_err(failed)?;
            let holder = board.holder_among_others(&self.folder, key);
            if matches!(holder, Ok(None)) {
                keys.insert(*key);
                board.write(keys);
            }
            let _ = board.turn.unlock();
            if let Some(holder) = holder.map_err(failed)? {
                return Ok(Claiming::Held(holder));
            }
        }
        keys.insert(*key);
        let claims = Arc::clone(self);
        Ok(Claiming::Given(Claim { key: *key, claims }))
    }

    /// The locked file that shows what we work on, once there is one: whoever has it open keeps our claims alive after us.
    pub(crate) fn board(&self) -> Option<File> {
        self.ours().board.as_ref()?.file.try_clone().ok()
    }

    fn give_back(&self, key: &ActionKey) {
        let mut ours = self.ours();
        let Ours { keys, board } = &mut *ours;
        keys.remove(key);
        // Without its turn a reader could see half a list; a claim that is seen for too long only makes someone look again.
        if let Some(board) = board
            && board.turn.lock().is_ok()
        {
            board.write(keys);
            let _ = board.turn.unlock();
        }
    }

    fn ours(&self) -> MutexGuard<'_, Ours> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// A board of our own; `None` on a disk without locks, where work may be done twice.
    fn put_up(folder: &Path, sharing: Sharing) -> io::Result<Option<Self>> {
        sharing.create_dir_all(folder)?;
        let turn = sharing.open(&folder.join(TURN))?;
        match lock::own_file(folder, sharing) {
            Ok((file, path)) => Ok(Some(Self {
                path,
                file,
                turn,
                who: process::description(),
            })),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::debug!(%error, "the file system does not support locks: work may be done twice");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Who else works on a key; boards of the dead are taken down.
    fn holder_among_others(&self, folder: &Path, key: &ActionKey) -> io::Result<Option<String>> {
        for (_, board) in others(folder, Some(&self.path))? {
            if let Some(who) = holder(&board, key) {
                return Ok(Some(who));
            }
        }
        Ok(None)
    }

    /// Shows what we work on. On a full disk it is not shown, and may be done twice.
    fn write(&mut self, keys: &BTreeSet<ActionKey>) {
        let mut text = self.who.clone() + "\n";
        keys.iter().for_each(|key| text += &format!("{key}\n"));
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.set_len(text.len() as u64));
        if let Err(error) = written {
            tracing::debug!(%error, "claims are not shown to other processes");
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The boards of the living but `own`, as text; those of the dead are taken down.
fn others(folder: &Path, own: Option<&Path>) -> io::Result<Vec<(PathBuf, String)>> {
    let mut boards = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if Some(path.as_path()) == own || path.file_name().is_some_and(|name| name == TURN) {
            continue;
        }
        if let Some(mut file) = lock::of_the_living(&path) {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            boards.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(boards)
}

/// Who has the key, if it is on that board.
pub(crate) fn holder(board: &str, key: &ActionKey) -> Option<String> {
    let key = key.to_string();
    board.lines().skip(1).any(|line| line == key).then(|| who(board))
}

fn who(board: &str) -> String {
    let first = board.lines().next().filter(|line| !line.is_empty());
    process::shown(first.unwrap_or(process::UNNAMED))
}

/// Who else works in the store, for messages.
pub(crate) fn at_work(files: &Files) -> String {
    let boards = others(&files.layout.claims(), None).unwrap_or_default();
    let mut all: Vec<String> = boards.iter().map(|(_, board)| who(board)).collect();
    all.sort();
    all.dedup();
    match all.is_empty() {
        true => process::UNNAMED.to_owned(),
        false => all.join(", "),
    }
}

/// Takes the boards of processes that are gone down.
pub(crate) fn sweep(files: &Files) {
    let _ = others(&files.layout.claims(), None);
}

/// The name of the file whose lock is the turn to read or write boards.
pub(crate) const TURN: &str = "turn";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::files::Access;
    use crate::layout::Layout;

    fn claims(root: &Path) -> Arc<Claims> {
        let files = Files::open(Box::<RealDisk>::default(), Layout::new(root), Access::ReadWrite).unwrap();
        Claims::new(&files)
    }

    fn key(version: u32) -> ActionKey {
        crate::KeyFields::new("k", version).finish().0
    }

    fn holder(claiming: Claiming) -> String {
        match claiming {
            Claiming::Held(holder) => holder,
            Claiming::Given(_) => panic!("it is taken"),
        }
    }

    #[test]
    fn a_claim_is_for_one_names_its_holder_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        // Two open stores are to each other what two processes are.
        let (first, second) = (claims(dir.path()), claims(dir.path()));
        let Claiming::Given(claim) = first.take(&key(1)).unwrap() else {
            panic!("nobody has it")
        };
        assert_eq!(holder(first.take(&key(1)).unwrap()), "an earlier run of this process");
        assert!(holder(second.take(&key(1)).unwrap()).starts_with(&format!("process {} on ", std::process::id())));
        let Claiming::Given(other) = second.take(&key(2)).unwrap() else {
            panic!("another key is free")
        };
        assert!(matches!(first.take(&key(2)).unwrap(), Claiming::Held(_)));
        drop(claim);
        assert!(matches!(second.take(&key(1)).unwrap(), Claiming::Given(_)));
        drop(other);
        drop((first, second));
        let left: Vec<_> = std::fs::read_dir(dir.path().join("claims"))
            .unwrap()
            .flatten()
            .collect();
        assert_eq!(left.len(), 1, "only the turn is left behind: {left:?}");
    }

    #[test]
    fn a_board_left_by_a_dead_process_claims_nothing_whatever_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let claims = claims(dir.path());
        let folder = dir.path().join("claims");
        std::fs::create_dir_all(&folder).unwrap();
        // Process 1 is alive on every machine: the number proves nothing.
        std::fs::write(folder.join("1-0"), format!("process 1 on here\n{}\n", key(1))).unwrap();
        assert!(matches!(claims.take(&key(1)).unwrap(), Claiming::Given(_)));
        assert!(!folder.join("1-0").exists());
    }
}
