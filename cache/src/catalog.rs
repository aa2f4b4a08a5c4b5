//! Listing the records: through the index where this process can have it, from the record files where it cannot.
//!
//! The index is opened when first asked, so that a run of nothing but hits never waits for it. One process at a time may
//! hold it; every process announces its commits in the journal, from which the holder learns of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::CacheError;
use crate::files::Files;
use crate::index::{Index, IndexError};
use crate::key::ActionKey;
use crate::lock::{IndexLock, Refused};
use crate::marks::{self, Marks};
use crate::past;
use crate::query::{Query, World};
use crate::record::Record;

/// The records of a store, as a list.
pub(crate) struct Catalog {
    files: Arc<Files>,
    index: Mutex<State>,
}

/// How this process stands with the index.
enum State {
    /// Not opened yet, or another process holds it: try when next asked.
    Closed,
    /// Ours. The index is closed before the lock is given back: fields are dropped in order.
    Open { index: Index, lock: IndexLock },
    /// Not to be used: the store is read-only, or the index cannot be made to work.
    Off,
}

impl Catalog {
    /// A catalog that may use an index if `indexed`.
    pub(crate) fn new(files: Arc<Files>, indexed: bool) -> Self {
        let state = if indexed { State::Closed } else { State::Off };
        Self {
            files,
            index: Mutex::new(state),
        }
    }

    /// All records, or those of one kind, in no order.
    pub(crate) fn records(&self, kind: Option<&str>) -> Result<Vec<Record>, CacheError> {
        match self.ask_index(|index| index.records(&self.files, kind))? {
            Some(records) => Ok(records),
            None => self.scan(kind),
        }
    }

    /// The records that a query selects, in its order.
    pub(crate) fn select(&self, query: &Query) -> Result<Vec<Record>, CacheError> {
        let marks = if query.names_marks() {
            Marks::read(&self.files)?
        } else {
            Marks::default()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let names = if query.names_nodes() {
            marks::other_names(&self.files)?
        } else {
            BTreeMap::new()
        };
        let world = World {
            now_ms: now.as_millis() as f64,
            marks: &marks,
            names: &names,
        };
        if let Some(records) = self.ask_index(|index| index.select(&self.files, query, &world))? {
            return Ok(records);
        }
        query.select_from(&self.scan(None)?, &world)
    }

    /// All kinds that records have.
    pub(crate) fn kinds(&self) -> Result<BTreeSet<String>, CacheError> {
        match self.ask_index(Index::kinds)? {
            Some(kinds) => Ok(kinds),
            None => Ok(self.scan(None)?.into_iter().map(|record| record.kind).collect()),
        }
    }

    /// Notes that a record was published, for plans and for the process that holds the index.
    pub(crate) fn published(&self, record: &Record) {
        past::add(&self.files, record);
        self.announce(&record.key);
    }

    /// Notifies the process that holds the index that the record of `key` came or went. The change itself is durable already: what
    /// fails here is made up for when the index is next opened.
    pub(crate) fn announce(&self, key: &ActionKey) {
        let line = format!("{key}\n");
        if let Err(error) = self.files.disk.append(&self.files.layout.journal(), line.as_bytes()) {
            tracing::warn!(%error, "cannot append to the cache's journal");
        }
    }

    /// Deletes the index and rebuilds it; the number of records in it.
    pub(crate) fn rebuild(&self) -> Result<usize, CacheError> {
        self.files.must_write()?;
        past::forget(&self.files)?;
        let mut state = self.state();
        let lock = match std::mem::replace(&mut *state, State::Closed) {
            State::Open { index, lock } => {
                drop(index);
                lock
            }
            State::Closed | State::Off => {
                match IndexLock::try_take(&self.files.layout.index_lock(), self.files.sharing) {
                    Ok(lock) => lock,
                    Err(Refused::Held { path, holder }) => return Err(CacheError::Locked { path, holder }),
                    Err(Refused::Failed(error)) => return Err(error),
                }
            }
        };
        let rebuilt = self
            .move_aside()
            .map_err(IndexError::Cache)
            .and_then(|()| Index::open(&self.files));
        let counted = rebuilt.and_then(|index| Ok((index.records(&self.files, None)?.len(), index)));
        match counted {
            Ok((count, index)) => {
                *state = State::Open { index, lock };
                Ok(count)
            }
            Err(IndexError::Cache(error)) => Err(error),
            Err(IndexError::Broken(why) | IndexError::Unavailable(why)) => Err(CacheError::io(
                "rebuild the index in",
                &self.files.layout.index(),
                io::Error::other(why),
            )),
        }
    }

    /// What the index, brought up to date, has to say; `None` if this process cannot have it.
    fn ask_index<T>(&self, ask: impl Fn(&Index) -> Result<T, IndexError>) -> Result<Option<T>, CacheError> {
        let mut state = self.state();
        // Once as it is, once rebuilt: an index that fails after that is no index.
        for _ in 0..2 {
            let (index, lock) = match std::mem::replace(&mut *state, State::Off) {
                State::Off => return Ok(None),
                State::Open { index, lock } => (Ok(index), lock),
                State::Closed => match IndexLock::try_take(&self.files.layout.index_lock(), self.files.sharing) {
                    Ok(lock) => (Index::open(&self.files), lock),
                    Err(Refused::Held { holder, .. }) => {
                        tracing::debug!(%holder, "the index is in use: reading the record files instead");
                        *state = State::Closed;
                        return Ok(None);
                    }
                    Err(Refused::Failed(error)) => {
                        tracing::warn!(%error, "no index: reading the record files instead");
                        return Ok(None);
                    }
                },
            };
            let answer = index.and_then(|mut index| {
                index.catch_up(&self.files)?;
                Ok((ask(&index)?, index))
            });
            match answer {
                Ok((answer, index)) => {
                    *state = State::Open { index, lock };
                    return Ok(Some(answer));
                }
                Err(IndexError::Cache(error)) => {
                    *state = State::Closed;
                    return Err(error);
                }
                Err(error @ IndexError::Unavailable(_)) => {
                    tracing::warn!("{error}");
                    return Ok(None);
                }
                Err(error @ IndexError::Broken(_)) => {
                    tracing::warn!("{error}");
                    self.move_aside()?;
                    *state = State::Closed;
                }
            }
        }
        tracing::warn!("the cache's index cannot be rebuilt: reading the record files instead");
        *state = State::Off;
        Ok(None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state at `Off` at worst, which is sound.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the index into quarantine, in the place of one that was moved there before.
    fn move_aside(&self) -> Result<(), CacheError> {
        let (index, aside) = (self.files.layout.index(), self.files.layout.quarantine().join("index"));
        let absent_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let remove = |path| absent_is_fine(fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)));
        remove(&aside)
            .and_then(|()| absent_is_fine(fs::rename(&index, &aside)))
            .map_err(|e| CacheError::io("move the index away from", &index, e))
    }

    fn scan(&self, kind: Option<&str>) -> Result<Vec<Record>, CacheError> {
        let mut records = Vec::new();
        for key in self.files.keys()? {
            let record = self.files.sound_record(&key)?;
            records.extend(record.filter(|record| kind.is_none_or(|kind| record.kind == kind)));
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::files::Access;
    use crate::layout::Layout;
    use crate::testing::warned;

    #[test]
    fn an_index_that_has_no_answer_is_told_with_what_is_done_instead() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(Box::<RealDisk>::default(), Layout::new(dir.path()), Access::ReadWrite).unwrap();
        let catalog = Catalog::new(Arc::new(files), true);
        let told = warned(dir.path(), || {
            let full = |_: &Index| Err::<(), _>(IndexError::Unavailable("No space left on device".to_owned()));
            assert!(catalog.ask_index(full).unwrap().is_none());
            *catalog.state() = State::Closed;
            let broken =
                |_: &Index| Err::<(), _>(IndexError::Broken("Read corrupted data at file offset 8".to_owned()));
            assert!(catalog.ask_index(broken).unwrap().is_none());
        });
        insta::assert_snapshot!(told);
    }
}
